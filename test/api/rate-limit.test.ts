// How many requests a tenant and a key may make, over several processes of the API.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createRequestLimit } from '../../api/http/rate-limit.ts'
import { withTenant } from '../../db/pool.ts'
import { insertTenant } from '../../db/tenants/tenants.ts'
import { type Answer, type ApiUnderTest, startApi } from './api-under-test.ts'

let api: ApiUnderTest
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

const platform = (method: string, path: string, body?: unknown) =>
  api.call(method, path, body, { key: api.keys.acme.platform })

/** A tenant with these limits, and a key of it. */
async function aTenant(id: string, limits: Record<string, unknown>, ofKey: Record<string, unknown> = {}) {
  expect((await platform('POST', '/tenants', { id, ...limits })).status).toBe(201)
  return await aKey(id, ofKey)
}

async function aKey(id: string, given: Record<string, unknown> = {}): Promise<string> {
  const { status, body } = await platform('POST', `/tenants/${id}/api-keys`, { name: 'k', role: 'admin', ...given })
  expect(status).toBe(201)
  return body.key
}

const list = (key: string) => api.call('GET', '/destinations/list', undefined, { key })
async function several(count: number, key: string): Promise<Answer[]> {
  return await Promise.all(Array.from({ length: count }, () => list(key)))
}
const statuses = (answers: Answer[]) => answers.map(({ status }) => status)

