import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { DeliveryError } from '../../../activities/destinations/errors.ts'
import { configSchema } from '../../../activities/destinations/registry.ts'
import { restConfig } from '../../../activities/destinations/rest/config.ts'
import {
  environmentCredentials,
  environmentName,
} from '../../../activities/destinations/secrets/environment-credentials.ts'
import { type Credential, resolveSecrets } from '../../../activities/destinations/secrets/resolution.ts'
import {
  configuration,
  credentialField,
  mapSecrets,
  optionalSecret,
  reachedHosts,
  reaching,
  secret,
} from '../../../activities/destinations/secrets/secret.ts'
import {
  extractLiterals,
  findLiteralSecrets,
  findReservedReferences,
  maskSecrets,
  secretReferences,
} from '../../../activities/destinations/secrets/storage.ts'

const OWN = 'destination.0190f6a0-0000-7000-8000-000000000001'

/** Every kind of place that a secret may stand in. */
const schema = configuration({
  host: reaching(z.string(), (value) => value),
  auth: z
    .discriminatedUnion('type', [
      z.strictObject({ type: z.literal('none') }),
      z.strictObject({ type: z.literal('basic'), username: credentialField(), password: secret().describe('wrapped') }),
    ])
    .default({ type: 'none' }),
  keys: z.array(secret()).optional(),
  headers: z.record(z.string(), secret()).default({}),
  deep: z.strictObject({ token: optionalSecret() }).nullable().optional(),
})

function credential(fields: Record<string, string>, allowed_hosts: string[] | null = null): Credential {
  return { fields, allowed_hosts }
}

