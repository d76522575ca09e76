import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ApiUnderTest, aSubmission, inline, startApi } from './api-under-test.ts'

let api: ApiUnderTest
const ids: string[] = []
beforeAll(async () => {
  api = await startApi()
  for (let n = 0; n < 7; n++) {
    const given = {
      data_type: n % 2 ? 'odd' : 'even',
      priority: n === 3 ? 'high' : 'normal',
      destinations: [inline({ name: `d${n}` }), inline({ name: 'all' })],
    }
    const { body } = await api.call(
      'POST',
      '/distribution/submit',
      aSubmission({ ...given, ...(n === 5 && { options: { idempotency_key: 'the-fifth' } }) }),
    )
    ids.push(body.distribution_id)
  }
  await api.call('POST', '/distribution/submit', aSubmission(), { key: api.keys.other.operator })
  // The deliveries of 0, 1 and 2: to d0 succeeded and to all failed; the other way round; both failed, in January.
  await deliver(0, ['success', null, 'now()'], ['failed', 'TIMEOUT', "'2026-01-05T10:00Z'"])
  await deliver(1, ['failed', 'REJECTED', "'2026-01-07T10:00Z'"], ['success', null, 'now()'])
  await deliver(2, ['failed', 'TIMEOUT', "'2026-01-06T10:00Z'"], ['failed', 'REJECTED', "'2026-01-06T10:00Z'"])
  await api.rows('acme', "update distribution_jobs set error_code = 'EXPIRED' where distribution_id = $1", [ids[3]])
  await api.rows('acme', "update distribution_jobs set status = 'failed' where distribution_id = any ($1)", [
    ids.slice(0, 2),
  ])
})
afterAll(() => api.close())

/** Plans distribution `n`, with its deliveries to d<n> and to `all`: status, code, and when it ended, in SQL. */
async function deliver(n: number, ...deliveries: [status: string, code: string | null, completed: string][]) {
  for (const [at, [status, code, completed]] of deliveries.entries()) {
    await api.rows(
      'acme',
      `insert into distribution_deliveries (distribution_job_id, tenant_id, destination_name, delivery_id, protocol, status,
              error_code, completed_at, position)
       values ($1, 'acme', $2, new_uuidv7(), 'REST', $3, $4, ${completed}, $5)`,
      [ids[n]!.slice(5), at === 0 ? `d${n}` : 'all', status, code, at],
    )
  }
  await api.rows('acme', 'update distribution_jobs set planned_at = now() where distribution_id = $1', [ids[n]])
}

const list = (query = '') => api.call('GET', `/distribution/list${query}`, undefined, { key: api.keys.acme.viewer })
const listed = async (query: string) =>
  (await list(query)).body.distributions.map(({ distribution_id }: { distribution_id: string }) =>
    ids.indexOf(distribution_id),
  )

