// Credentials are bound to hosts: by `allowed_hosts`, or by the registered destinations that use them.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Protocol } from '../../db/states.ts'
import { type ApiUnderTest, startApi } from './api-under-test.ts'

let api: ApiUnderTest
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

const admin = (method: string, path: string, body?: unknown) =>
  api.call(method, path, body, { key: api.keys.acme.admin })
const fields = { token: 'secret-4711' }
const keep = (name: string, more = {}) => admin('POST', '/credentials', { name, fields, ...more })
const registerRest = (name: string, endpoint: string, credentials: string) =>
  admin('POST', '/destinations/register', {
    name,
    protocol: 'REST',
    configuration: { endpoint, auth: { type: 'bearer' }, credentials },
  })
const hostsOf = async (name: string) => {
  const { body } = await admin('GET', `/credentials/${name}`)
  return { allowed: body.allowed_hosts, registered: body.registered_hosts }
}

describe('a credential without allowed_hosts', () => {
  it('learns its hosts from the first registered destination, and serves no other host', async () => {
    await keep('learns')
    expect(await hostsOf('learns')).toEqual({ allowed: null, registered: null })
    await registerRest('l-1', 'https://API.bank.example./in/{payload.id}', 'learns')
    expect(await hostsOf('learns')).toEqual({ allowed: null, registered: ['api.bank.example'] })
    expect((await registerRest('l-2', 'https://api.bank.example:8443/other', 'learns')).status).toBe(201)
    const refused = await registerRest('l-3', 'https://evil.example/in', 'learns')
    expect(refused.status).toBe(400)
    expect(refused.body.details).toEqual([
      { field: 'configuration.endpoint', issue: expect.stringContaining('PUT /api/v1/credentials/learns') },
    ])
    const moved = await admin('PUT', '/destinations/l-1', {
      configuration: { endpoint: 'https://evil.example/in', auth: { type: 'bearer' }, credentials: 'learns' },
    })
    expect(moved.status).toBe(400)
  })

  it('is bound also where a mask keeps the reference to it', async () => {
    await keep('referred')
    const configuration = (endpoint: string, token: unknown) => ({ endpoint, auth: { type: 'bearer', token } })
    const content = configuration('https://bank.example/', { secret: 'referred.token' })
    await admin('POST', '/destinations/register', { name: 'ref-1', protocol: 'REST', configuration: content })
    const put = (endpoint: string) =>
      admin('PUT', '/destinations/ref-1', { configuration: configuration(endpoint, '***') })
    expect((await put('https://evil.example/')).body.details).toMatchObject([{ field: 'configuration.endpoint' }])
    expect((await put('https://bank.example/other')).body.configuration).toEqual(
      configuration('https://bank.example/other', { secret: 'referred.token' }),
    )
  })

  it('keeps its hosts when the destination that taught them is deleted', async () => {
    await keep('remembers')
    await registerRest('r-1', 'https://bank.example/', 'remembers')
    await api.rows('acme', "update credentials set registered_hosts = null where name = 'remembers' returning 1")
    await admin('DELETE', '/destinations/r-1')
    expect((await registerRest('r-1', 'https://evil.example/', 'remembers')).status).toBe(400)
    expect((await registerRest('r-1', 'https://bank.example/', 'remembers')).status).toBe(201)
  })

  it('learns the hosts of all destinations that used it before hosts were stored', async () => {
    await keep('older', { allowed_hosts: ['*.bank.example'] })
    await registerRest('o-1', 'https://a.bank.example/', 'older')
    await registerRest('o-2', 'https://b.bank.example/', 'older')
    await api.rows('acme', "update credentials set allowed_hosts = null where name = 'older' returning 1")
    expect((await registerRest('o-3', 'https://c.bank.example/', 'older')).status).toBe(400)
    expect((await registerRest('o-3', 'https://b.bank.example/', 'older')).status).toBe(201)
    expect((await hostsOf('older')).registered).toEqual(['a.bank.example', 'b.bank.example'])
  })

  it('that comes after its destinations is bound to theirs', async () => {
    await registerRest('early', 'https://bank.example/', 'late')
    await keep('late')
    expect((await hostsOf('late')).registered).toEqual(['bank.example'])
  })

  it('is bound to the token endpoint too', async () => {
    await admin('POST', '/credentials', { name: 'client', fields: { client_id: 'c', client_secret: 's' } })
    const register = (name: string, token_url: string) =>
      admin('POST', '/destinations/register', {
        name,
        protocol: 'REST',
        configuration: {
          endpoint: 'https://api.example/',
          auth: { type: 'oauth2', token_url },
          credentials: 'client',
        },
      })
    expect((await register('c-1', 'https://login.example/token')).status).toBe(201)
    expect((await register('c-2', 'https://evil.example/token')).body.details).toMatchObject([
      { field: 'configuration.auth.token_url' },
    ])
  })
})