function failure(run: () => unknown): DeliveryError {
  try {
    run()
  } catch (error) {
    if (error instanceof DeliveryError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

describe('the walk', () => {
  it('visits secrets in objects, unions, arrays, records and wrappers, absent ones too', () => {
    const seen: string[] = []
    mapSecrets(
      schema,
      {
        host: 'h',
        auth: { type: 'basic', username: 'u' },
        keys: ['a', { secret: 'c.d' }],
        headers: { 'X-Y': 'z' },
        deep: {},
      },
      ({ path, value }) => {
        seen.push(`${path.join('/')}=${typeof value === 'object' ? value.secret : value}`)
        return value
      },
    )
    expect(seen.sort()).toEqual([
      'auth/password=undefined',
      'auth/username=u',
      'deep/token=undefined',
      'headers/X-Y=z',
      'keys/0=a',
      'keys/1=c.d',
    ])
  })

  it('leaves absent fields absent and unknown ones as they are', () => {
    const value = { host: 'h', auth: { type: 'basic' }, extra: [1], deep: null }
    expect(mapSecrets(schema, value, (leaf) => leaf.value)).toEqual(value)
  })

  it('asks the schema which hosts are reached', () => {
    expect(
      reachedHosts(restConfig, {
        endpoint: 'https://api.example.org/{payload.id}',
        auth: { type: 'oauth2', token_url: 'https://login.example.org/token' },
      }),
    ).toEqual([
      { path: ['endpoint'], host: 'api.example.org' },
      { path: ['auth', 'token_url'], host: 'login.example.org' },
    ])
  })
})

describe('a required secret', () => {
  it('may be absent only when credentials are named', () => {
    expect(schema.safeParse({ host: 'h', auth: { type: 'basic' }, credentials: 'main' }).success).toBe(true)
    const refused = schema.safeParse({ host: 'h', auth: { type: 'basic' } })
    expect(refused.error?.issues.map((issue) => issue.path.join('.')).sort()).toEqual([
      'auth.password',
      'auth.username',
    ])
  })

  it('refuses a reference without a field', () => {
    expect(schema.safeParse({ host: 'h', keys: [{ secret: 'main' }] }).success).toBe(false)
  })
})

describe('masking and storing', () => {
  const stored = {
    host: 'h',
    auth: { type: 'basic', username: 'u', password: { secret: `${OWN}.auth.password` } },
    headers: { 'X-Key': { secret: 'named.key' }, 'X-Lit': 'hush' },
  }

  it('masks literals and own references, shows user names and references to named credentials', () => {
    expect(maskSecrets(schema, stored)).toEqual({
      host: 'h',
      auth: { type: 'basic', username: 'u', password: '***' },
      headers: { 'X-Key': { secret: 'named.key' }, 'X-Lit': '***' },
    })
  })

  it('finds literal secrets by their path, but no user name', () => {
    expect(findLiteralSecrets(schema, { ...stored, keys: ['***'] })).toEqual(['keys[0]', 'headers.X-Lit'])
  })

  it('finds references to the credential of a destination, which no caller may name', () => {
    expect(findReservedReferences(schema, stored)).toEqual(['auth.password'])
  })

  it('names the credentials that are drawn on, once each', () => {
    expect(secretReferences(schema, { ...stored, credentials: 'named', keys: [{ secret: 'other.x' }] })).toEqual([
      OWN,
      'named',
      'other',
    ])
  })

  it('moves literals into the credential of the destination', () => {
    const value = { host: 'h', auth: { type: 'basic', username: 'u', password: 'p' }, headers: { 'X-A': 'q' } }
    const extraction = extractLiterals(schema, value, { credential: OWN })
    expect(extraction).toEqual({
      configuration: {
        host: 'h',
        auth: { type: 'basic', username: 'u', password: { secret: `${OWN}.auth.password` } },
        headers: { 'X-A': { secret: `${OWN}.headers.X-A` } },
      },
      secrets: { 'auth.password': 'p', 'headers.X-A': 'q' },
      kept: [],
      missing: [],
    })
    const opened = new Map([[OWN, credential(extraction.secrets)]])
    expect(resolveSecrets(schema, extraction.configuration, opened)).toMatchObject(value)
  })

  it('keeps what *** stands for in a PUT, and says where there is nothing to keep', () => {
    const value = {
      host: 'h2',
      auth: { type: 'basic', username: 'u2', password: '***' },
      headers: { 'X-Key': '***', 'X-New': '***' },
    }
    expect(extractLiterals(schema, value, { credential: OWN, previous: stored })).toEqual({
      configuration: {
        host: 'h2',
        auth: { type: 'basic', username: 'u2', password: { secret: `${OWN}.auth.password` } },
        headers: { 'X-Key': { secret: 'named.key' }, 'X-New': '***' },
      },
      secrets: {},
      kept: ['auth.password'],
      missing: ['headers.X-New'],
    })
  })
})

describe('resolving', () => {
  it('fills references, and absent fields of the same name from the named credentials', () => {
    const resolved = resolveSecrets(
      schema,
      {
        host: 'h',
        credentials: 'main',
        auth: { type: 'basic', password: { secret: 'other.pw' } },
        keys: [{ secret: 'main.k' }],
        deep: {},
      },
      new Map([
        ['main', credential({ username: 'u', password: 'not this', k: '1', token: 't' })],
        ['other', credential({ pw: 'p' })],
      ]),
    )
    expect(resolved).toMatchObject({
      auth: { username: 'u', password: 'p' },
      keys: ['1'],
      deep: { token: 't' },
      headers: {},
    })
  })

  it.each([
    ['an unknown credential', { keys: [{ secret: 'gone.k' }] }, 'keys[0]: the credential "gone" does not exist'],
    ['an unknown field', { keys: [{ secret: 'main.q' }] }, 'keys[0]: the credential "main" has no field "q"'],
    [
      'a field of Object',
      { keys: [{ secret: 'main.toString' }] },
      'keys[0]: the credential "main" has no field "toString"',
    ],
    [
      'a missing leaf',
      { auth: { type: 'basic', username: 'u' }, credentials: 'main' },
      'auth.password: the credential "main" has no field "password"',
    ],
    ['a mask', { keys: ['***'] }, 'keys[0]: "***" is a mask and not a secret'],
    ['a stored configuration that no longer fits', { auth: { type: 'none', x: 1 } }, 'auth: '],
  ])('ends as MISCONFIGURED for %s, and names the field', (_case, part, message) => {
    const error = failure(() =>
      resolveSecrets(schema, { host: 'h', ...part }, new Map([['main', credential({ k: 'very-secret' })]])),
    )
    expect(error.code).toBe('MISCONFIGURED')
    expect(error.message).toContain(message)
    expect(error.message).not.toContain('very-secret')
  })

  it('refuses to send a credential to a host that is not among its allowed ones', () => {
    const credentials = new Map([['main', credential({ k: 'v' }, ['api.example.org', '*.example.net'])]])
    const configurationFor = (host: string) => ({ host, keys: [{ secret: 'main.k' }] })
    expect(resolveSecrets(schema, configurationFor('API.example.org'), credentials)).toMatchObject({ keys: ['v'] })
    expect(failure(() => resolveSecrets(schema, configurationFor('evil.org'), credentials))).toMatchObject({
      code: 'MISCONFIGURED',
      message: 'keys[0]: the credential "main" may not be sent to the host in host',
    })
  })

  it('gives an inline destination no credential without allowed_hosts, and says what helps', () => {
    const use = (name: string, hosts: string[] | null, kind: 'inline' | 'registered') =>
      resolveSecrets(
        schema,
        { host: 'api.example.org', keys: [{ secret: `${name}.k` }] },
        new Map([[name, credential({ k: 'v' }, hosts)]]),
        undefined,
        kind,
      )
    for (const name of ['main', OWN]) {
      const { code, message } = failure(() => use(name, null, 'inline'))
      expect(code).toBe('MISCONFIGURED')
      expect(message).toContain('has no allowed_hosts, so only registered destinations may use it')
    }
    expect(use('main', ['api.example.org'], 'inline')).toMatchObject({ keys: ['v'] })
    expect(use('main', null, 'registered')).toMatchObject({ keys: ['v'] })
  })

  it('binds credentials of the environment like stored ones', () => {
    const given = (text: string) => environmentCredentials({ DISTRIBUTOR_SECRET_ACME__MAIN: text }, 'acme')
    const use = (text: string, host: string, kind: 'inline' | 'registered' = 'inline') =>
      resolveSecrets(schema, { host, keys: [{ secret: 'main.k' }] }, new Map(), given(text), kind)
    const bound = '{"k": "v", "allowed_hosts": ["api.example.org"]}'
    expect(use(bound, 'api.example.org')).toMatchObject({ keys: ['v'] })
    expect(failure(() => use(bound, 'evil.org')).message).toContain('may not be sent to the host in host')
    expect(failure(() => use('{"k": "v", "allowed_hosts": "api.example.org"}', 'api.example.org')).code).toBe(
      'MISCONFIGURED',
    )
    expect(failure(() => use('{"k": "v"}', 'api.example.org')).message).toContain('has no allowed_hosts')
    expect(use('{"k": "v"}', 'api.example.org', 'registered')).toMatchObject({ keys: ['v'] })
  })
})

describe('credentials of the environment', () => {
  const env = {
    DISTRIBUTOR_SECRET_ACME__MAIN: '{"k":"1","n":2}',
    DISTRIBUTOR_SECRET_ACME__PLAIN: 'text',
    DISTRIBUTOR_SECRET_SHARED: 'everyone',
  }

  it('belong to their tenant, as JSON fields or as the one field value', () => {
    const acme = environmentCredentials(env, 'acme')
    expect(acme('main')?.fields).toEqual({ k: '1', n: '2' })
    expect(acme('plain')?.fields).toEqual({ value: 'text' })
    expect(environmentCredentials(env, 'other')('main')).toBeUndefined()
  })

  it('without a tenant serve only what the platform registered', () => {
    expect(environmentCredentials(env, 'acme')('shared')).toBeUndefined()
    expect(environmentCredentials(env, 'acme', { unscoped: true })('shared')?.fields).toEqual({ value: 'everyone' })
  })

  it('never meet under one name: no two tenants and names give the same variable', () => {
    const names = ['a', 'a_b', 'a-b', 'a__b', 'A', 'ax2d', 'a_', '_a', 'b', 'x41', '_b', 'b_c', 'é']
    const seen = new Set(
      names.flatMap((tenant) => names.map((name) => `${environmentName(tenant)}__${environmentName(name)}`)),
    )
    expect(seen.size).toBe(names.length ** 2)
    for (const name of names) expect(environmentName(name)).not.toContain('__')
  })
})

it('the served JSON schema marks secrets as write-only, and nothing else', () => {
  const served = JSON.stringify(configSchema('REST'))
  const json = configSchema('REST') as {
    properties: Record<string, { writeOnly?: boolean; properties?: Record<string, { writeOnly?: boolean }> }>
  }
  expect(json.properties.endpoint?.writeOnly).toBeUndefined()
  expect(json.properties.signing?.properties?.signing_secret?.writeOnly).toBe(true)
  expect(served.match(/"writeOnly":true/g)?.length).toBeGreaterThanOrEqual(8)
  expect(json).toMatchObject({ required: ['endpoint'], additionalProperties: false })
})
