import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { OBJECT_KINDS, type ObjectKind } from '../../db/tenants/object-limits.ts'
import { type ApiUnderTest, aSubmission, startApi } from './api-under-test.ts'

let api: ApiUnderTest
let key: string
beforeAll(async () => {
  api = await startApi()
  await platform('POST', '/tenants', { id: 'small', rate_limit_requests: null })
  key = (await platform('POST', '/tenants/small/api-keys', { name: 'admin', role: 'admin' })).body.key
})
afterAll(() => api.close())

const platform = (method: string, path: string, body?: unknown) =>
  api.call(method, path, body, { key: api.keys.acme.platform })
const admin = (method: string, path: string, body?: unknown) => api.call(method, path, body, { key })
const limit = (kind: ObjectKind, most: number | null) =>
  platform('PUT', '/tenants/small', { object_limits: { [kind]: most } })

const configuration = { endpoint: 'https://receiver.example/in' }
const health_check_config = { enabled: true, interval_seconds: 60 }
let next = 0
const name = () => `n${++next}`

/** Adds one of a kind. */
const add: Record<ObjectKind, () => ReturnType<typeof admin>> = {
  destinations: () => admin('POST', '/destinations/register', { name: name(), protocol: 'REST', configuration }),
  health_checks: () =>
    admin('POST', '/destinations/register', { name: name(), protocol: 'REST', configuration, health_check_config }),
  credentials: () =>
    admin('POST', '/credentials', { name: name(), fields: { token: 'secret' }, allowed_hosts: ['receiver.example'] }),
  data_types: () => admin('POST', '/data-types', { id: name() }),
  schedules: () =>
    admin('POST', '/distribution/schedules', { name: name(), interval_seconds: 3600, submission: aSubmission() }),
  rules: () =>
    admin('POST', '/rules', {
      name: name(),
      rule_type: 'prioritization',
      conditions: {},
      actions: { priority: 'low' },
    }),
  api_keys: () => platform('POST', '/tenants/small/api-keys', { name: name(), role: 'viewer' }),
}

describe.each(OBJECT_KINDS)('%s of a tenant', (kind) => {
  it('are bounded, and two at once do not both take the last place', async () => {
    // The key that asks is one of them.
    const first = kind === 'api_keys' ? 1 : 0
    expect((await limit(kind, first + 3)).body.object_limits[kind]).toBe(first + 3)
    const alone = await add[kind]()
    expect([alone.status, alone.body.message]).toEqual([201, undefined])
    const answers = await Promise.all(Array.from({ length: 6 }, add[kind]))
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 201, 409, 409, 409, 409])
    const refused = answers.find(({ status }) => status === 409)!
    expect(refused.body.error).toBe('CONFLICT')
    expect(refused.body.message).toContain(`at most ${first + 3} `)
    expect(refused.body.message).toContain(`object_limits.${kind}`)
    // A higher limit lets further ones in, a lower one leaves those that are there.
    await limit(kind, first + 4)
    expect((await add[kind]()).status).toBe(201)
    await limit(kind, 1)
    expect((await add[kind]()).status).toBe(409)
    expect((await limit(kind, null)).body.object_limits[kind]).toBeGreaterThanOrEqual(1000)
    expect((await add[kind]()).status).toBe(201)
  })
})

it('deleted, disabled or revoked objects no longer count', async () => {
  await platform('PUT', '/tenants/small', {
    object_limits: { health_checks: 1000, destinations: 1000, api_keys: 1000 },
  })
  const count = async (kind: string, sql: string) => {
    const [row] = await api.rows<{ n: number }>('small', sql)
    await platform('PUT', '/tenants/small', { object_limits: { [kind]: row!.n } })
  }
  await count(
    'health_checks',
    `select count(*)::int as n from destinations where health_check_config @> '{"enabled": true}'`,
  )
  const { body: plain } = await add.destinations()
  const turnOn = () => admin('PUT', `/destinations/${plain.name}`, { configuration, health_check_config })
  const refused = await turnOn()
  expect(refused.status).toBe(409)
  expect(refused.body.message).toContain('turn one off')
  const [checked] = await api.rows<{ name: string }>(
    'small',
    `select name from destinations where health_check_config @> '{"enabled": true}' limit 1`,
  )
  expect((await admin('PUT', `/destinations/${checked!.name}`, { configuration })).status).toBe(200)
  expect((await turnOn()).status).toBe(200)
  // At the limit, one that has a check already is changed as before.
  const again = { configuration, health_check_config: { enabled: true, interval_seconds: 120 } }
  expect((await admin('PUT', `/destinations/${plain.name}`, again)).status).toBe(200)

  await count('destinations', 'select count(*)::int as n from destinations where deleted_at is null')
  expect((await add.destinations()).status).toBe(409)
  await admin('DELETE', `/destinations/${plain.name}`)
  expect((await add.destinations()).status).toBe(201)

  await count('api_keys', 'select count(*)::int as n from api_keys')
  const listed = (await platform('GET', '/tenants/small/api-keys')).body.api_keys
  expect((await add.api_keys()).status).toBe(409)
  await platform('DELETE', `/tenants/small/api-keys/${listed[0].id}`)
  expect((await add.api_keys()).status).toBe(201)
})

it('a name that is taken is said as such, and other tenants have limits of their own', async () => {
  await limit('data_types', 1)
  const [row] = await api.rows<{ id: string }>('small', 'select id from data_types where tenant_id is not null limit 1')
  expect((await admin('POST', '/data-types', { id: row!.id })).body.details).toMatchObject([{ field: 'id' }])
  const other = await api.call('POST', '/data-types', { id: 'other-one' }, { key: api.keys.other.admin })
  expect(other.status).toBe(201)
  expect((await platform('GET', '/tenants/other')).body.object_limits.data_types).toBe(1000)
  expect((await platform('PUT', '/tenants/small', { object_limits: { data_tipes: 1 } })).status).toBe(400)
  const made = await platform('POST', '/tenants', { id: 'made', object_limits: { rules: 7 } })
  expect(made.body.object_limits).toMatchObject({ rules: 7, destinations: 10_000 })
  expect(made.body.config).toEqual({})
})
