import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { hashKey } from '../../api/http/auth.ts'
import { withTenant } from '../../db/pool.ts'
import { bootstrapTenant, loadCallbackSecret } from '../../db/tenants/tenants.ts'
import { type ApiUnderTest, aSubmission, startApi } from './api-under-test.ts'

let api: ApiUnderTest
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

const platform = (method: string, path: string, body?: unknown) =>
  api.call(method, path, body, { key: api.keys.acme.platform })

describe('a key', () => {
  it('that is missing or unknown is a 401', async () => {
    const none = await api.request('/api/v1/distribution/list')
    expect([none.status, none.body.error]).toEqual([401, 'AUTHENTICATION_FAILED'])
    const unknown = await api.call('GET', '/distribution/list', undefined, { key: 'nobody' })
    expect([unknown.status, unknown.body.error]).toEqual([401, 'AUTHENTICATION_FAILED'])
    const bearer = await api.request('/api/v1/distribution/list', { headers: { Authorization: 'Bearer x.y.z' } })
    expect([bearer.status, bearer.body.error]).toEqual([401, 'AUTHENTICATION_FAILED'])
  })

  it('is described by GET /whoami', async () => {
    const { status, body } = await api.call('GET', '/whoami', undefined, { key: api.keys.other.viewer })
    expect([status, body]).toEqual([
      200,
      { tenant_id: 'other', role: 'viewer', actor: expect.stringMatching(/^api_key:[0-9a-f-]{36}$/) },
    ])
  })

  it('is asked for before a body is read', async () => {
    let pulled = 0
    const body = new ReadableStream({ pull: () => void pulled++ }, { highWaterMark: 0 })
    const init = { method: 'POST', body, duplex: 'half' } as RequestInit
    const { status } = await api.request('/api/v1/distribution/submit', { ...init, headers: { 'X-API-Key': 'nobody' } })
    expect([status, pulled]).toEqual([401, 0])
  })

  it.each([
    ['viewer', 'POST', '/distribution/submit', 403],
    ['viewer', 'GET', '/distribution/list', 200],
    ['operator', 'POST', '/distribution/submit', 202],
    ['operator', 'GET', '/audit-log', 403],
    ['operator', 'POST', '/credentials', 403],
    ['admin', 'GET', '/audit-log', 200],
    ['admin', 'GET', '/tenants', 403],
    ['platform', 'GET', '/tenants', 200],
    ['platform', 'POST', '/distribution/submit', 202],
  ] as const)('of role %s may or may not %s %s: %i', async (role, method, path, expected) => {
    const body = method === 'POST' ? aSubmission() : undefined
    const answer = await api.call(method, path, body, { key: api.keys.acme[role] })
    expect(answer.status).toBe(expected)
    if (expected === 403) expect(answer.body.error).toBe('AUTHORIZATION_FAILED')
  })

  it('is stored as a hash, and is in no log line', async () => {
    const rows = await api.rows('acme', 'select key_sha256, prefix, * from api_keys')
    for (const key of Object.values(api.keys.acme)) {
      expect(JSON.stringify(rows)).not.toContain(key)
      expect(api.log.lines().join('')).not.toContain(key)
      expect(rows.some((row) => hashKey(key).equals(row.key_sha256))).toBe(true)
    }
  })
})

describe('tenants and their keys', () => {
  it('are made by the platform; the key is shown once, and works', async () => {
    const made = await platform('POST', '/tenants', { id: 'third', name: 'Third' })
    expect([made.status, made.body]).toMatchObject([201, { id: 'third', name: 'Third', status: 'active' }])
    expect((await platform('POST', '/tenants', { id: 'third' })).status).toBe(409)
    const { status, body } = await platform('POST', '/tenants/third/api-keys', { name: 'first', role: 'operator' })
    expect(status).toBe(201)
    expect(body.key).toMatch(/^dk_[A-Za-z0-9_-]{43}$/)
    expect((await api.call('POST', '/distribution/submit', aSubmission(), { key: body.key })).status).toBe(202)
    const listed = await platform('GET', '/tenants/third/api-keys')
    expect(listed.body.api_keys).toHaveLength(1)
    expect(listed.text).not.toContain(body.key)
    expect((await platform('GET', '/tenants')).body.tenants.map(({ id }: { id: string }) => id)).toEqual([
      'acme',
      'other',
      'third',
    ])
    expect((await platform('DELETE', `/tenants/third/api-keys/${body.id}`)).status).toBe(204)
    expect((await api.call('GET', '/distribution/list', undefined, { key: body.key })).status).toBe(401)
    expect((await platform('DELETE', `/tenants/third/api-keys/${body.id}`)).status).toBe(404)
  })

  it('that are used show when, to about a minute', async () => {
    const key = api.keys.other.viewer
    const lastUses = async () => {
      const { body } = await api.call('GET', '/tenants/other/api-keys', undefined, { key: api.keys.acme.platform })
      return body.api_keys.find(({ name }: { name: string }) => name === 'viewer').last_used_at
    }
    await api.call('GET', '/distribution/list', undefined, { key })
    await expect.poll(lastUses).not.toBeNull()
    const first = await lastUses()
    expect(Math.abs(Date.parse(first) - Date.now())).toBeLessThan(60_000)
    await api.call('GET', '/distribution/list', undefined, { key })
    expect(await lastUses()).toBe(first)
  })

  it('that are suspended get a 403', async () => {
    await platform('POST', '/tenants', { id: 'late-payer' })
    const { body } = await platform('POST', '/tenants/late-payer/api-keys', { name: 'k', role: 'admin' })
    const list = () => api.call('GET', '/distribution/list', undefined, { key: body.key })
    expect((await list()).status).toBe(200)
    await platform('PUT', '/tenants/late-payer', { status: 'suspended' })
    expect([(await list()).status, (await list()).body.error]).toEqual([403, 'AUTHORIZATION_FAILED'])
    await platform('PUT', '/tenants/late-payer', { status: 'active' })
    expect((await list()).status).toBe(200)
  })

  it('that do not exist have no keys', async () => {
    expect((await platform('POST', '/tenants/nobody/api-keys', { name: 'k', role: 'admin' })).status).toBe(404)
    expect((await platform('GET', '/tenants/nobody/api-keys')).status).toBe(404)
    expect((await platform('GET', "/tenants/'or'1")).status).toBe(404)
  })
})

