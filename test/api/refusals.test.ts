// `zenia_distribution_api_refusals_total`: each refused request is counted once, by tenant and reason.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createBodiesUnderWay } from '../../api/http/bodies-under-way.ts'
import { LIMITS } from '../../db/limits.ts'
import { withTenant } from '../../db/pool.ts'
import { type ApiUnderTest, aSubmission, startApi } from './api-under-test.ts'

const MAX_BODY = 100_000
let api: ApiUnderTest
beforeAll(async () => {
  api = await startApi({ max_body_bytes: MAX_BODY, upload: { whole_ms: 100, window_ms: 50 } })
})
afterAll(() => api.close())

const platform = (method: string, path: string, body?: unknown) =>
  api.call(method, path, body, { key: api.keys.acme.platform })
const list = (key: string) => api.call('GET', '/destinations/list', undefined, { key })
const submit = (body: unknown) => api.call('POST', '/distribution/submit', body)

/** The lines of the counter that changed, with the difference. */
async function counted(work: () => Promise<unknown>): Promise<Record<string, number>> {
  const before = await read()
  await work()
  const after = await read()
  const changes = Object.entries(after).map(([labels, value]) => [labels, value - (before[labels] ?? 0)] as const)
  return Object.fromEntries(changes.filter(([, change]) => change > 0))
}

async function read(): Promise<Record<string, number>> {
  const { text } = await api.request('/metrics', { headers: { 'X-API-Key': api.keys.acme.platform } })
  const found = text.matchAll(/^zenia_distribution_api_refusals_total\{tenant_id="(.*)",reason="(.*)"\} (\d+)$/gm)
  return Object.fromEntries([...found].map(([, tenant, reason, value]) => [`${tenant} ${reason}`, Number(value)]))
}

describe('a request is counted as', () => {
  it('unauthenticated without a key or with an unknown one, and as unknown_keys when there are too many', async () => {
    expect(await counted(() => api.request('/api/v1/distribution/list'))).toEqual({ ' unauthenticated': 1 })
    const guesses = Array.from({ length: LIMITS.wrongKeys.value + 2 }, (_, n) => `guess-${n}`)
    expect(await counted(() => Promise.all(guesses.map(list)))).toEqual({
      ' unauthenticated': LIMITS.wrongKeys.value,
      ' unknown_keys': 2,
    })
  })

  it('forbidden if the role is not enough', async () => {
    const work = () => api.call('POST', '/credentials', { name: 'x', fields: {} }, { key: api.keys.acme.viewer })
    expect(await counted(work)).toEqual({ 'acme forbidden': 1 })
  })

  it('too_large beyond the size, announced or not, or with too many destinations', async () => {
    const large = `"${'x'.repeat(MAX_BODY)}"`
    const announced = { headers: { 'Content-Length': String(MAX_BODY + 2) } }
    expect(await counted(() => api.call('POST', '/distribution/submit', large, announced))).toEqual({ ' too_large': 1 })
    expect(await counted(() => submit(large))).toEqual({ 'acme too_large': 1 })
    const destinations = Array.from({ length: 1001 }, (_, n) => `d-${n}`)
    expect(await counted(() => submit(aSubmission({ destinations })))).toEqual({ 'acme too_large': 1 })
  })

  it('too_slow if its body takes too long', async () => {
    const body = new ReadableStream({ start: (controller) => controller.enqueue(Buffer.from('{')) })
    const headers = { 'X-API-Key': api.keys.acme.operator, 'Content-Type': 'application/json' }
    const init = { method: 'POST', body, headers, duplex: 'half' } as RequestInit
    expect(await counted(() => api.request('/api/v1/distribution/submit', init))).toEqual({ 'acme too_slow': 1 })
  })

  it('rate_limit beyond the limit of the tenant', async () => {
    await platform('POST', '/tenants', { id: 'few', rate_limit_requests: 1, rate_limit_window_seconds: 3600 })
    await platform('PUT', '/tenants/few', { burst_limit: 1 })
    const { body } = await platform('POST', '/tenants/few/api-keys', { name: 'k', role: 'viewer' })
    await list(body.key)
    expect(await counted(() => Promise.all([1, 2, 3].map(() => list(body.key))))).toEqual({ 'few rate_limit': 3 })
  })

  it('tenant_busy while the tenant holds its share of the connections', async () => {
    let release = () => {}
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    const holding = Array.from({ length: 8 }, () => withTenant(api.pool, 'other', () => released))
    try {
      expect(await counted(() => list(api.keys.other.viewer))).toEqual({ 'other tenant_busy': 1 })
    } finally {
      release()
      await Promise.all(holding)
    }
  })

  it('unavailable if no worker answers', async () => {
    const registered = { name: 'tested', protocol: 'REST', configuration: { endpoint: 'https://receiver.example/' } }
    await platform('POST', '/destinations/register', registered)
    api.dispatcher.answers.probe = null
    const work = () => api.call('POST', '/destinations/tested/test')
    expect(await counted(work)).toEqual({ 'acme unavailable': 1 })
  })

  it('nothing if it is served, invalid, not found or contradicts the state', async () => {
    const work = async () => {
      expect((await list(api.keys.acme.viewer)).status).toBe(200)
      expect((await submit({})).status).toBe(400)
      expect((await api.call('GET', '/destinations/nowhere')).status).toBe(404)
      expect((await platform('POST', '/tenants', { id: 'few' })).status).toBe(409)
    }
    expect(await counted(work)).toEqual({})
  })
})

it('too many bytes of one tenant count against the tenant; too many bytes of all count as overload', () => {
  const size = 10 * LIMITS.smallBody.value
  const refusedBy = (tenant: (n: number) => string) => {
    const bodies = createBodiesUnderWay(size)
    for (let n = 0; n < 10_000; n++) {
      try {
        bodies.begin({ tenant_id: tenant(n), role: 'operator', actor: `api_key:${n}` }, size)
      } catch (error) {
        return error
      }
    }
  }
  expect(refusedBy(() => 'one')).toMatchObject({ refusal: 'tenant_busy' })
  expect(refusedBy((n) => `t${n}`)).toMatchObject({ refusal: 'overload' })
})
