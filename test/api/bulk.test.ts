// Bulk submission over the API: what is accepted, what is rejected, and what a repeat gets.
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createBulkTurns } from '../../api/bulk-turns.ts'
import { claimIdempotencyKey } from '../../db/idempotency.ts'
import { withTenant } from '../../db/pool.ts'
import { type ApiUnderTest, aSubmission, inline, startApi } from './api-under-test.ts'

let api: ApiUnderTest
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

const bulk = (distributions: unknown[], options?: Record<string, unknown>, headers: Record<string, string> = {}) =>
  api.call('POST', '/distribution/bulk-submit', { distributions, ...(options ? { options } : {}) }, { headers })

/** What waits for the promise goes on when the function is called. */
function door(): [closed: Promise<void>, open: () => void] {
  let open = () => {}
  const closed = new Promise<void>((resolve) => {
    open = resolve
  })
  return [closed, open]
}

async function jobsOf(batchId: string) {
  return await api.rows<{ id: string; payload_bytes: Buffer; check_at: unknown }>(
    'acme',
    'select id, payload_bytes, check_at from distribution_jobs where batch_id = $1 order by id',
    [batchId.slice('batch_'.length)],
  )
}

describe('bulk-submit', () => {
  it('accepts all, in order, and starts one batch', async () => {
    const before = api.dispatcher.batches.length
    const { status, body, headers } = await bulk([
      aSubmission({ payload: { n: 1 } }),
      aSubmission({ payload: { n: 2 } }),
      aSubmission({ payload: { n: 3 } }),
    ])
    expect(status).toBe(202)
    expect(body).toMatchObject({
      batch_id: expect.stringMatching(/^batch_/),
      total_distributions: 3,
      accepted_distributions: 3,
      status: 'processing',
      tracking_url: `/api/v1/distribution/batch/${body.batch_id}/status`,
      rejected: [],
    })
    expect(headers.get('location')).toBe(body.tracking_url)
    const jobs = await jobsOf(body.batch_id)
    expect(jobs.map(({ id }) => `dist_${id}`)).toEqual(body.distribution_ids)
    expect(jobs.map(({ payload_bytes }) => JSON.parse(payload_bytes.toString()).n)).toEqual([1, 2, 3])
    // No sweep starts what waits for its batch.
    expect(jobs.every(({ check_at }) => check_at === Number.POSITIVE_INFINITY)).toBe(true)
    expect(api.dispatcher.batches.slice(before)).toEqual([{ tenant_id: 'acme', batch_id: body.batch_id.slice(6) }])
  })

  it('FIELD-REPORT 1: keeps the exact bytes of every payload', async () => {
    const texts = [
      '{"b":1,"a":1.0,"big":12345678901234567890}',
      '[ 1e2 , "\\u00e9" ]',
      '{"x":1,"x":2}',
      '"just text"',
      '{"nul":"\\u0000","lone":"\\ud800"}',
    ]
    const items = texts.map(
      (text) => `{"data_type":"report","payload":${text},"destinations":[${JSON.stringify(inline())}]}`,
    )
    const { status, body } = await api.call(
      'POST',
      '/distribution/bulk-submit',
      `{ "distributions" : [ ${items.join(' ,\n')} ] }`,
    )
    expect(status).toBe(202)
    expect(body.rejected).toEqual([])
    const jobs = await jobsOf(body.batch_id)
    expect(jobs.map(({ payload_bytes }) => payload_bytes.toString())).toEqual(texts)
  })

  it('lists what is wrong, item by item, and accepts the rest', async () => {
    const { status, body } = await bulk([
      aSubmission(),
      aSubmission({ data_type: undefined }),
      'no object',
      aSubmission({ destinations: ['unknown'] }),
      aSubmission({ destinations: [inline({ endpoint: 'ftp://nowhere' })], colour: 'red' }),
      aSubmission({ tenant_id: 'other' }),
      aSubmission({ expires_at: '2001-01-01T00:00:00Z' }),
      aSubmission({ payload: 'good' }),
    ])
    expect(status).toBe(202)
    expect(body).toMatchObject({ total_distributions: 8, accepted_distributions: 2 })
    expect(body.distribution_ids).toHaveLength(2)
    expect(body.rejected.map(({ index }: { index: number }) => index)).toEqual([1, 2, 3, 4, 5, 6])
    expect(body.rejected[0].details).toEqual([{ field: 'data_type', issue: 'is required' }])
    expect(body.rejected[1].details).toEqual([{ field: 'body', issue: 'must be a JSON object' }])
    expect(body.rejected[2].details[0].field).toBe('destinations[0]')
    expect(body.rejected[3].details.map(({ field }: { field: string }) => field)).toEqual([
      'colour',
      'destinations[0].endpoint',
    ])
    expect(body.rejected[4].details[0].field).toBe('tenant_id')
    expect(body.rejected[5].details[0]).toEqual({ field: 'expires_at', issue: 'is in the past' })
  })

  it('refuses a key twice in one item, and a depth beyond the limit, in that item alone', async () => {
    const good = JSON.stringify(aSubmission())
    const twice = good.replace('{"data_type":"report"', '{"data_type":"report","data_type":"other"')
    const deep = (depth: number) =>
      JSON.stringify(aSubmission({ payload: 'P' })).replace('"P"', '['.repeat(depth) + ']'.repeat(depth))
    const { body: answer } = await api.call(
      'POST',
      '/distribution/bulk-submit',
      `{"distributions":[${[good, twice, deep(499), deep(500)].join(',')}]}`,
    )
    expect(answer.rejected.map(({ index }: { index: number }) => index)).toEqual([1, 3])
    expect(answer.rejected[0].details).toEqual([{ field: 'data_type', issue: 'appears more than once' }])
  })

  it('keeps the first of a thousand faults of one item', async () => {
    const faults = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`strange_${i}`, i]))
    const { body } = await bulk([aSubmission(), aSubmission(faults)])
    expect(body.rejected[0].details).toHaveLength(21)
    expect(body.rejected[0].details[20]).toEqual({ field: 'body', issue: 'has 980 more faults' })
  })

  it('is a 400 that names the items when none is valid, and stores nothing', async () => {
    const [before] = await api.rows<{ n: number }>('acme', 'select count(*)::int as n from batches')
    const { status, body } = await bulk([aSubmission({ data_type: '' }), 7])
    expect(status).toBe(400)
    expect(body.details).toEqual([
      { field: 'distributions[0].data_type', issue: 'must have 1 to 50 characters' },
      { field: 'distributions[1]', issue: 'must be a JSON object' },
    ])
    const missing = await bulk([aSubmission({ destinations: ['unknown'] })])
    expect(missing.status).toBe(400)
    expect(missing.body.details[0].field).toBe('distributions[0].destinations[0]')
    const [after] = await api.rows<{ n: number }>('acme', 'select count(*)::int as n from batches')
    expect(after).toEqual(before)
  })

  it('refuses what is wrong with the request as a whole', async () => {
    expect((await bulk([])).body.details[0]).toEqual({ field: 'distributions', issue: 'must hold at least one' })
    expect((await bulk([aSubmission()], { fast: true })).body.details[0].field).toBe('options.fast')
    expect((await bulk([aSubmission()], { callback_url: 'ftp://x' })).body.details[0].field).toBe(
      'options.callback_url',
    )
    expect((await bulk(Array.from({ length: 10_001 }, () => 1))).status).toBe(413)
    expect((await bulk([aSubmission()], { idempotency_key: 'a' }, { 'Idempotency-Key': 'b' })).status).toBe(400)
    const viewer = { key: api.keys.acme.viewer }
    const asViewer = await api.call('POST', '/distribution/bulk-submit', { distributions: [aSubmission()] }, viewer)
    expect(asViewer.status).toBe(403)
  })

  it('takes a gzip body', async () => {
    const { status } = await api.call(
      'POST',
      '/distribution/bulk-submit',
      gzipSync(JSON.stringify({ distributions: [aSubmission()] })),
      { headers: { 'Content-Type': 'application/json', 'Content-Encoding': 'gzip' } },
    )
    expect(status).toBe(202)
  })
})

