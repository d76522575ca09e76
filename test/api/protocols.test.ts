// All protocols over the API: valid configurations are accepted, invalid ones are rejected with paths, and no answer
// contains a secret.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { destinationFor, PROTOCOLS } from '../../activities/destinations/registry.ts'
import type { Protocol } from '../../db/states.ts'
import { type ApiUnderTest, startApi } from './api-under-test.ts'

const SECRET = 'not-for-anyone-4711'
const HOST_KEY = `SHA256:${'A'.repeat(43)}`

interface Sample {
  /** All that is needed, but for the secret. */
  configuration: Record<string, unknown>
  /** Where the secret stands, and what else a credential holds. */
  secret: string
  public?: Record<string, string>
  /** The field that says which host is reached, with an address that deliveries may not reach. */
  host: string
  forbidden: unknown
  gzip: boolean
}

const SAMPLES: Record<Protocol, Sample> = {
  REST: {
    configuration: { endpoint: 'https://receiver.example/in', auth: { type: 'bearer' } },
    secret: 'auth.token',
    host: 'endpoint',
    forbidden: 'http://169.254.169.254/latest',
    gzip: true,
  },
  AMQP: {
    configuration: { host: 'broker.example', exchange: 'reports', routing_key: '{data_type}' },
    secret: 'password',
    public: { username: 'distributor' },
    host: 'host',
    forbidden: '::ffff:169.254.169.254',
    gzip: true,
  },
  JDBC: {
    configuration: { url: 'jdbc:postgresql://database.example/reports', table: 'reports' },
    secret: 'password',
    public: { username: 'distributor' },
    host: 'url',
    forbidden: 'jdbc:mariadb://169.254.169.254:3306/reports',
    gzip: false,
  },
  S3: {
    configuration: { endpoint: 'https://store.example', bucket: 'reports', key: '{distribution_id}.json' },
    secret: 'secret_access_key',
    public: { access_key_id: 'AKIDEXAMPLE' },
    host: 'endpoint',
    forbidden: 'http://2852039166/',
    gzip: true,
  },
  SFTP: {
    configuration: { host: 'files.example', host_key: HOST_KEY, path: 'in/{distribution_id}.json' },
    secret: 'password',
    public: { username: 'distributor' },
    host: 'host',
    forbidden: '10.0.0.8',
    gzip: false,
  },
  EMAIL: {
    configuration: { host: 'mail.example', from: 'distributor@example.org', to: ['archive@example.org'] },
    secret: 'password',
    public: { username: 'distributor' },
    host: 'host',
    forbidden: '127.0.0.1',
    gzip: false,
  },
}
const each = Object.entries(SAMPLES)

let api: ApiUnderTest
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

const admin = (method: string, path: string, body?: unknown) =>
  api.call(method, path, body, { key: api.keys.acme.admin })

/** With a value put at a path such as `auth.token`. */
function withField(target: Record<string, unknown>, path: string, value: unknown): Record<string, unknown> {
  const [first = '', ...rest] = path.split('.')
  const inner =
    rest.length === 0 ? value : withField((target[first] ?? {}) as Record<string, unknown>, rest.join('.'), value)
  return { ...target, [first]: inner }
}

const named = (protocol: Protocol) => `a-${protocol.toLowerCase()}`
const submit = (destinations: unknown[], options = {}) =>
  api.call('POST', '/distribution/submit', { data_type: 'report', payload: { a: 1 }, destinations, options })

