import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readiness } from '../../api/http/health.ts'
import { createPool } from '../../db/pool.ts'
import { createLogger } from '../../temporal-config/process/log.ts'
import { createMetrics } from '../../temporal-config/process/metrics.ts'
import { type ApiUnderTest, aSubmission, startApi } from './api-under-test.ts'

let api: ApiUnderTest
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

const platform = () => ({ headers: { 'X-API-Key': api.keys.acme.platform } })

describe('health', () => {
  it('is live without a key', async () => {
    expect((await api.request('/health/live')).body).toEqual({ status: 'live' })
  })

  it('is ready without a key when every check is fine', async () => {
    const { status, body } = await api.request('/health/ready')
    expect([status, body]).toEqual([
      200,
      {
        status: 'ready',
        checks: { database: 'ok', partitions: 'ok', temporal: 'ok', search_attributes: 'ok', worker: 'ok' },
        failing: [],
        missing_search_attributes: [],
      },
    ])
  })

  it.each([
    [
      { temporal: false, missing_search_attributes: [], worker_polling: false },
      ['temporal', 'search_attributes', 'worker'],
    ],
    [{ temporal: true, missing_search_attributes: ['TenantId' as const], worker_polling: true }, ['search_attributes']],
    [{ temporal: true, missing_search_attributes: [], worker_polling: false }, ['worker']],
  ])('is 503 with the name of what fails: %j', async (health, failing) => {
    const before = api.dispatcher.answers.health
    api.dispatcher.answers.health = health
    const { status, body } = await api.request('/health/ready')
    api.dispatcher.answers.health = before
    expect([status, body.status, body.failing]).toEqual([503, 'unavailable', failing])
    expect(body.missing_search_attributes).toEqual(health.missing_search_attributes)
  })

  it('names the database when it is unavailable, without its address', async () => {
    const url = 'postgres://user:secret@127.0.0.1:1/none'
    const pool = createPool({ connectionString: url, max: 1, application_name: 'away' })
    const found = await readiness({ pool, dispatcher: api.dispatcher, logger: createLogger('silent', 'test') })
    await pool.end()
    expect(found.failing).toEqual(['database', 'partitions'])
    expect(JSON.stringify(found)).not.toMatch(/127\.0\.0\.1|secret/)
  })

  it('in detail needs the role platform', async () => {
    expect((await api.request('/health/detailed')).status).toBe(401)
    const operator = { headers: { 'X-API-Key': api.keys.acme.operator } }
    expect((await api.request('/health/detailed', operator)).status).toBe(403)
    const { status, body } = await api.request('/health/detailed', platform())
    expect(status).toBe(200)
    expect(body).toMatchObject({ status: 'ready', version: '0.0.0-test', partitions_ahead: 3 })
    expect(body.open_deliveries).toEqual({ pending: 0, processing: 0, waiting: 0, unplanned: 0 })
  })
})

