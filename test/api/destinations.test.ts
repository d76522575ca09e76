import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loadCredentials } from '../../db/destinations/credentials.ts'
import { withTenant } from '../../db/pool.ts'
import { type ApiUnderTest, startApi } from './api-under-test.ts'

let api: ApiUnderTest
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

const SECRET = 'never-to-be-seen-4711'
const admin = (method: string, path: string, body?: unknown) =>
  api.call(method, path, body, { key: api.keys.acme.admin })

const withToken = (token: unknown = SECRET) => ({
  endpoint: 'https://reporter.example/documents',
  auth: { type: 'bearer', token },
})
const register = (name: string, given: Record<string, unknown> = {}) =>
  admin('POST', '/destinations/register', { name, protocol: 'REST', configuration: withToken(), ...given })

async function openCredential(name: string): Promise<Record<string, string> | undefined> {
  const opened = await withTenant(api.pool, 'acme', (db) => loadCredentials(db, api.sealer, [name]))
  return opened.get(name)?.fields
}

describe('registering a destination', () => {
  it('answers 201 with its secrets masked', async () => {
    const { status, body } = await register('fresh', { tags: ['a'], max_retries: 5, description: 'Reports' })
    expect(status).toBe(201)
    expect(body).toMatchObject({
      name: 'fresh',
      protocol: 'REST',
      status: 'active',
      version: 1,
      max_retries: 5,
      tags: ['a'],
      description: 'Reports',
      health_status: 'unknown',
      configuration: withToken('***'),
    })
    expect(body.tenant_id).toBeUndefined()
  })

  it.each(['list', 'register', '019bc0de-7a10-7cc3-98c4-dc0c0c07398f'])(
    'refuses a name that a path could not tell from something else: %s',
    async (name) => {
      const { status, body } = await register(name)
      expect(status).toBe(400)
      expect(body.details).toEqual([{ field: 'name', issue: expect.any(String) }])
    },
  )

  it('moves literals to a sealed credential of its own', async () => {
    const { body } = await register('sealed')
    const credential = `destination.${body.id}`
    expect(await openCredential(credential)).toEqual({ 'auth.token': SECRET })
    const [row] = await api.rows('acme', 'select configuration from destinations where name = $1', ['sealed'])
    expect(row?.configuration.auth).toEqual({ type: 'bearer', token: { secret: `${credential}.auth.token` } })
    const stored = await api.rows('acme', 'select * from destinations join destination_configs on true, credentials')
    expect(JSON.stringify(stored)).not.toContain(SECRET)
  })

  it('keeps references to named credentials as they are', async () => {
    const { body } = await register('referring', { configuration: withToken({ secret: 'login.token' }) })
    expect(body.configuration).toEqual(withToken({ secret: 'login.token' }))
  })

  it('under a name that is taken is a 409, also when both come at once', async () => {
    const answers = await Promise.all([register('twice'), register('twice'), register('twice')])
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 409, 409])
    const taken = answers.find(({ status }) => status === 409)
    expect(taken?.body.message).toContain('use PUT /destinations/{id} or delete it first')
  })

  it.each([
    ['a bad name', { name: 'a b' }, ['name']],
    ['an unknown field', { configuraton: {} }, ['configuraton']],
    ['an unknown protocol', { protocol: 'SOAP' }, ['protocol']],
    ['a bad URL', { configuration: { endpoint: 'x' } }, ['configuration.endpoint']],
    ['a private address', { configuration: { endpoint: 'http://10.0.0.8/' } }, ['configuration.endpoint']],
    ['an unknown setting', { configuration: { ...withToken(), methd: 'PUT' } }, ['configuration.methd']],
    ['a mask without a secret', { configuration: withToken('***') }, ['configuration.auth.token']],
    ['no secret at all', { configuration: { ...withToken(), auth: { type: 'bearer' } } }, ['configuration.auth.token']],
    ['too many retries', { max_retries: 51 }, ['max_retries']],
    ['an unknown step of shaping', { transform_config: { outptu: 'csv' } }, ['transform_config.outptu']],
    ['a shape that cannot be applied', { transform_config: { mask: ['a['] } }, ['transform_config.mask[0]']],
  ])('refuses %s', async (_, given, fields) => {
    const { status, body } = await register('refused', given)
    expect(status).toBe(400)
    expect(body.details.map(({ field }: { field: string }) => field)).toEqual(fields)
    expect((await admin('GET', '/destinations/refused')).status).toBe(404)
  })

  it('needs an admin', async () => {
    const body = { name: 'x', protocol: 'REST', configuration: withToken() }
    const { status } = await api.call('POST', '/destinations/register', body)
    expect(status).toBe(403)
  })
})