describe.each(each)('%s', (protocol, { configuration, secret, public: open = {}, host, forbidden, gzip }) => {
  const whole = { ...configuration, ...open }

  it('is registered with a plain-text secret, which is never shown again', async () => {
    const content = { name: named(protocol), protocol, configuration: withField(whole, secret, SECRET) }
    const made = await admin('POST', '/destinations/register', content)
    expect(made.status, made.text).toBe(201)
    for (const { text } of [made, await admin('GET', `/destinations/${named(protocol)}`)]) {
      expect(text).toContain('***')
      expect(text).not.toContain(SECRET)
    }
    expect(api.log.lines().join('')).not.toContain(SECRET)
    const stored = await api.rows('acme', 'select configuration from destinations where name = $1', [named(protocol)])
    expect(JSON.stringify(stored)).not.toContain(SECRET)
  })

  it('is taken inline, with its secrets by the name of a credential', async () => {
    const credential = `c-${protocol.toLowerCase()}`
    const fields = { ...open, [secret.split('.').at(-1)!]: SECRET }
    expect((await admin('POST', '/credentials', { name: credential, fields })).status).toBe(201)
    const answer = await submit([{ name: 'inline', protocol, ...configuration, credentials: credential }])
    expect(answer.status, answer.text).toBe(202)
  })

  it('is refused inline with a secret in plain text', async () => {
    const { status, body } = await submit([{ name: 'inline', protocol, ...withField(whole, secret, SECRET) }])
    expect(status).toBe(400)
    expect(body.details).toEqual([
      { field: `destinations[0].${secret}`, issue: expect.stringContaining('{"secret": "credential.field"}') },
    ])
    expect(JSON.stringify(body)).not.toContain(SECRET)
  })

  it.each([
    ['null', null],
    ['a number', 7],
    ['a list', []],
    ['an empty object', {}],
    ['a reference that is null', { secret: null }],
    ['a reference that is an object', { secret: { toString: 1 } }],
  ])('with %s as a secret or a login is a 400 that names the field, inline and registered', async (_, odd) => {
    for (const path of [secret, ...Object.keys(open)]) {
      const content = withField(whole, path, odd)
      const inline = await submit([{ name: 'inline', protocol, ...content }])
      expect(inline.status, inline.text).toBe(400)
      const registered = await admin('POST', '/destinations/register', {
        name: 'odd',
        protocol,
        configuration: content,
      })
      expect(registered.status, registered.text).toBe(400)
      const fields = [inline, registered].map(({ body }) => body.details.map(({ field }: { field: string }) => field))
      expect(fields[0]).toContainEqual(expect.stringContaining(`destinations[0].${path}`))
      expect(fields[1]).toContainEqual(expect.stringContaining(`configuration.${path}`))
    }
  })

  it('is refused where it leads to an address that is out of reach', async () => {
    const content = { ...withField(whole, secret, { secret: 'c.f' }), [host]: forbidden }
    const { status, body } = await submit([{ name: 'inline', protocol, ...content }])
    expect(status).toBe(400)
    expect(body.details).toEqual([{ field: `destinations[0].${host}`, issue: expect.stringContaining('forbidden') }])
  })

  it('is refused with a field that it does not know', async () => {
    const content = { ...withField(whole, secret, { secret: 'c.f' }), hots: 1 }
    const { status, body } = await submit([{ name: 'inline', protocol, ...content }])
    expect(status).toBe(400)
    expect(body.details.map(({ field }: { field: string }) => field)).toEqual(['destinations[0].hots'])
  })

  it(`${gzip ? 'takes' : 'refuses'} options.compression "gzip"`, async () => {
    const content = withField(whole, secret, { secret: 'c.f' })
    const answer = await submit([named(protocol), { name: 'inline', protocol, ...content }], { compression: 'gzip' })
    expect(answer.status, answer.text).toBe(gzip ? 202 : 400)
    if (!gzip) expect(answer.body.details).toHaveLength(2)
  })
})

describe('GET /destination-types', () => {
  it('serves the JSON schema of each protocol, with a description for every field', async () => {
    const { status, body } = await api.call('GET', '/destination-types')
    expect(status).toBe(200)
    const types = body.destination_types as {
      protocol: Protocol
      config_schema: { properties: Record<string, object> }
    }[]
    expect(types.map(({ protocol }) => protocol)).toEqual([...PROTOCOLS])
    expect(PROTOCOLS).toEqual(expect.arrayContaining(Object.keys(SAMPLES)))
    for (const { protocol, config_schema } of types) {
      const { example } = destinationFor(protocol)
      const { configuration, secret } = SAMPLES[protocol] ?? { configuration: example, secret: 'credentials' }
      for (const field of [...Object.keys(configuration), secret.split('.')[0]!, 'credentials', 'timeout_seconds']) {
        expect(config_schema.properties[field], `${protocol} ${field}`).toMatchObject({
          description: expect.any(String),
        })
      }
    }
  })
})
