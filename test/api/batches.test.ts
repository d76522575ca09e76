// Batches over the API: their status, their cancel, and the bulk retry of failed distributions.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { listQuery } from '../../api/schemas/distributions.ts'
import { type ApiUnderTest, aSubmission, inline, startApi } from './api-under-test.ts'

let api: ApiUnderTest
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

const bulk = (distributions: unknown[], options?: Record<string, unknown>, headers: Record<string, string> = {}) =>
  api.call('POST', '/distribution/bulk-submit', { distributions, ...(options ? { options } : {}) }, { headers })

describe('the status of a batch', () => {
  it('shows its distributions, pages and counts, and only to its tenant', async () => {
    const { body } = await bulk([aSubmission({ payload: 1 }), aSubmission({ payload: 2 }), 'wrong'])
    const { body: whole } = await api.call('GET', `/distribution/batch/${body.batch_id}/status`)
    expect(whole).toMatchObject({
      batch_id: body.batch_id,
      kind: 'submit',
      status: 'processing',
      total_distributions: 3,
      completed_distributions: 0,
      failed_distributions: 0,
      completed_at: null,
      summary: { accepted: 2, rejected: 1, waiting: 2, pending: 2 },
      rejected: [{ index: 2 }],
    })
    expect(whole.distributions.map((row: { distribution_id: string }) => row.distribution_id)).toEqual(
      body.distribution_ids,
    )
    const { body: page } = await api.call('GET', `/distribution/batch/${body.batch_id}/status?limit=1`)
    expect(page.distributions).toHaveLength(1)
    const next = `/distribution/batch/${body.batch_id}/status?limit=1&cursor=${page.pagination.next_cursor}`
    const { body: second } = await api.call('GET', next)
    expect(second.distributions[0].distribution_id).toBe(body.distribution_ids[1])
    expect(second.pagination).toMatchObject({ has_more: false, next_cursor: null })
    const { body: one } = await api.call('GET', `/distribution/${body.distribution_ids[0]}/status`)
    expect(one.batch_id).toBe(body.batch_id)
    const key = api.keys.other.operator
    expect((await api.call('GET', `/distribution/batch/${body.batch_id}/status`, undefined, { key })).status).toBe(404)
    expect((await api.call('GET', '/distribution/batch/nothing/status')).status).toBe(404)
  })
})

describe('cancelling a batch', () => {
  const cancel = (id: string, body?: unknown, key?: string) =>
    api.call('POST', `/distribution/batch/${id}/cancel`, body, key ? { key } : {})

  it('is stored once, with its reason, and its run is signalled', async () => {
    const { body } = await bulk([aSubmission(), aSubmission()])
    const before = api.dispatcher.batches.length
    const first = await cancel(body.batch_id, { reason: 'sent by mistake' })
    expect(first.status).toBe(202)
    expect(first.body).toEqual({ batch_id: body.batch_id, status: 'processing', tracking_url: body.tracking_url })
    expect((await cancel(body.batch_id, { reason: 'again' })).status).toBe(202)
    expect(api.dispatcher.batches.length).toBe(before + 2)
    const { body: shown } = await api.call('GET', `/distribution/batch/${body.batch_id}/status`)
    expect(shown.cancel_reason).toBe('sent by mistake')
    const audits = await api.rows(
      'acme',
      "select action, details from audit_log where resource_type = 'batch' and resource_id = $1 order by id",
      [body.batch_id.slice('batch_'.length)],
    )
    expect(audits).toEqual([
      { action: 'cancel', details: { reason: 'sent by mistake' } },
      { action: 'cancel', details: { reason: 'again' } },
    ])
    const { body: listed } = await api.call('GET', `/audit-log?resource_id=${body.batch_id}`, undefined, {
      key: api.keys.acme.admin,
    })
    expect(listed.events).toHaveLength(2)
  })

  it('is a 404 for others, a 403 for viewers, and a 409 when it has ended', async () => {
    const { body } = await bulk([aSubmission()])
    expect((await cancel(body.batch_id, undefined, api.keys.other.operator)).status).toBe(404)
    expect((await cancel('batch_1')).status).toBe(404)
    expect((await cancel(body.batch_id, undefined, api.keys.acme.viewer)).status).toBe(403)
    await api.rows('acme', "update batches set status = 'cancelled', cancel_reason = 'x' where id = $1", [
      body.batch_id.slice(6),
    ])
    const again = await cancel(body.batch_id)
    expect([again.status, again.body.status]).toEqual([202, 'cancelled'])
    await api.rows('acme', "update batches set status = 'completed', cancel_reason = null where id = $1", [
      body.batch_id.slice(6),
    ])
    const ended = await cancel(body.batch_id)
    expect(ended.status).toBe(409)
    expect(ended.body.message).toBe('the batch has already ended with the status completed')
  })
})