it('a destination whose credential is not stored yet is registered with a warning, until it is stored', async () => {
  const made = await registerRest('before-credential', 'https://partner.example/in', 'stored-later')
  expect([made.status, made.body.warnings]).toEqual([
    201,
    [expect.stringContaining('no credential named "stored-later" is stored')],
  ])
  await keep('stored-later')
  const again = await registerRest('after-credential', 'https://partner.example/in', 'stored-later')
  expect([again.status, again.body.warnings]).toEqual([201, undefined])
})

describe('changing the hosts of a credential', () => {
  it('to others needs its values; confirming or narrowing them does not', async () => {
    await keep('confirmed')
    await registerRest('conf', 'https://a.bank.example/', 'confirmed')
    const put = (body: unknown) => admin('PUT', '/credentials/confirmed', body)
    for (const allowed_hosts of [['evil.example'], ['a.bank.example', 'evil.example'], ['*.bank.example']]) {
      const { status, body } = await put({ allowed_hosts })
      expect(status).toBe(400)
      expect(body.details[0].field).toBe('fields')
    }
    expect((await put({})).status).toBe(400)
    expect((await put({ allowed_hosts: null })).status).toBe(400)
    expect((await put({ allowed_hosts: ['A.bank.example.'] })).body).toMatchObject({
      field_names: ['token'],
      allowed_hosts: ['A.bank.example.'],
      registered_hosts: null,
    })
    expect((await put({ fields, allowed_hosts: ['*.bank.example'] })).status).toBe(200)
    expect((await put({ allowed_hosts: ['b.bank.example', '*.c.bank.example'] })).status).toBe(200)
    expect((await put({ allowed_hosts: ['*.bank.example'] })).status).toBe(400)
  })

  it.each(['bank.example:443', 'https://bank.example', '*', '*.10.0.0.1', ''])(
    'refuses the entry "%s"',
    async (entry) => {
      const { status, body } = await keep('never', { allowed_hosts: [entry] })
      expect(status).toBe(400)
      expect(body.details[0].field).toBe('allowed_hosts[0]')
    },
  )

  it('refuses the mask as a value', async () => {
    const { body } = await admin('POST', '/credentials', { name: 'masked', fields: { token: '***' } })
    expect(body.details).toMatchObject([{ field: 'fields.token' }])
  })
})

