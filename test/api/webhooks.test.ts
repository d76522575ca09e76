// The list of webhooks and their resending, as the API answers; test/e2e/webhooks.test.ts sends them.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { WebhookRef } from '../../workflows/messages.ts'
import { type ApiUnderTest, startApi } from './api-under-test.ts'

let api: ApiUnderTest
const ids: string[] = []
const started: [WebhookRef, string | undefined][] = []

beforeAll(async () => {
  api = await startApi()
  api.dispatcher.runs.startWebhook = async (ref, again) => void started.push([ref, again])
  for (const [kind, round, status] of [
    ['distribution', 1, 'success'],
    ['distribution', 2, 'failed'],
    ['batch', 1, 'failed'],
    ['event', 1, 'pending'],
  ] as const) {
    const [row] = await api.rows<{ id: string }>(
      'acme',
      `insert into webhooks (tenant_id, subject_id, kind, round, event_type, url, body, status, attempts, error_code)
       values ('acme', coalesce((select subject_id from webhooks where kind = $1), new_uuidv7()), $1, $2, 'x.ended',
               'https://owner.example/', '{}', $3::text, 3, case $3 when 'failed' then 'REJECTED' end)
       returning subject_id as id`,
      [kind, round, status],
    )
    ids.push(kind === 'distribution' ? `dist_${row!.id}.${round}` : `${kind}_${row!.id}`)
  }
})
afterAll(() => api.close())

const list = async (query = '') => (await api.call('GET', `/webhooks${query}`)).body
const idsOf = (body: { webhooks: { webhook_id: string }[] }) => body.webhooks.map(({ webhook_id }) => webhook_id)

describe('the list of webhooks', () => {
  it('has all kinds, the newest first, filtered by status and kind', async () => {
    const newest = ids.toReversed()
    expect(idsOf(await list())).toEqual(newest)
    expect(idsOf(await list('?status=failed'))).toEqual([ids[2], ids[1]])
    expect(idsOf(await list('?kind=distribution&status=success'))).toEqual([ids[0]])
    expect((await list('?status=failed')).webhooks[1]).toMatchObject({
      ...{ kind: 'distribution', event_type: 'x.ended', url: 'https://owner.example/', status: 'failed' },
      ...{ attempts: 3, error_code: 'REJECTED', next_attempt_at: null },
    })
  })

  it('comes in pages that together contain each webhook once', async () => {
    const seen: string[] = []
    for (let cursor: string | null = ''; cursor !== null; ) {
      const page: { webhooks: { webhook_id: string }[]; pagination: { next_cursor: string | null } } = await list(
        `?limit=1${cursor && `&cursor=${cursor}`}`,
      )
      seen.push(...idsOf(page))
      cursor = page.pagination.next_cursor
    }
    expect(seen).toEqual(ids.toReversed())
  })

  it('shows a tenant its own only, and rejects unknown words', async () => {
    expect((await api.call('GET', '/webhooks', undefined, { key: api.keys.other.viewer })).body.webhooks).toEqual([])
    for (const query of ['?status=told', '?kind=callback', '?cursor=x']) {
      expect(await api.call('GET', `/webhooks${query}`)).toMatchObject({ status: 400 })
    }
  })
})

describe('a resend', () => {
  it.each([0, 1, 2, 3])('makes webhook %i pending with all its attempts, and starts its run again', async (at) => {
    const webhook_id = ids[at]!
    const answer = await api.call('POST', `/webhooks/${webhook_id}/resend`)
    expect(answer).toMatchObject({ status: 202, body: { webhook_id, status: 'pending' } })
    expect(started.pop()).toEqual([{ tenant_id: 'acme', webhook_id }, 'again'])
    const shown = (await list('?status=pending')).webhooks.find((one: WebhookRef) => one.webhook_id === webhook_id)
    expect(shown).toMatchObject({ attempts: 0, completed_at: null })
    const audited = await api.rows('acme', "select resource_id from audit_log where action = 'callback.resend'")
    expect(audited.filter(({ resource_id }) => webhook_id.includes(resource_id))).not.toEqual([])
  })

  it('of an unknown webhook or of another tenant’s is a 404; by a viewer it is a 403', async () => {
    const other = { key: api.keys.other.operator }
    expect(await api.call('POST', `/webhooks/${ids[0]}/resend`, undefined, other)).toMatchObject({ status: 404 })
    for (const id of ['dist_1', ids[0]!.replace(/\.1$/, '.9'), ids[2]!.replace('batch', 'event'), `${ids[2]}.1`]) {
      expect(await api.call('POST', `/webhooks/${id}/resend`)).toMatchObject({ status: 404 })
    }
    const viewer = { key: api.keys.acme.viewer }
    expect(await api.call('POST', `/webhooks/${ids[0]}/resend`, undefined, viewer)).toMatchObject({ status: 403 })
    expect(started).toEqual([])
  })
})