describe('a registered destination', () => {
  it('is found by its uuid and by its name', async () => {
    const { body } = await register('findable')
    for (const id of [body.id, 'findable']) {
      expect((await api.call('GET', `/destinations/${id}`)).body).toEqual(body)
    }
  })

  it('keeps a secret that is sent back as ***, and takes a new one', async () => {
    const { body: made } = await register('changing')
    const kept = await admin('PUT', '/destinations/changing', {
      configuration: { ...withToken('***'), method: 'PUT' },
    })
    expect(kept.body).toMatchObject({ version: 2, configuration: { ...withToken('***'), method: 'PUT' } })
    expect(await openCredential(`destination.${made.id}`)).toEqual({ 'auth.token': SECRET })
    await admin('PUT', '/destinations/changing', { configuration: withToken('another') })
    expect(await openCredential(`destination.${made.id}`)).toEqual({ 'auth.token': 'another' })
    await admin('PUT', '/destinations/changing', { configuration: { endpoint: 'https://reporter.example/' } })
    expect(await openCredential(`destination.${made.id}`)).toEqual({})
    const versions = await api.rows(
      'acme',
      'select version, configuration from destination_configs where destination_id = $1 order by version',
      [made.id],
    )
    expect(versions.map(({ version }) => version)).toEqual([1, 2, 3, 4])
    expect(versions[3]!.configuration).toEqual({ endpoint: 'https://reporter.example/' })
  })

  it('does not change its name or protocol', async () => {
    await register('fixed')
    const { status, body } = await admin('PUT', '/destinations/fixed', { name: 'else', configuration: withToken() })
    expect([status, body.details[0].field]).toEqual([400, 'name'])
  })

  it('is disabled and enabled', async () => {
    await register('switched')
    expect((await admin('POST', '/destinations/switched/disable')).body.status).toBe('inactive')
    expect((await admin('POST', '/destinations/switched/enable')).body.status).toBe('active')
  })

  it('is deleted with its secrets, and its name is free again', async () => {
    const { body } = await register('leaving')
    expect((await admin('DELETE', '/destinations/leaving')).status).toBe(204)
    expect((await admin('GET', '/destinations/leaving')).status).toBe(404)
    expect((await admin('DELETE', `/destinations/${body.id}`)).status).toBe(404)
    expect(await openCredential(`destination.${body.id}`)).toBeUndefined()
    expect((await register('leaving')).status).toBe(201)
  })

  it('ends the deliveries that wait for it when it is deleted, and notifies their runs', async () => {
    const { body: made } = await register('awaited')
    const sent = { data_type: 'report', payload: {}, destinations: ['awaited'] }
    const { body } = await api.call('POST', '/distribution/submit', sent)
    await api.rows(
      'acme',
      `insert into distribution_deliveries
              (distribution_job_id, destination_name, tenant_id, protocol, destination_id, position, status, next_attempt_at)
       values ($1, 'awaited', 'acme', 'REST', $2, 0, 'waiting', now() + interval '1 hour')`,
      [body.distribution_id.slice('dist_'.length), made.id],
    )
    expect((await admin('DELETE', '/destinations/awaited')).status).toBe(204)
    const state = await api.call('GET', `/distribution/${body.distribution_id}/status`)
    expect(state.body.destinations).toMatchObject([
      { name: 'awaited', status: 'failed', error_code: 'DESTINATION_DELETED', next_attempt_at: null },
    ])
    expect(api.dispatcher.rereads).toEqual([{ tenant_id: 'acme', distribution_id: body.distribution_id }])
  })

  it('is listed by filter and page', async () => {
    await register('listed-1', { tags: ['page'] })
    await register('listed-2', { tags: ['page', 'more'] })
    const { body } = await api.call('GET', '/destinations/list?tag=page&limit=1')
    expect(body.destinations.map(({ name }: { name: string }) => name)).toEqual(['listed-1'])
    expect(body.pagination).toEqual({ limit: 1, offset: 0, total: 2, has_more: true, next_cursor: expect.any(String) })
  })

  it('is probed by a worker', async () => {
    const { body: made } = await register('probed')
    const { status, body } = await api.call('POST', '/destinations/probed/test')
    expect([status, body]).toEqual([
      200,
      { destination: 'probed', healthy: true, error_code: null, error_message: null, response_time_ms: 3 },
    ])
    expect(api.dispatcher.probed).toContainEqual({ tenant_id: 'acme', destination_id: made.id })
  })

  it('that no worker probes in time is a 503', async () => {
    await register('unprobed')
    const before = api.dispatcher.answers.probe
    api.dispatcher.answers.probe = null
    const { status, body } = await api.call('POST', '/destinations/unprobed/test')
    api.dispatcher.answers.probe = before
    expect([status, body.error]).toEqual([503, 'SERVICE_UNAVAILABLE'])
  })

  it('of the same name in another tenant is a different destination', async () => {
    const { body: mine } = await register('common')
    const theirs = await api.call(
      'POST',
      '/destinations/register',
      { name: 'common', protocol: 'REST', configuration: withToken('theirs') },
      { key: api.keys.other.admin },
    )
    expect(theirs.status).toBe(201)
    for (const [method, path] of [
      ['GET', ''],
      ['PUT', ''],
      ['DELETE', ''],
      ['POST', '/enable'],
      ['POST', '/test'],
    ] as const) {
      const body = method === 'PUT' ? { configuration: withToken('x') } : undefined
      const answer = await api.call(method, `/destinations/${mine.id}${path}`, body, { key: api.keys.other.admin })
      expect(answer.status).toBe(404)
    }
    expect(await openCredential(`destination.${mine.id}`)).toEqual({ 'auth.token': SECRET })
  })
})