/** A configuration with a secret, and changes of it after which that must be sent again, or may stay. */
const MOVES: Record<Protocol, { base: Record<string, unknown>; away: object[]; near: object[] }> = {
  REST: {
    base: {
      endpoint: 'https://bank.example/in',
      secret_headers: { 'x-token': 'S' },
      auth: { type: 'oauth2', token_url: 'https://login.example/t', client_id: 'c', client_secret: 'S' },
    },
    away: [
      { endpoint: 'https://evil.example/in' },
      { endpoint: 'http://bank.example/in' },
      { endpoint: 'https://bank.example:8443/in' },
      { endpoint: 'https://bank.example.evil.example/in' },
      { auth: { type: 'oauth2', token_url: 'https://evil.example/t', client_id: 'c', client_secret: '***' } },
      { tls: { server_name: 'evil.example' } },
    ],
    near: [
      { endpoint: 'https://bank.example/other?x=1' },
      { endpoint: 'HTTPS://BANK.example.:443/in' },
      { timeout_seconds: 5, compression: 'gzip' },
    ],
  },
  AMQP: {
    base: { host: 'broker.example', username: 'u', password: 'S', queue: 'q' },
    away: [{ host: 'evil.example' }, { port: 5673 }, { security: 'none' }, { tls: { server_name: 'x.example' } }],
    near: [{ queue: 'r' }, { host: 'BROKER.example.' }, { vhost: '/v' }],
  },
  JDBC: {
    base: { url: 'jdbc:postgresql://db.example/reports', username: 'u', password: 'S', table: 't' },
    away: [
      { url: 'jdbc:postgresql://evil.example/reports' },
      { url: 'jdbc:postgresql://db.example:5433/reports' },
      { url: 'jdbc:mysql://db.example:5432/reports' },
      { url: 'jdbc:postgresql://db.example/reports?sslmode=disable' },
      { url: 'jdbc:postgresql://db.example/reports?sslmode=verify-ca' },
    ],
    near: [
      { url: 'jdbc:postgresql://DB.example:5432/other?currentSchema=x' },
      { url: 'jdbc:postgresql://db.example/reports?ApplicationName=y' },
      { table: 'u' },
    ],
  },
  S3: {
    base: { region: 'eu-south-1', bucket: 'reports', key: 'k', access_key_id: 'A', secret_access_key: 'S' },
    away: [
      { region: 'eu-central-1' },
      { endpoint: 'https://evil.example' },
      { endpoint: 'http://s3.eu-south-1.amazonaws.com' },
    ],
    near: [{ key: 'l' }, { endpoint: 'https://s3.eu-south-1.amazonaws.com/' }],
  },
  SFTP: {
    base: { host: 'files.example', username: 'u', password: 'S', host_key: `SHA256:${'A'.repeat(43)}`, path: 'f' },
    away: [{ host: 'evil.example' }, { port: 2222 }, { host_key: 'any' }, { host_key: `SHA256:${'B'.repeat(43)}` }],
    near: [{ path: 'g' }, { host: 'Files.Example.' }, { port: 22 }],
  },
  EMAIL: {
    base: { host: 'mail.example', username: 'u', password: 'S', from: 'a@x.example', to: ['b@x.example'] },
    away: [{ host: 'evil.example' }, { port: 2525 }, { security: 'none' }, { security: 'tls' }],
    near: [{ to: ['c@x.example'] }, { host: 'MAIL.example' }],
  },
}

describe.each(Object.entries(MOVES))('the mask in a PUT of %s', (protocol, { base, away, near }) => {
  const masked = JSON.parse(JSON.stringify(base).replaceAll('"S"', '"***"')) as object
  const name = `moves-${protocol.toLowerCase()}`
  const put = (change: object) => admin('PUT', `/destinations/${name}`, { configuration: { ...masked, ...change } })
  beforeAll(async () => {
    const made = await admin('POST', '/destinations/register', { name, protocol, configuration: base })
    expect(made.status, made.text).toBe(201)
  })

  it.each(away)('keeps no secret with %j', async (change) => {
    const { status, body, text } = await put(change)
    expect(status, text).toBe(400)
    expect(body.details[0].issue).toContain('must be sent again')
  })

  it.each(near)('keeps the secret with %j', async (change) => {
    const { status, text } = await put(change)
    expect(status, text).toBe(200)
    await put({})
  })

  it('may be sent to any host if the secret itself is given', async () => {
    const { status, text } = await admin('PUT', `/destinations/${name}`, { configuration: { ...base, ...away[0] } })
    expect(status, text).toBe(200)
  })
})