describe('a repeat', () => {
  it('with the key of the whole request gets the first answer, rejected ones included, and makes nothing new', async () => {
    const items = [aSubmission({ payload: 'whole' }), aSubmission({ data_type: 1 })]
    const first = await bulk(items, undefined, { 'Idempotency-Key': 'whole-1' })
    const again = await bulk(items, undefined, { 'Idempotency-Key': 'whole-1' })
    expect(again.status).toBe(202)
    expect(again.body).toEqual(first.body)
    expect(await jobsOf(first.body.batch_id)).toHaveLength(1)
    const other = await bulk([aSubmission()], undefined, { 'Idempotency-Key': 'whole-1' })
    expect(other.status).toBe(409)
  })

  it('FIELD-REPORT 2: 20 parallel posts with one key make one batch', async () => {
    const items = [aSubmission({ payload: 'parallel' }), aSubmission({ payload: 'parallel too' })]
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => bulk(items, undefined, { 'Idempotency-Key': 'parallel' })),
    )
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([202]))
    expect(new Set(answers.map(({ body }) => body.batch_id)).size).toBe(1)
    expect(await jobsOf(answers[0]!.body.batch_id)).toHaveLength(2)
  })

  it('of single items is told by their own keys, within a request, over requests, and beside a single submission', async () => {
    const item = aSubmission({ payload: 'once', options: { idempotency_key: 'item-1' } })
    const changed = aSubmission({ payload: 'changed', options: { idempotency_key: 'item-1' } })
    const first = await bulk([item, item, changed, aSubmission()])
    expect(first.body).toMatchObject({ accepted_distributions: 3, total_distributions: 4 })
    const [one, two, three] = first.body.distribution_ids
    expect(two).toBe(one)
    expect(three).not.toBe(one)
    expect(first.body.rejected).toMatchObject([{ index: 2, details: [{ field: 'options.idempotency_key' }] }])
    const again = await bulk([item])
    expect(again.body.distribution_ids).toEqual([one])
    expect(await jobsOf(again.body.batch_id)).toEqual([])
    // The hash is that of the item's own bytes.
    const single = await api.call('POST', '/distribution/submit', item)
    expect(single.body.distribution_id).toBe(one)
  })

  it('two requests with the same keys in opposite order wait for each other and make each once', async () => {
    const items = Array.from({ length: 40 }, (_, i) =>
      aSubmission({ payload: i, options: { idempotency_key: `cross-${i}` } }),
    )
    const answers = await Promise.all([bulk(items), bulk([...items].reverse()), bulk(items)])
    expect(answers.map(({ status }) => status)).toEqual([202, 202, 202])
    expect(new Set(answers.flatMap(({ body }) => body.distribution_ids)).size).toBe(40)
  })

  it('keeps the order and costs little when a few rows of thousands are refused', async () => {
    const text = (n: number) => {
      const item = JSON.stringify(aSubmission({ payload: n, metadata: { n: 'N' }, ordering_key: 'thousands' }))
      return item.replace('"N"', n % 400 === 7 ? '1e400000' : '1')
    }
    const { body } = await api.call(
      'POST',
      '/distribution/bulk-submit',
      `{"distributions":[${Array.from({ length: 1200 }, (_, n) => text(n)).join(',')}]}`,
    )
    expect(body.rejected.map(({ index }: { index: number }) => index)).toEqual([7, 407, 807])
    const stored = await api.rows<{ payload: number; spent: string }>(
      'acme',
      'select payload, cmax::text as spent from distribution_jobs where batch_id = $1 order by ordering_seq',
      [body.batch_id.slice('batch_'.length)],
    )
    expect(stored.map(({ payload }) => payload)).toEqual(
      Array.from({ length: 1200 }, (_, n) => n).filter((n) => n % 400 !== 7),
    )
    // Statements of that transaction, as PostgreSQL counts them: some for each page, not some for each row.
    expect(Math.max(...stored.map(({ spent }) => Number(spent)))).toBeLessThan(400)
  })

  it('a page with rows that jsonb refuses keeps the others and frees their keys', async () => {
    const bad = { payload: 'x', metadata: { n: 'N' }, options: { idempotency_key: 'bad-1' } }
    const refused = JSON.stringify(aSubmission(bad)).replace('"N"', '1e400000')
    const { status, body } = await api.call(
      'POST',
      '/distribution/bulk-submit',
      `{"distributions":[${JSON.stringify(aSubmission({ payload: 'a' }))},${refused},${refused}]}`,
    )
    expect(status).toBe(202)
    expect(body).toMatchObject({ accepted_distributions: 1 })
    expect(body.rejected.map(({ index }: { index: number }) => index)).toEqual([1, 2])
    expect(await api.rows('acme', "select from idempotency_keys where key = 'bad-1'")).toEqual([])
  })
})