describe('the list', () => {
  it("shows the tenant's distributions newest first, with counts over the whole filter", async () => {
    const { status, body } = await list('?limit=2')
    expect(status).toBe(200)
    expect(body.distributions.map((one: { distribution_id: string }) => one.distribution_id)).toEqual([ids[6], ids[5]])
    expect(body.distributions[0]).toMatchObject({
      status: 'pending',
      data_type: 'even',
      destinations_count: 2,
      destinations_succeeded: 0,
      destinations_failed: 0,
    })
    expect(body.pagination).toEqual({ limit: 2, offset: 0, total: 7, has_more: true, next_cursor: expect.any(String) })
    expect(body.summary).toEqual({ total: 7, pending: 5, processing: 0, completed: 0, failed: 2, cancelled: 0 })
  })

  it('is walked by offset and by cursor alike', async () => {
    expect(await listed('?limit=3&offset=5')).toEqual([1, 0])
    const walked: number[] = []
    let cursor: string | null = ''
    while (cursor !== null) {
      const { body } = await list(`?limit=3${cursor ? `&cursor=${cursor}` : ''}`)
      walked.push(...body.distributions.map((one: { distribution_id: string }) => ids.indexOf(one.distribution_id)))
      cursor = body.pagination.next_cursor
    }
    expect(walked).toEqual([6, 5, 4, 3, 2, 1, 0])
  })

  it.each([
    ['?status=failed', [1, 0]],
    ['?data_type=odd', [5, 3, 1]],
    ['?priority=high', [3]],
    ['?destination=d4', [4]],
    ['?destination=all&data_type=odd&status=failed', [1]],
    ['?delivery_status=failed', [2, 1, 0]],
    ['?delivery_status=failed&destination=all', [2, 0]],
    ['?status=failed&destination=all&delivery_status=failed', [0]],
    ['?error_code=TIMEOUT', [2, 0]],
    ['?error_code=TIMEOUT&destination=all', [0]],
    ['?error_code=EXPIRED', [3]],
    ['?error_code=EXPIRED&destination=d3', []],
    ['?failed_from=2026-01-06&failed_to=2026-01-06', [2]],
    ['?failed_to=2026-01-06', [2, 0]],
    ['?failed_from=2026-01-06&destination=all', [2]],
    ['?idempotency_key=the-fifth', [5]],
    ['?idempotency_key=nobody', []],
    ['?tenant_id=acme&data_type=odd', [5, 3, 1]],
    ['?from_date=1066-10-14', [6, 5, 4, 3, 2, 1, 0]],
    ['?to_date=1066-10-14', []],
    ['?from_date=9000-01-01', []],
  ])('takes the filter %s', async (query, expected) => {
    expect(await listed(query)).toEqual(expected)
  })

  it('takes times to the millisecond, both ends included, and days as a whole', async () => {
    const rows = await api.rows<{ created_at: Date }>(
      'acme',
      'select created_at from distribution_jobs where distribution_id = any ($1) order by id',
      [[ids[2], ids[4]]],
    )
    const [from, to] = rows.map(({ created_at }) => encodeURIComponent(created_at.toISOString()))
    const found = await listed(`?from_date=${from}&to_date=${to}`)
    expect(found).toEqual(expect.arrayContaining([4, 3, 2]))
    const today = rows[0]!.created_at.toISOString().slice(0, 10)
    expect(await listed(`?from_date=${today}&destination=d2`)).toEqual([2])
    expect((await listed(`?to_date=${rows[1]!.created_at.toISOString().slice(0, 10)}&destination=d2`)).length).toBe(1)
  })

  it.each([
    ['?limit=1001', 'limit'],
    ['?limit=0', 'limit'],
    ['?limit=x', 'limit'],
    ['?offset=-1', 'offset'],
    ['?status=done', 'status'],
    ['?from_date=yesterday', 'from_date'],
    ['?from_date=2026-02-02&to_date=2026-01-01', 'to_date'],
    ['?failed_from=2026-02-02&failed_to=2026-01-01', 'failed_to'],
    ['?delivery_status=done', 'delivery_status'],
    ['?cursor=nonsense', 'cursor'],
    ['?destnation=x', 'destnation'],
    ['?status=failed&status=pending', 'status'],
  ])('refuses %s with the name of the parameter', async (query, field) => {
    const { status, body } = await list(query)
    expect([status, body.details?.[0]?.field]).toEqual([400, field])
  })
})

describe('the other lists', () => {
  const keys = () => ({ key: api.keys.acme.platform })
  const create = async (path: string, body: Record<string, unknown>) => {
    expect((await api.call('POST', path, body, keys())).status).toBe(201)
  }
  beforeAll(async () => {
    const configuration = { endpoint: 'https://receiver.example/in' }
    for (const name of ['b', 'a', 'C', 'd_1', 'd-1']) {
      await create('/destinations/register', { name, protocol: 'REST', configuration })
      await create('/data-types', { id: `${name} ü` })
      await create('/data-types', { id: `${name} ü`, shared: true })
      const rule = { rule_type: 'filtering', actions: { drop: true } }
      await create('/rules', { ...rule, name: `${name} ü`, priority: name.length })
      await create('/rules', { ...rule, name: `${name} ü`, priority: name.length, shared: true })
    }
  })

  it.each([
    ['/destinations/list', 'destinations'],
    ['/data-types', 'data_types'],
    ['/rules', 'rules'],
  ])('%s gives the same entries by cursor as at once', async (path, field) => {
    const { body: all } = await api.call('GET', `${path}?limit=1000`, undefined, keys())
    expect(all.pagination).toMatchObject({ has_more: false, next_cursor: null, total: all[field].length })
    const walked: unknown[] = []
    let cursor: string | null = ''
    while (cursor !== null) {
      const page = await api.call('GET', `${path}?limit=3${cursor ? `&cursor=${cursor}` : ''}`, undefined, keys())
      walked.push(...page.body[field])
      cursor = page.body.pagination.next_cursor
    }
    expect(walked).toEqual(all[field])
    const both = await api.call('GET', `${path}?offset=1&cursor=x`, undefined, keys())
    expect([both.status, both.body.details[0].field]).toEqual([400, 'offset'])
  })

  it('refuses the tenant_id of another tenant', async () => {
    const { status, body } = await list('?tenant_id=other')
    expect([status, body.error]).toEqual([403, 'AUTHORIZATION_FAILED'])
  })
})