describe('credentials', () => {
  const fields = { username: 'u', password: SECRET }

  it('are written, listed and replaced without ever being shown', async () => {
    const made = await admin('POST', '/credentials', { name: 'login', fields, allowed_hosts: ['*.example.org'] })
    expect([made.status, made.body]).toMatchObject([
      201,
      { name: 'login', field_names: ['password', 'username'], allowed_hosts: ['*.example.org'] },
    ])
    const changed = await admin('PUT', '/credentials/login', { fields: { password: `${SECRET}-2` } })
    expect(changed.body).toMatchObject({ field_names: ['password'], allowed_hosts: null })
    const list = await admin('GET', '/credentials')
    const one = await admin('GET', '/credentials/login')
    expect(list.body.credentials).toEqual([one.body])
    expect(await openCredential('login')).toEqual({ password: `${SECRET}-2` })
  })

  it('that are added twice at the same time are added once', async () => {
    const adding = ['a', 'b', 'c', 'd', 'e'].map((password) =>
      admin('POST', '/credentials', { name: 'raced', fields: { password } }).then(({ status }) => ({
        status,
        password,
      })),
    )
    const added = (await Promise.all(adding)).filter(({ status }) => status === 201)
    expect(added).toHaveLength(1)
    expect(await openCredential('raced')).toEqual({ password: added[0]?.password })
  })

  it('of destinations are not among them', async () => {
    const { body } = await register('hidden-secret')
    expect((await admin('GET', `/credentials/destination.${body.id}`)).status).toBe(404)
    expect((await admin('DELETE', `/credentials/destination.${body.id}`)).status).toBe(404)
    const taken = await admin('POST', '/credentials', { name: `destination.${body.id}`, fields })
    expect(taken.status).toBe(400)
  })

  it('are refused twice, and deleted only when no destination needs them', async () => {
    await admin('POST', '/credentials', { name: 'needed', fields })
    expect((await admin('POST', '/credentials', { name: 'needed', fields })).status).toBe(409)
    await register('needing', { configuration: withToken({ secret: 'needed.password' }) })
    const refused = await admin('DELETE', '/credentials/needed')
    expect([refused.status, refused.body.details[0].issue]).toEqual([409, 'is used by destination needing'])
    await admin('DELETE', '/destinations/needing')
    expect((await admin('DELETE', '/credentials/needed')).status).toBe(204)
    expect((await admin('DELETE', '/credentials/needed')).status).toBe(404)
  })

  it('of one tenant open in no other', async () => {
    await admin('POST', '/credentials', { name: 'mine', fields })
    await expect(
      withTenant(api.pool, 'other', async (db) => {
        const [row] = await api.rows('acme', "select sealed from credentials where name = 'mine'")
        await db.query("insert into credentials (tenant_id, name, sealed) values ('other', 'mine', $1)", [row?.sealed])
        return loadCredentials(db, api.sealer, ['mine'])
      }),
    ).rejects.toThrow()
  })
})