describe('metrics', () => {
  it('need the role platform, and count submissions under bounded labels', async () => {
    expect((await api.request('/metrics')).status).toBe(401)
    const invented = { data_type: `invented-${Math.random()}` }
    await api.call('POST', '/distribution/submit', aSubmission(invented))
    const { status, text, headers } = await api.request('/metrics', platform())
    expect([status, headers.get('content-type')]).toEqual([200, expect.stringContaining('text/plain')])
    expect(text).toContain('zenia_distribution_accepted_total{tenant_id="acme",data_type="other"} 1')
    expect(text).toMatch(
      /api_request_seconds_count\{method="POST",route="\/api\/v1\/distribution\/submit",status="202"\} 1/,
    )
    expect(text).toMatch(/zenia_distribution_build_info\{version="\d+\.\d+\.\d+",node="v\d+/)
    expect(text).not.toContain(invented.data_type)
  })

  it('take the key as a bearer token too; other paths do not', async () => {
    const bearer = (key: string) => ({ headers: { Authorization: `Bearer ${key}` } })
    expect((await api.request('/metrics', bearer(api.keys.acme.platform))).status).toBe(200)
    expect((await api.request('/metrics', bearer(api.keys.acme.viewer))).status).toBe(403)
    expect((await api.request('/metrics', bearer('dk_unknown'))).status).toBe(401)
    expect((await api.request('/health/detailed', bearer(api.keys.acme.platform))).status).toBe(401)
  })

  it('name the first 1,000 tenants of a process, and the others together', () => {
    const { tenant } = createMetrics()
    for (let i = 0; i < 1000; i += 1) expect(tenant(`t${i}`)).toBe(`t${i}`)
    expect([tenant('one-more'), tenant('t7')]).toEqual(['other', 't7'])
  })
})

describe('the OpenAPI document', () => {
  it('lists every route, with its answers, errors and an example for what is sent', async () => {
    const { status, body } = await api.request('/openapi.json')
    expect(status).toBe(200)
    expect(body.openapi).toBe('3.1.0')
    const routes = Object.entries<Record<string, unknown>>(body.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    )
    expect(routes.sort()).toEqual(
      [
        'POST /api/v1/distribution/submit',
        'GET /api/v1/distribution/list',
        'GET /api/v1/distribution/{id}/status',
        'GET /api/v1/distribution/{id}/attempts',
        'POST /api/v1/distribution/{id}/cancel',
        'POST /api/v1/distribution/{id}/release',
        'POST /api/v1/distribution/{id}/retry',
        'POST /api/v1/destinations/register',
        'GET /api/v1/destinations/list',
        'GET /api/v1/destinations/{id}',
        'PUT /api/v1/destinations/{id}',
        'DELETE /api/v1/destinations/{id}',
        'POST /api/v1/destinations/{id}/test',
        'POST /api/v1/destinations/{id}/preview',
        'POST /api/v1/data-types',
        'GET /api/v1/data-types',
        'GET /api/v1/data-types/{id}',
        'PUT /api/v1/data-types/{id}',
        'DELETE /api/v1/data-types/{id}',
        'POST /api/v1/destinations/{id}/enable',
        'POST /api/v1/destinations/{id}/disable',
        'GET /api/v1/destination-types',
        'POST /api/v1/distribution/bulk-submit',
        'GET /api/v1/distribution/batch/{batch_id}/status',
        'POST /api/v1/distribution/batch/{batch_id}/cancel',
        'POST /api/v1/distribution/retry',
        'POST /api/v1/distribution/schedules',
        'GET /api/v1/distribution/schedules',
        'GET /api/v1/distribution/schedules/{id}',
        'PUT /api/v1/distribution/schedules/{id}',
        'DELETE /api/v1/distribution/schedules/{id}',
        'POST /api/v1/distribution/schedules/{id}/pause',
        'POST /api/v1/distribution/schedules/{id}/resume',
        'POST /api/v1/distribution/schedules/{id}/trigger',
        'GET /api/v1/distribution/{id}/payload',
        'GET /api/v1/distribution/{id}/callbacks',
        'POST /api/v1/distribution/{id}/callbacks/{webhook_id}/resend',
        'GET /api/v1/webhooks',
        'POST /api/v1/webhooks/{webhook_id}/resend',
        'POST /api/v1/rules',
        'GET /api/v1/rules',
        'GET /api/v1/rules/{id}',
        'PUT /api/v1/rules/{id}',
        'DELETE /api/v1/rules/{id}',
        'POST /api/v1/rules/evaluate',
        'GET /api/v1/distribution/{id}/explanation',
        'GET /api/v1/routing/default',
        'PUT /api/v1/routing/default',
        'POST /api/v1/credentials',
        'GET /api/v1/credentials',
        'GET /api/v1/credentials/{name}',
        'PUT /api/v1/credentials/{name}',
        'DELETE /api/v1/credentials/{name}',
        'GET /api/v1/audit-log',
        'GET /api/v1/whoami',
        'POST /api/v1/tenants',
        'GET /api/v1/tenants',
        'GET /api/v1/tenants/{id}',
        'PUT /api/v1/tenants/{id}',
        'POST /api/v1/tenants/{id}/api-keys',
        'GET /api/v1/tenants/{id}/api-keys',
        'DELETE /api/v1/tenants/{id}/api-keys/{key_id}',
        'GET /health/live',
        'GET /health/ready',
        'GET /health/detailed',
        'GET /metrics',
      ].sort(),
    )
    const submit = body.paths['/api/v1/distribution/submit'].post
    expect(Object.keys(submit.responses).sort()).toEqual([
      '202',
      '400',
      '401',
      '403',
      '408',
      '409',
      '413',
      '429',
      '500',
      '503',
    ])
    expect(submit.requestBody.content['application/json'].example).toBeDefined()
    expect(submit.security).toEqual([{ api_key: [] }])
    const schemas = body.components.schemas
    expect(schemas.Submission.additionalProperties).toBe(false)
    expect(schemas.Submission.required.sort()).toEqual(['data_type', 'payload'])
    expect(Object.keys(schemas.DistributionStatus.properties)).toContain('progress_percentage')
  })

  it('shows a refusal with the code of its status', async () => {
    const { body } = await api.request('/openapi.json')
    const answers = body.paths['/api/v1/distribution/{id}/cancel'].post.responses
    const codes = [400, 401, 404, 409, 429].map((status) => {
      const { schema, example } = answers[status].content['application/json']
      return example?.error ?? schema.example.error
    })
    expect(codes).toEqual(['VALIDATION_ERROR', 'AUTHENTICATION_FAILED', 'NOT_FOUND', 'CONFLICT', 'RATE_LIMIT_EXCEEDED'])
  })

  it('has every group of paths in the order in which the page shows them', async () => {
    const { body } = await api.request('/openapi.json')
    const used = Object.values<Record<string, { tags: string[] }>>(body.paths).flatMap((path) =>
      Object.values(path).flatMap(({ tags }) => tags),
    )
    expect(body.tags.map(({ name }: { name: string }) => name).sort()).toEqual([...new Set(used)].sort())
  })

  it('names each operation once, by a short word for generated clients', async () => {
    const { body } = await api.request('/openapi.json')
    const names = Object.values<Record<string, { operationId: string }>>(body.paths).flatMap((path) =>
      Object.values(path).map(({ operationId }) => operationId),
    )
    for (const name of names) expect(name).toMatch(/^[a-z][A-Za-z]{2,30}$/)
    expect(new Set(names).size).toBe(names.length)
  })

  it('refers to nothing that it does not hold', async () => {
    const { text, body } = await api.request('/openapi.json')
    const names = [...text.matchAll(/"#\/components\/schemas\/([^"]+)"/g)].map(([, name]) => name!)
    expect(names.length).toBeGreaterThan(10)
    for (const name of names) expect(Object.keys(body.components.schemas)).toContain(name)
  })
})

describe('the page at /docs', () => {
  it('needs no key and nothing but this server', async () => {
    const { status, text, headers } = await api.request('/docs')
    expect(status).toBe(200)
    expect(headers.get('content-security-policy')).toContain("default-src 'none'")
    const links = [...text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, link]) => link!)
    for (const link of links.filter((one) => !one.startsWith('data:'))) {
      expect(link).toMatch(/^\/docs\//)
      const asset = await api.request(link)
      expect([asset.status, asset.text.length > 100]).toEqual([200, true])
    }
    expect((await api.request('/docs/package.json')).status).toBe(404)
    expect((await api.request('/docs/..%2Fpackage.json')).status).toBe(404)
  })
})

it('a NUL in an address or a query is refused, not a fault', async () => {
  expect((await api.call('GET', '/destinations/%00')).status).toBe(404)
  expect((await api.call('GET', '/distribution/%00/status')).status).toBe(404)
  const { status, body } = await api.call('GET', '/distribution/list?data_type=%00')
  expect([status, body.details[0].field]).toEqual([400, 'data_type'])
})

it('a request is answered 503 without an address when the database is unavailable', async () => {
  const query = api.pool.query
  const refused = Object.assign(new Error('connect ECONNREFUSED 10.0.0.1:5432'), { code: 'ECONNREFUSED' })
  api.pool.query = (() => Promise.reject(refused)) as never
  const { status, body, text } = await api.call('GET', '/distribution/list', undefined, { key: 'not-remembered' })
  api.pool.query = query
  expect([status, body.error]).toEqual([503, 'SERVICE_UNAVAILABLE'])
  expect(text).not.toContain('10.0.0.1')
})

it('a login that the database refuses meanwhile makes a request a 503, for nothing is wrong with the request', async () => {
  const query = api.pool.query
  const refused = Object.assign(new pg.DatabaseError('password authentication failed for user "x"', 1, 'error'), {
    code: '28P01',
  })
  api.pool.query = (() => Promise.reject(refused)) as never
  const { status, text } = await api.call('GET', '/distribution/list', undefined, { key: 'not-remembered' })
  api.pool.query = query
  expect(status).toBe(503)
  expect(text).not.toContain('password')
})

it('an unknown path is a 404 in the form of every error', async () => {
  const { status, body } = await api.request('/api/v1/distributions')
  expect([status, body.error]).toEqual([404, 'NOT_FOUND'])
  expect(body.message).toContain('/docs')
  expect((await api.call('PATCH', '/distribution/list')).status).toBe(404)
})
