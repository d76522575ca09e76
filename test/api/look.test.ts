// What the API shows of one distribution besides its status: the payload and the callbacks.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { WebhookRef } from '../../workflows/messages.ts'
import { type ApiUnderTest, aSubmission, startApi } from './api-under-test.ts'

let api: ApiUnderTest
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

async function submitted(payload: string): Promise<string> {
  const text = JSON.stringify(aSubmission({ payload: 0 })).replace('"payload":0', `"payload":${payload}`)
  const { status, body } = await api.call('POST', '/distribution/submit', text)
  expect(status).toBe(202)
  return body.distribution_id
}

describe('the payload of a distribution', () => {
  it('is shown byte by byte as it was accepted, and each look is audited', async () => {
    const payload = '{"b": 1.0, "a":12345678901234567890,"b":"\\u00e9\\/", "z" : [ ] }'
    const id = await submitted(payload)
    const { status, text, headers } = await api.call('GET', `/distribution/${id}/payload`)
    expect([status, text]).toEqual([200, payload])
    expect(headers.get('content-type')).toBe('application/json')
    const audited = await api.rows(
      'acme',
      "select actor from audit_log where action = 'payload.read' and resource_id = $1",
      [id.slice(5)],
    )
    expect(audited).toEqual([{ actor: expect.stringMatching(/^api_key:/) }])
  })

  it('needs the role operator, and is that of the own tenant', async () => {
    const id = await submitted('1')
    const as = (key: string) => api.call('GET', `/distribution/${id}/payload`, undefined, { key })
    expect((await as(api.keys.acme.viewer)).status).toBe(403)
    expect((await as(api.keys.other.operator)).status).toBe(404)
  })

  it('is not shown when it is larger than 1 MiB, or no longer stored', async () => {
    const large = await submitted(`"${'x'.repeat(1_048_576)}"`)
    const { status, body } = await api.call('GET', `/distribution/${large}/payload`)
    expect([status, body.message]).toEqual([413, 'the payload has 1048578 bytes; at most 1048576 are shown'])
    const erased = await submitted('1')
    await api.rows('acme', 'update distribution_jobs set payload_bytes = null where distribution_id = $1', [erased])
    const answer = await api.call('GET', `/distribution/${erased}/payload`)
    expect([answer.status, answer.body.message]).toEqual([404, 'the payload is no longer stored'])
  })
})

describe('the callbacks of a distribution', () => {
  async function withCallbacks(rounds: number): Promise<string> {
    const id = await submitted('1')
    for (let round = 1; round <= rounds; round += 1) {
      await api.rows(
        'acme',
        `insert into webhooks (tenant_id, subject_id, kind, round, event_type, url, body, status)
         values ('acme', $1, 'distribution', $2, 'distribution.failed', 'https://owner.example/', '{}', 'failed')`,
        [id.slice(5), round],
      )
    }
    return id
  }

  it('are listed, latest first; none without a callback URL', async () => {
    const id = await withCallbacks(2)
    const { status, body } = await api.call('GET', `/distribution/${id}/callbacks`)
    expect([status, body.distribution_id]).toEqual([200, id])
    expect(body.callbacks).toMatchObject([
      { webhook_id: `${id}.2`, event_type: 'distribution.failed', status: 'failed' },
      { webhook_id: `${id}.1` },
    ])
    const without = await submitted('1')
    expect((await api.call('GET', `/distribution/${without}/callbacks`)).body.callbacks).toEqual([])
    const other = { key: api.keys.other.viewer }
    expect((await api.call('GET', `/distribution/${id}/callbacks`, undefined, other)).status).toBe(404)
  })

  it('are sent again by their id, and only those of the distribution', async () => {
    const started: WebhookRef[] = []
    api.dispatcher.runs.startWebhook = async (ref) => void started.push(ref)
    const [id, another] = [await withCallbacks(1), await withCallbacks(1)]
    const resend = (webhook_id: string) => api.call('POST', `/distribution/${id}/callbacks/${webhook_id}/resend`)
    expect(await resend(`${id}.1`)).toMatchObject({ status: 202, body: { webhook_id: `${id}.1`, status: 'pending' } })
    for (const foreign of [`${another}.1`, `${id}.2`, 'x']) expect((await resend(foreign)).status).toBe(404)
    expect(started).toEqual([{ tenant_id: 'acme', webhook_id: `${id}.1` }])
  })
})