describe('many bulk requests of one tenant at once', () => {
  it('leave the other tenants their connections, and are all carried out', async () => {
    const item = aSubmission({ payload: 'held', options: { idempotency_key: 'held' } })
    const [held, letGo] = door()
    const [holding, holds] = door()
    // Somebody is just taking the key that all of them want.
    const holder = withTenant(api.pool, 'acme', async (db) => {
      await claimIdempotencyKey(db, 'acme', 'held', Buffer.from('another body'))
      holds()
      await held
      throw new Error('given back')
    }).catch(() => {})
    await holding
    const bulks = Promise.all(Array.from({ length: 12 }, () => bulk([item, aSubmission()])))
    const singles = Promise.all(Array.from({ length: 12 }, () => api.call('POST', '/distribution/submit', item)))
    const key = api.keys.other.operator
    try {
      for (let i = 0; i < 3; i += 1) {
        expect((await api.call('POST', '/distribution/submit', aSubmission(), { key })).status).toBe(202)
        const theirs = await api.call('POST', '/distribution/bulk-submit', { distributions: [aSubmission()] }, { key })
        expect(theirs.status).toBe(202)
      }
    } finally {
      letGo()
      await holder
    }
    expect(new Set((await bulks).map(({ status }) => status))).toEqual(new Set([202]))
    // One that waits for its tenant's connections for more than 3 s is told to come again.
    for (const { status } of await singles) expect([202, 503]).toContain(status)
  })

  it('are refused when they would fill the memory, with the time to wait', async () => {
    const turns = createBulkTurns(100)
    const [held, letGo] = door()
    const order: string[] = []
    const run = (tenant: string, bytes: number, name: string) =>
      turns.run(tenant, bytes, async () => {
        order.push(name)
        await held
      })
    const all = [run('a', 100, 'a1'), run('a', 200, 'a2'), run('a', 200, 'a3'), run('b', 100, 'b1'), run('c', 1, 'c1')]
    await expect(run('a', 1, 'a4')).rejects.toMatchObject({ status: 429, retryAfterSeconds: 5 })
    all.push(run('d', 1, 'd1'))
    expect(order).toEqual(['a1', 'b1', 'c1'])
    letGo()
    await Promise.all(all)
    expect(order.slice(3)).toEqual(['d1', 'a2', 'a3'])
  })
})

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

  it('is noted once, with its reason, and its run is told', async () => {
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
      "select action from audit_log where resource_type = 'batch' and resource_id = $1",
      [body.batch_id.slice('batch_'.length)],
    )
    expect(audits).toEqual([{ action: 'cancel' }, { action: 'cancel' }])
  })

  it('is a 404 for others, a 403 for viewers, and a 409 when it has ended', async () => {
    const { body } = await bulk([aSubmission()])
    expect((await cancel(body.batch_id, undefined, api.keys.other.operator)).status).toBe(404)
    expect((await cancel('batch_1')).status).toBe(404)
    expect((await cancel(body.batch_id, undefined, api.keys.acme.viewer)).status).toBe(403)
    await api.rows('acme', "update batches set status = 'completed' where id = $1", [body.batch_id.slice(6)])
    const ended = await cancel(body.batch_id)
    expect(ended.status).toBe(409)
    expect(ended.body.message).toBe('the batch has ended already, as completed')
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

  it('FIELD-REPORT 40: counts the whole filter first, and only this tenant’s', async () => {
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

  it('refuses unknown filters and viewers', async () => {
    expect((await retry({ datatype: 'x' })).body.details[0]).toEqual({
      field: 'datatype',
      issue: 'is not a known field, did you mean "data_type"?',
    })
    expect((await retry({ status: 'lost' })).status).toBe(400)
    expect((await retry({}, {}, api.keys.acme.viewer)).status).toBe(403)
  })
})
