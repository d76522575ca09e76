// A destination's settings for circuits, limits and health checks over the API.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ApiUnderTest, startApi } from './api-under-test.ts'

let api: ApiUnderTest
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

const admin = (method: string, path: string, body?: unknown) =>
  api.call(method, path, body, { key: api.keys.acme.admin })
const configuration = { endpoint: 'https://reporter.example/documents' }
const register = (name: string, given: Record<string, unknown> = {}) =>
  admin('POST', '/destinations/register', { name, protocol: 'REST', configuration, ...given })

describe('the limits of a destination', () => {
  it('have defaults that are shown, and a circuit that is closed', async () => {
    const { status, body } = await register('plain')
    expect(status).toBe(201)
    expect(body).toMatchObject({
      circuit_breaker: { failures: 5, open_seconds: 60 },
      auto_disable: null,
      rate_limit: null,
      max_concurrency: null,
      circuit: { state: 'closed', consecutive_failures: 0, opened_at: null, open_until: null, failing_since: null },
    })
  })

  it('are kept, shown, listed and replaced', async () => {
    const limits = {
      circuit_breaker: { failures: 3, open_seconds: 10 },
      auto_disable: { failures: 20, over_seconds: 600 },
      rate_limit: { requests: 100, per_seconds: 60, burst: 10 },
      max_concurrency: 4,
    }
    expect((await register('limited', limits)).body).toMatchObject(limits)
    expect((await admin('GET', '/destinations/limited')).body).toMatchObject(limits)
    const list = await admin('GET', '/destinations/list')
    expect(list.body.destinations.find((one: { name: string }) => one.name === 'limited')).toMatchObject(limits)
    const { body } = await admin('PUT', '/destinations/limited', {
      configuration,
      circuit_breaker: { failures: 9 },
      rate_limit: { requests: 1, per_seconds: 1 },
    })
    expect(body).toMatchObject({
      circuit_breaker: { failures: 9, open_seconds: 60 },
      auto_disable: null,
      rate_limit: { requests: 1, per_seconds: 1, burst: 0 },
      max_concurrency: null,
    })
  })

  it.each<[string, Record<string, unknown>, string]>([
    ['no requests', { rate_limit: { requests: 0, per_seconds: 1 } }, 'rate_limit.requests'],
    ['no window', { rate_limit: { requests: 1 } }, 'rate_limit.per_seconds'],
    ['a misspelt field', { rate_limit: { requests: 1, per_seconds: 1, bursts: 1 } }, 'rate_limit.bursts'],
    ['no place at all', { max_concurrency: 0 }, 'max_concurrency'],
    ['a circuit that never opens', { circuit_breaker: { failures: 0 } }, 'circuit_breaker.failures'],
    [
      'a circuit that stays open for a day',
      { circuit_breaker: { open_seconds: 86_400 } },
      'circuit_breaker.open_seconds',
    ],
    ['disabling by one failure', { auto_disable: { failures: 1 } }, 'auto_disable.failures'],
    ['disabling at once', { auto_disable: { failures: 5, over_seconds: 0 } }, 'auto_disable.over_seconds'],
    [
      'checks all the time',
      { health_check_config: { enabled: true, interval_seconds: 1 } },
      'health_check_config.interval_seconds',
    ],
  ])('refuses %s', async (_, given, field) => {
    const { status, body } = await register('refused', given)
    expect(status).toBe(400)
    expect(body.details.map((one: { field: string }) => one.field)).toEqual([field])
  })

  it('show an open circuit, which enabling closes', async () => {
    const { body } = await register('broken')
    await api.rows(
      'acme',
      `insert into destination_circuits (tenant_id, target, failures, failures_in_a_row, opened_at, open_until, openings)
       values ('acme', $1, 5, 7, now(), now() + interval '1 minute', 1)`,
      [body.id],
    )
    expect((await admin('GET', '/destinations/broken')).body.circuit).toMatchObject({
      state: 'open',
      consecutive_failures: 7,
      open_until: expect.any(String),
    })
    expect((await admin('POST', '/destinations/broken/enable')).body.circuit).toMatchObject({
      state: 'closed',
      consecutive_failures: 0,
    })
    expect(api.dispatcher.resumed.at(-1)).toEqual({ tenant_id: 'acme', target: body.id })
  })

  it('show a half-open circuit after the destination was changed, because that may have fixed it', async () => {
    const { body } = await register('mended')
    await api.rows(
      'acme',
      `insert into destination_circuits (tenant_id, target, failures, failures_in_a_row, opened_at, open_until, openings)
       values ('acme', $1, 5, 7, now(), now() + interval '1 hour', 3)`,
      [body.id],
    )
    const from = api.dispatcher.resumed.length
    // Changes nothing.
    expect((await admin('PUT', '/destinations/mended', { configuration })).body.circuit.state).toBe('open')
    expect(api.dispatcher.resumed).toHaveLength(from)
    const mended = { endpoint: 'https://receiver.example/mended' }
    const { circuit } = (await admin('PUT', '/destinations/mended', { configuration: mended })).body
    expect(circuit).toMatchObject({ state: 'half_open', consecutive_failures: 7 })
    expect(api.dispatcher.resumed.slice(from)).toEqual([{ tenant_id: 'acme', target: body.id }])
  })

  it('are checked again for waiting deliveries when they change, and for no others', async () => {
    const { body } = await register('changing', { rate_limit: { requests: 1, per_seconds: 60 } })
    const from = api.dispatcher.resumed.length
    const put = (given: object) => admin('PUT', '/destinations/changing', { configuration, ...given })
    await put({ rate_limit: { requests: 1, per_seconds: 60 }, description: 'the same limit' })
    expect(api.dispatcher.resumed).toHaveLength(from)
    const changed = await put({ rate_limit: { requests: 2, per_seconds: 60 } })
    expect(api.dispatcher.resumed.slice(from)).toEqual([
      { tenant_id: 'acme', target: body.id, changed_at: changed.body.updated_at },
    ])
  })

  it('a test that has to wait for others is a 429 that says how long', async () => {
    await register('busy')
    const result = api.dispatcher.answers.probe
    api.dispatcher.answers.probe = { ...result!, healthy: false, busy_ms: 2500 }
    const { status, body, headers } = await admin('POST', '/destinations/busy/test')
    api.dispatcher.answers.probe = result
    expect(status).toBe(429)
    expect(body).toMatchObject({ error: 'RATE_LIMIT_EXCEEDED', retry_after_seconds: 3 })
    expect(headers.get('retry-after')).toBe('3')
  })

  it('schedule checks with the destination, and end them with it', async () => {
    const { healthChecks } = api.dispatcher
    const from = healthChecks.length
    const { body } = await register('checked', { health_check_config: { enabled: true, interval_seconds: 30 } })
    await admin('PUT', '/destinations/checked', { configuration, health_check_config: { enabled: true } })
    await admin('PUT', '/destinations/checked', { configuration })
    await admin('DELETE', '/destinations/checked')
    const check = { tenant_id: 'acme', destination_id: body.id }
    expect(healthChecks.slice(from)).toEqual([
      { ...check, interval_seconds: 30 },
      { ...check, interval_seconds: 60 },
      { ...check, interval_seconds: null },
      { ...check, interval_seconds: null },
    ])
  })
})