it('every change is in the audit log, and no secret is in it, in an answer or in a log line', async () => {
  const { body, text } = await admin('GET', '/audit-log?limit=1000')
  const actions = new Set(
    body.events.map((event: { resource_type: string; action: string }) => `${event.resource_type} ${event.action}`),
  )
  for (const action of ['register', 'update', 'delete', 'enable', 'disable']) {
    expect(actions).toContain(`destination ${action}`)
  }
  for (const action of ['create', 'update', 'delete']) expect(actions).toContain(`credential ${action}`)
  expect(body.events[0]).toMatchObject({ tenant_id: 'acme', actor: expect.stringMatching(/^api_key:/) })
  const shown = await admin('GET', '/destinations/list?limit=1000')
  for (const place of [text, shown.text, api.log.lines().join('')]) expect(place).not.toContain(SECRET)
})

describe('a destination whose protocol this program does not have', () => {
  const configuration = { host: 'later.example', token: SECRET, auth: { secret: 'shared.token' } }

  beforeAll(async () => {
    const owner = new pg.Client({
      connectionString: api.pool.options.connectionString!.replace('test_login', 'test_owner'),
    })
    await owner.connect()
    await owner.query("insert into destination_types (id, name, protocol) values ('LATER', 'Later', 'LATER')")
    await owner.end()
    await admin('POST', '/credentials', { name: 'shared', fields: { token: SECRET } })
    await api.rows(
      'acme',
      "insert into destinations (tenant_id, name, protocol, configuration) values ('acme', 'later', 'LATER', $1)",
      [JSON.stringify(configuration)],
    )
    await register('later-neighbour', { tags: ['later'] })
  })

  it('is listed and shown, marked and with every field masked', async () => {
    const shown = {
      name: 'later',
      protocol: 'LATER',
      supported: false,
      configuration: { host: '***', token: '***', auth: '***' },
    }
    const one = await api.call('GET', '/destinations/later')
    expect([one.status, one.body]).toMatchObject([200, shown])
    const all = await api.call('GET', '/destinations/list?limit=100')
    expect(all.status, all.text).toBe(200)
    expect(all.body.destinations).toContainEqual(expect.objectContaining(shown))
    expect(all.body.destinations).toContainEqual(expect.objectContaining({ name: 'later-neighbour', supported: true }))
    expect(all.text).not.toContain(SECRET)
  })

  it('is taken in a submission, whose status names the protocol', async () => {
    const submission = { data_type: 'report', payload: 1, destinations: ['later'] }
    const { status, body, text } = await api.call('POST', '/distribution/submit', submission)
    expect(status, text).toBe(202)
    expect((await api.call('GET', `/distribution/${body.distribution_id}/status`)).status).toBe(200)
    const zipped = await api.call('POST', '/distribution/submit', { ...submission, options: { compression: 'gzip' } })
    expect([zipped.status, zipped.body.details]).toEqual([
      400,
      [{ field: 'destinations[0]', issue: expect.stringContaining('LATER does not support') }],
    ])
  })

  it('is not replaced, but disabled, enabled and deleted', async () => {
    const replaced = await admin('PUT', '/destinations/later', { configuration })
    expect([replaced.status, replaced.body.details]).toMatchObject([400, [{ field: 'protocol' }]])
    for (const action of ['disable', 'enable']) {
      const { status, body } = await admin('POST', `/destinations/later/${action}`)
      expect([status, body.supported]).toEqual([200, false])
    }
    const credential = await admin('PUT', '/credentials/shared', { fields: { token: 'another' } })
    expect(credential.status, credential.text).toBe(200)
    expect((await admin('DELETE', '/destinations/later')).status).toBe(204)
  })
})

it('destination types come with the JSON schema of their configuration', async () => {
  const { body } = await api.call('GET', '/destination-types')
  const rest = body.destination_types.find(({ protocol }: { protocol: string }) => protocol === 'REST')
  expect(rest.config_schema.properties.endpoint.type).toBe('string')
  expect(rest.config_schema.additionalProperties).toBe(false)
})