describe('bulk retry', () => {
  const retry = (body: Record<string, unknown>, headers: Record<string, string> = {}, key?: string) =>
    api.call('POST', '/distribution/retry', body, { headers, ...(key ? { key } : {}) })

  async function failed(count: number, data_type: string, key?: string): Promise<void> {
    for (let i = 0; i < count; i += 1) {
      await api.call('POST', '/distribution/submit', aSubmission({ data_type }), key ? { key } : {})
    }
    const tenant = key ? 'other' : 'acme'
    await api.rows(tenant, "update distribution_jobs set status = 'failed', check_at = null where data_type = $1", [
      data_type,
    ])
  }

  async function itemsOf(batchId: string) {
    return await api.rows('acme', 'select distribution_job_id, state from batch_items where batch_id = $1', [
      batchId.slice('batch_'.length),
    ])
  }

  it('counts the whole filter first, and only this tenant’s', async () => {
    await failed(3, 'counted')
    await failed(2, 'counted', api.keys.other.operator)
    const before = api.dispatcher.batches.length
    const counted = await retry({ data_type: 'counted', dry_run: true })
    expect(counted.status).toBe(200)
    expect(counted.body).toMatchObject({ dry_run: true, matched_distributions: 3, batch_id: null, status: 'counted' })
    expect(api.dispatcher.batches.length).toBe(before)
    const done = await retry({ data_type: 'counted' })
    expect(done.status).toBe(202)
    expect(done.body).toMatchObject({ dry_run: false, total_distributions: 3, status: 'processing' })
    expect(await itemsOf(done.body.batch_id)).toHaveLength(3)
    expect(api.dispatcher.batches.at(-1)).toEqual({ tenant_id: 'acme', batch_id: done.body.batch_id.slice(6) })
    const { body: shown } = await api.call('GET', `/distribution/batch/${done.body.batch_id}/status`)
    expect(shown).toMatchObject({ kind: 'retry', status: 'processing', summary: { waiting: 3, accepted: 3 } })
  })

  it('takes the failed ones when no status is given, and those since a time', async () => {
    await failed(2, 'since')
    await api.call('POST', '/distribution/submit', aSubmission({ data_type: 'since' }))
    expect((await retry({ data_type: 'since', dry_run: true })).body.matched_distributions).toBe(2)
    expect((await retry({ data_type: 'since', status: 'pending', dry_run: true })).body.matched_distributions).toBe(1)
    const ahead = new Date(Date.now() + 60_000).toISOString()
    expect((await retry({ data_type: 'since', from_date: ahead, dry_run: true })).body.matched_distributions).toBe(0)
  })

  it('with the same key and body makes no second batch', async () => {
    await failed(2, 'keyed')
    const answers = await Promise.all(
      Array.from({ length: 5 }, () => retry({ data_type: 'keyed' }, { 'Idempotency-Key': 'retry-1' })),
    )
    expect(new Set(answers.map(({ body }) => body.batch_id)).size).toBe(1)
    expect(answers.every(({ body }) => body.total_distributions === 2)).toBe(true)
    expect((await retry({ data_type: 'other' }, { 'Idempotency-Key': 'retry-1' })).status).toBe(409)
  })

  it('counts what has something to send, by several statuses, of a batch, of a destination', async () => {
    const items = Array.from({ length: 4 }, (_, i) =>
      aSubmission({ payload: i, destinations: [inline(), inline({ name: 'beside' })] }),
    )
    const { body } = await bulk(items)
    const ids = body.distribution_ids.map((id: string) => id.slice('dist_'.length))
    const end = async (at: number, status: string, deliveries: Record<string, string>) => {
      await api.rows(
        'acme',
        'update distribution_jobs set status = $2, check_at = null, planned_at = clock_timestamp() where id = $1',
        [ids[at], status],
      )
      for (const [name, state] of Object.entries(deliveries)) {
        await api.rows(
          'acme',
          `insert into distribution_deliveries (distribution_job_id, tenant_id, destination_name, position, protocol, status)
           values ($1, 'acme', $2, 0, 'REST', $3)`,
          [ids[at], name, state],
        )
      }
    }
    await end(0, 'failed', { 'ad-hoc': 'failed', beside: 'success' })
    await end(1, 'failed', { 'ad-hoc': 'success', beside: 'failed' })
    await end(2, 'cancelled', { 'ad-hoc': 'cancelled', beside: 'cancelled' })
    await end(3, 'completed', { 'ad-hoc': 'success', beside: 'success' })
    const batch_id = body.batch_id
    const count = async (more: Record<string, unknown>) => {
      const dry = (await retry({ batch_id, ...more, dry_run: true })).body
      return [dry.matched_distributions, dry.total_distributions]
    }
    expect(await count({})).toEqual([2, 2])
    expect(await count({ destination: 'beside' })).toEqual([2, 1])
    expect(await count({ status: ['failed', 'cancelled'] })).toEqual([3, 3])
    expect(await count({ status: ['failed', 'cancelled', 'completed'] })).toEqual([4, 3])
    expect(await count({ force: true })).toEqual([4, 4])
    expect((await retry({ status: [] })).body.details[0].field).toBe('status')
    const key = { 'Idempotency-Key': 'beside-again' }
    const done = await retry({ batch_id, destination: 'beside' }, key)
    expect(done.body).toMatchObject({ matched_distributions: 2, total_distributions: 1 })
    expect((await retry({ batch_id, destination: 'beside' }, key)).body).toEqual(done.body)
    expect(await itemsOf(done.body.batch_id)).toMatchObject([{ distribution_job_id: ids[1] }])
    const { body: listed } = await api.call('GET', `/distribution/list?batch_id=${batch_id}&status=failed`)
    expect(listed.summary).toMatchObject({ total: 2, failed: 2 })
    expect((await api.call('GET', '/distribution/list?batch_id=batch_1')).body.details[0].field).toBe('batch_id')
    const { body: theirs } = await api.call('GET', `/distribution/list?batch_id=${batch_id}`, undefined, {
      key: api.keys.other.operator,
    })
    expect(theirs.summary.total).toBe(0)
  })

  it('takes every filter that the list has, and each narrows what is sent again', async () => {
    const { batch_id } = (await bulk([aSubmission({ data_type: 'narrow', priority: 'high', ordering_key: 'K-1' })]))
      .body
    const schedule_id = '01a22dcd-0ae4-7004-94ae-48eb49e7b4c0'
    await failed(1, 'narrow')
    await api.rows(
      'acme',
      "update distribution_jobs set status = 'failed', check_at = null, schedule_id = $1 where ordering_key = 'K-1'",
      [schedule_id],
    )
    await api.rows(
      'acme',
      `insert into distribution_deliveries (distribution_job_id, tenant_id, destination_name, delivery_id, protocol, status,
              error_code, completed_at, position)
       select id, 'acme', 'ad-hoc', new_uuidv7(), 'REST', 'failed', 'TIMEOUT', '2026-01-05T10:00Z', 0
         from distribution_jobs where ordering_key = 'K-1'`,
    )
    const earlier = { from_date: '2020-01-01', to_date: '2020-01-02' }
    const values: Record<string, [matching: string, other: string]> = {
      status: ['failed', 'completed'],
      data_type: ['narrow', 'another'],
      priority: ['high', 'critical'],
      destination: ['ad-hoc', 'nobody'],
      delivery_status: ['failed', 'success'],
      error_code: ['TIMEOUT', 'REJECTED'],
      failed_from: ['2026-01-05', '2026-01-06'],
      failed_to: ['2026-01-05', '2026-01-04'],
      batch_id: [batch_id, 'batch_01a22dcd-0b1e-790e-bbf2-d40b6198b111'],
      schedule_id: [schedule_id, '01a22dcd-0ae4-7004-94ae-48eb49e7b4c1'],
      ordering_key: ['K-1', 'K-2'],
      from_date: [earlier.from_date, '2199-01-01'],
      to_date: ['2199-01-01', earlier.to_date],
    }
    // A bulk retry has an idempotency key of its own.
    const {
      tenant_id: _own,
      idempotency_key: _key,
      limit: _,
      offset: _offset,
      cursor: _cursor,
      ...filters
    } = listQuery.shape
    expect(Object.keys(values).sort()).toEqual(Object.keys(filters).sort())
    const matched = async (more: Record<string, string>) => {
      const filter = { data_type: 'narrow', ordering_key: 'K-1', ...more }
      const listed = await api.call('GET', `/distribution/list?${new URLSearchParams(filter)}`)
      const counted = await retry({ ...filter, dry_run: true })
      return [listed.body.summary.total, counted.body.matched_distributions]
    }
    for (const [name, [matching, other]] of Object.entries(values)) {
      expect([name, ...(await matched({ [name]: matching }))]).toEqual([name, 1, 1])
      expect([name, ...(await matched({ [name]: other }))]).toEqual([name, 0, 0])
    }
    // What was asked for stands in the audit log.
    const done = await retry({ schedule_id, ordering_key: 'K-1' })
    expect(done.body).toMatchObject({ matched_distributions: 1, total_distributions: 1 })
    const [audit] = await api.rows(
      'acme',
      "select details from audit_log where action = 'bulk_retry' and resource_id = $1",
      [done.body.batch_id.slice('batch_'.length)],
    )
    expect(audit).toMatchObject({ details: { status: 'failed', schedule_id, ordering_key: 'K-1', total: 1 } })
  })

  it('refuses unknown filters and viewers', async () => {
    expect((await retry({ datatype: 'x' })).body.details[0]).toEqual({
      field: 'datatype',
      issue: 'is not a known field, did you mean "data_type"?',
    })
    expect((await retry({ status: 'lost' })).status).toBe(400)
    expect((await retry({}, {}, api.keys.acme.viewer)).status).toBe(403)
  })
})