describe('the bootstrap tenant', () => {
  const given = { tenant: 'first', apiKey: 'a-bootstrap-key-of-some-length' }

  it('is made once, with a callback secret that stays', async () => {
    const secret = () => withTenant(api.pool, 'first', (db) => loadCallbackSecret(db, api.sealer, 'first'))
    await Promise.all([1, 2, 3].map(() => bootstrapTenant(api.pool, api.sealer, given)))
    const made = await secret()
    expect(made).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/)
    await bootstrapTenant(api.pool, api.sealer, { ...given, firstCallbackSecret: `whsec_${'B'.repeat(43)}=` })
    expect(await secret()).toBe(made)
    await bootstrapTenant(api.pool, api.sealer, { ...given, callbackSecret: `whsec_${'A'.repeat(43)}=` })
    expect(await secret()).toBe(`whsec_${'A'.repeat(43)}=`)
    await bootstrapTenant(api.pool, api.sealer, given)
    expect(await secret()).toBe(`whsec_${'A'.repeat(43)}=`)
    expect(await api.rows('first', 'select role from api_keys')).toEqual([{ role: 'platform' }])
    expect((await api.call('GET', '/tenants', undefined, { key: given.apiKey })).status).toBe(200)
  })
})

it('200 interleaved requests of two tenants never meet, while some of them fail', async () => {
  const tenants = ['acme', 'other'] as const
  let next = 0
  const sender = async () => {
    while (next < 200) {
      const n = next++
      const tenant = tenants[n % 2]!
      const key = api.keys[tenant].operator
      // Every fifth aborts inside its transaction: the claimed key is rolled back.
      const aborts = n % 5 === 0
      const given = aborts ? { destinations: [`nobody-${tenant}`] } : { metadata: { of: tenant } }
      const options = { idempotency_key: `interleaved-${Math.floor(n / 2)}` }
      const answer = await api.call('POST', '/distribution/submit', aSubmission({ ...given, options }), { key })
      expect(answer.status).toBe(aborts ? 400 : 202)
      const list = await api.call('GET', '/distribution/list?limit=1000', undefined, { key })
      const ids = list.body.distributions.map((one: { distribution_id: string }) => one.distribution_id)
      const rows = await api.rows<{ of: string }>(
        tenant,
        "select coalesce(metadata ->> 'of', tenant_id) as of from distribution_jobs where distribution_id = any ($1)",
        [ids],
      )
      expect(rows).toHaveLength(ids.length)
      expect(rows.every((row) => row.of === tenant)).toBe(true)
    }
  }
  // Twice as many at a time as the pool has connections: a long queue would be refused on a busy machine.
  await Promise.all(Array.from({ length: 20 }, sender))
  const unset = await api.pool.query('select from distribution_jobs')
  expect(unset.rowCount).toBe(0)
})

describe('every request', () => {
  it('has one log line that says who, what and how long', async () => {
    const { body, headers } = await api.call('POST', '/distribution/submit', aSubmission(), {
      headers: { 'X-Request-Id': 'my-own-id' },
    })
    expect(headers.get('x-request-id')).toBe('my-own-id')
    const line = JSON.parse(api.log.lines().find((text) => text.includes('my-own-id'))!)
    expect(line).toMatchObject({
      request_id: 'my-own-id',
      tenant_id: 'acme',
      distribution_id: body.distribution_id,
      method: 'POST',
      path: '/api/v1/distribution/submit',
      status: 202,
      ms: expect.any(Number),
    })
    const [row] = await api.rows('acme', 'select request_id from distribution_jobs where distribution_id = $1', [
      body.distribution_id,
    ])
    expect(row).toEqual({ request_id: 'my-own-id' })
  })

  it('gets a generated id if the one it brings cannot be stored', async () => {
    const { headers } = await api.call('GET', '/distribution/list', undefined, {
      headers: { 'X-Request-Id': 'x'.repeat(256) },
    })
    expect(headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/)
  })

  it('that fails with an internal error is a 500 without details, and the log has the cause', async () => {
    const { body } = await api.call('POST', '/distribution/submit', aSubmission())
    const { tell } = api.dispatcher
    api.dispatcher.tell = () => Promise.reject(new Error('password=hunter2 at 10.0.0.1'))
    const answer = await api.call('POST', `/distribution/${body.distribution_id}/cancel`)
    api.dispatcher.tell = tell
    expect(answer.status).toBe(500)
    expect(answer.body).toMatchObject({ error: 'INTERNAL_ERROR', message: 'internal error', details: [] })
    expect(api.log.lines().join('')).toContain('hunter2')
  })
})