describe('requests to the API', () => {
  it('beyond the connections that a tenant may hold get 429, and no error in the log', async () => {
    const key = await aTenant('crowd', {})
    let letGo = () => {}
    const released = new Promise<void>((resolve) => {
      letGo = resolve
    })
    const holding = Array.from({ length: 8 }, () => withTenant(api.pool, 'crowd', () => released))
    try {
      const refused = await list(key)
      expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '1'])
      expect(refused.body).toMatchObject({
        error: 'RATE_LIMIT_EXCEEDED',
        message: 'too many requests of this tenant at once; try again in 1 s',
        retry_after_seconds: 1,
      })
    } finally {
      letGo()
      await Promise.all(holding)
    }
    expect((await list(key)).status).toBe(200)
    expect(api.log.lines().filter((line) => line.includes('request failed'))).toEqual([])
  })

  it('beyond the burst get 429 with the time to wait, and succeed after it', async () => {
    const key = await aTenant('small', { rate_limit_requests: 60, rate_limit_window_seconds: 60, burst_limit: 3 })
    const answers = await several(10, key)
    expect(statuses(answers).filter((status) => status === 200)).toHaveLength(3)
    const refused = answers.find(({ status }) => status === 429)!
    expect(refused.body).toMatchObject({ error: 'RATE_LIMIT_EXCEEDED', retry_after_seconds: 1, details: [] })
    expect(refused.headers.get('retry-after')).toBe('1')
    await new Promise((resolve) => setTimeout(resolve, 1000 * refused.body.retry_after_seconds))
    expect((await list(key)).status).toBe(200)
  })

  it('that are rejected cost nothing: repeating them does not lengthen the wait', async () => {
    const key = await aTenant('eager', { rate_limit_requests: 60, rate_limit_window_seconds: 60, burst_limit: 1 })
    const began = performance.now()
    let served = 0
    while (performance.now() - began < 3300) {
      if ((await list(key)).status === 200) served += 1
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    expect(served).toBeGreaterThanOrEqual(3)
    expect(served).toBeLessThanOrEqual(4)
  })

  it('count per tenant, and a key can have its own limit within that of the tenant', async () => {
    const slow = await aTenant('two-keys', { rate_limit_requests: 6, burst_limit: 8 }, { rate_limit_requests: 1 })
    const usual = await aKey('two-keys')
    await platform('PUT', '/tenants/two-keys', { burst_limit: 5 })
    expect(statuses(await several(8, slow)).filter((status) => status === 200)).toHaveLength(5)
    // What the key was denied, the tenant still has; what it had, the tenant has not.
    expect((await list(usual)).status).toBe(429)
    expect((await list(await aTenant('bystander', {}))).status).toBe(200)
  })

  it('succeed soon after a limit was raised', async () => {
    const hour = { rate_limit_requests: 1, rate_limit_window_seconds: 3600, burst_limit: 1 }
    const key = await aTenant('raised', hour, { rate_limit_requests: 1 })
    expect(statuses(await several(2, key)).sort()).toEqual([200, 429])
    await platform('PUT', '/tenants/raised', { rate_limit_requests: 600, rate_limit_window_seconds: 60 })
    const other = await aKey('raised')
    await expect.poll(async () => (await list(other)).status).toBe(200)
    // The key's own limit, within the same window, is 1 per minute by now.
    await expect.poll(async () => Number((await list(key)).headers.get('retry-after'))).toBeLessThanOrEqual(60)
  })

  it('are counted over all processes', async () => {
    await withTenant(api.pool, 'spread', async (db) => {
      await insertTenant(db, api.sealer, { id: 'spread', name: 'x', description: null, callback_secret: null })
      await db.query('update tenants set rate_limit_requests = 60, burst_limit = 20')
    })
    const processes = [1, 2, 3].map(() => createRequestLimit(api.pool))
    const caller = { tenant_id: 'spread', role: 'admin' as const, actor: 'api_key:one' }
    const took = await Promise.all(
      Array.from({ length: 120 }, (_, index) =>
        processes[index % 3]!.take(caller).then(
          () => true,
          () => false,
        ),
      ),
    )
    const began = took.filter(Boolean).length
    // The last ones of a burst may be held by a process that is not asked again.
    expect(began).toBeLessThanOrEqual(21)
    expect(began).toBeGreaterThan(10)
  })

  it('to health and docs are not counted, nor those of a tenant without a limit', async () => {
    const key = await aTenant('tiny', { rate_limit_requests: 1, rate_limit_window_seconds: 3600, burst_limit: 1 })
    expect(statuses(await several(2, key)).sort()).toEqual([200, 429])
    expect((await list(key)).headers.get('retry-after')).toMatch(/^3[56]\d\d$/)
    for (const path of ['/health/live', '/health/ready', '/openapi.json', '/docs']) {
      expect((await api.request(path)).status, path).toBe(200)
    }
    await platform('PUT', '/tenants/tiny', { rate_limit_requests: null })
    const unlimited = await aTenant('free', { rate_limit_requests: null, burst_limit: 1 })
    expect(statuses(await several(30, unlimited))).toEqual(Array(30).fill(200))
  })

  it('have the schema’s limits when nothing is said, and the first tenant has none', async () => {
    await platform('POST', '/tenants', { id: 'usual' })
    expect((await platform('GET', '/tenants/usual')).body).toMatchObject({
      rate_limit_requests: 1000,
      rate_limit_window_seconds: 60,
      burst_limit: 200,
      delivery_rate_limit: null,
      event_url: null,
    })
    expect((await platform('GET', '/tenants/acme')).body.rate_limit_requests).toBeNull()
    const { body } = await platform('PUT', '/tenants/usual', {
      delivery_rate_limit: { requests: 5, per_seconds: 1 },
      event_url: 'https://sender.example/events',
    })
    expect(body).toMatchObject({
      rate_limit_requests: 1000,
      delivery_rate_limit: { requests: 5, per_seconds: 1, burst: 0 },
      event_url: 'https://sender.example/events',
    })
    // Those that wait are to ask the new limit.
    expect(api.dispatcher.resumed).toEqual([{ tenant_id: 'usual', target: null, changed_at: body.updated_at }])
    // Those that wait for the tenant to be active again.
    for (const status of ['suspended', 'active']) await platform('PUT', '/tenants/usual', { status })
    expect(api.dispatcher.resumed.slice(1)).toEqual([{ tenant_id: 'usual', target: null }])
    expect((await platform('PUT', '/tenants/usual', { event_url: null })).body.event_url).toBeNull()
    const bad = await platform('PUT', '/tenants/usual', { event_url: 'http://10.0.0.8/' })
    const issue =
      'is a private or otherwise forbidden address; the operator can allow networks with the setting EGRESS_ALLOW'
    expect(bad.body.details).toEqual([{ field: 'event_url', issue }])
    expect((await platform('PUT', '/tenants/usual', { burst_limit: 0 })).status).toBe(400)
  })

  it('say in OpenAPI that they may be refused', async () => {
    const { body } = await api.request('/openapi.json')
    expect(body.paths['/api/v1/distribution/submit'].post.responses['429']).toBeDefined()
    expect(body.paths['/health/ready'].get.responses['429']).toBeUndefined()
  })
})
