// Bulk submission over the API: what is accepted, what is rejected, and what a repeat gets.
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createBulkQueue } from '../../api/submission/bulk-queue.ts'
import { claimIdempotencyKey } from '../../db/distributions/idempotency.ts'
import { withTenant } from '../../db/pool.ts'
import { type ApiUnderTest, aSubmission, inline, startApi } from './api-under-test.ts'

let api: ApiUnderTest
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

const bulk = (distributions: unknown[], options?: Record<string, unknown>, headers: Record<string, string> = {}) =>
  api.call('POST', '/distribution/bulk-submit', { distributions, ...(options ? { options } : {}) }, { headers })

/** A promise, and the function that resolves it. */
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

  it('keeps the exact bytes of every payload', async () => {
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

  it('lists the problems of each item, and accepts the other items', async () => {
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
    expect(body.rejected[0].details[20]).toEqual({ field: 'body', issue: 'has 980 more problems' })
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
    expect((await bulk([])).body.details[0]).toEqual({
      field: 'distributions',
      issue: 'must contain at least one distribution',
    })
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
    expect([first, again].map(({ headers }) => headers.get('idempotent-replayed'))).toEqual([null, 'true'])
    expect(await jobsOf(first.body.batch_id)).toHaveLength(1)
    const other = await bulk([aSubmission()], undefined, { 'Idempotency-Key': 'whole-1' })
    expect(other.status).toBe(409)
    expect(other.body.details).toEqual([{ field: 'idempotency_key', issue: `belongs to ${first.body.batch_id}` }])
  })

  it('20 parallel posts with one key make one batch', async () => {
    const items = [aSubmission({ payload: 'parallel' }), aSubmission({ payload: 'parallel too' })]
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => bulk(items, undefined, { 'Idempotency-Key': 'parallel' })),
    )
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([202]))
    expect(new Set(answers.map(({ body }) => body.batch_id)).size).toBe(1)
    expect(await jobsOf(answers[0]!.body.batch_id)).toHaveLength(2)
  })

  it('of single items is recognised by their own keys: in one request, across requests, and with a single submission', async () => {
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

  it('a page with rows that jsonb rejects stores the others and frees the keys of the rejected ones', async () => {
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
  it('leave connections for other tenants, and are all processed', async () => {
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
    // A request that waits more than 3 s for a connection of its tenant is answered 503.
    for (const { status } of await singles) expect([202, 503]).toContain(status)
  })

  it('are rejected with a time to wait when they would use too much memory', async () => {
    const queue = createBulkQueue(100)
    const [held, letGo] = door()
    const order: string[] = []
    const run = (tenant: string, bytes: number, name: string) =>
      queue.run(tenant, bytes, async () => {
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

it('a submission that is nested too deeply is rejected with the limit that was applied', async () => {
  const nested = (depth: number) => JSON.parse(`${'['.repeat(depth)}${']'.repeat(depth)}`)
  const single = await api.call('POST', '/distribution/submit', aSubmission({ payload: nested(500) }))
  expect(single.body.details).toEqual([{ field: 'body', issue: 'is nested deeper than 500' }])
  const one = await bulk([aSubmission(), aSubmission({ payload: nested(500) })])
  expect(one.body.rejected).toEqual([{ index: 1, details: single.body.details }])
  const all = await bulk([aSubmission(), aSubmission({ payload: nested(1000) })])
  expect(all.body.details).toEqual([{ field: 'body', issue: 'is nested deeper than 1000' }])
})
