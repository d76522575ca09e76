import { generateKeyPairSync, randomBytes } from 'node:crypto'
import net from 'node:net'
import { brotliCompressSync, deflateRawSync, deflateSync, gunzipSync, gzipSync } from 'node:zlib'
import { Webhook } from 'standardwebhooks'
import { afterEach, describe, expect, it } from 'vitest'
import type { Message } from '../../activities/destinations/destination.ts'
import { createEgress } from '../../activities/destinations/egress.ts'
import type { RestConfig } from '../../activities/destinations/rest/config.ts'
import { restConfig } from '../../activities/destinations/rest/config.ts'
import { retryAfterMs } from '../../activities/destinations/rest/failure.ts'
import { rest } from '../../activities/destinations/rest.ts'
import {
  certificate,
  type HttpReceiver,
  type HttpReceiverOptions,
  type Reply,
  refusedPort,
  startHttpReceiver,
} from '../support/receivers/http.ts'
import { aMessage, contract, failureOf, never, SECRET, surroundings } from './contract.ts'

const open: HttpReceiver[] = []

afterEach(async () => {
  await Promise.all(open.splice(0).map((receiver) => receiver.close()))
})

async function receiving(script: HttpReceiverOptions['script'] = {}, options: HttpReceiverOptions = {}) {
  const receiver = await startHttpReceiver({ script, ...options })
  open.push(receiver)
  return receiver
}

/** Resolved, with the defaults; the deadline is short, and below a second where a test waits for it. */
function aConfig(endpoint: string, given: Record<string, unknown> = {}): RestConfig {
  const { timeout_seconds = 5, ...rest } = given
  return { ...(restConfig.parse({ endpoint, ...rest }) as RestConfig), timeout_seconds: timeout_seconds as number }
}

function send(config: RestConfig, message: Partial<Message> = {}, signal = never) {
  return rest.deliver(config, aMessage(message), signal, surroundings)
}

async function sent(given: Record<string, unknown> = {}, message: Partial<Message> = {}, path = '/in') {
  const receiver = await receiving()
  await send(aConfig(receiver.url + path, given), message)
  return receiver.requests[0]!
}

contract(
  rest,
  async (mood) => {
    const echo = (request: { headers: unknown; body: Buffer }): Reply => ({ body: JSON.stringify(request.headers) })
    const scripts = {
      accepting: echo,
      rejecting: { status: 422, body: `you sent ${SECRET}` },
      hanging: { stall: 'headers' },
      locked: { status: 401, body: SECRET },
      absent: {},
    } as const
    const receiver = await startHttpReceiver({ script: scripts[mood] })
    if (mood === 'absent') await receiver.close()
    const config = aConfig(`${receiver.url}/in`, {
      auth: { type: 'bearer', token: SECRET },
      timeout_seconds: mood === 'hanging' ? 0.4 : 5,
    })
    return {
      config,
      arrived: () =>
        receiver.requests
          .filter(({ method }) => method === 'POST')
          .map(({ body, headers }) => ({ body, delivery_id: String(headers['idempotency-key']) })),
      busy: () => receiver.received(1),
      disconnected: () => receiver.until(() => receiver.connections.open === 0),
      close: () => (mood === 'absent' ? Promise.resolve() : receiver.close()),
    }
  },
  aConfig('http://169.254.169.254/latest/meta-data'),
)

describe('the request', () => {
  it.each(['POST', 'PUT', 'PATCH', 'DELETE'])('%s carries the payload', async (method) => {
    const message = aMessage()
    const request = await sent({ method }, message)
    expect(request).toMatchObject({ method, path: '/in', headers: { 'content-type': 'application/json' } })
    expect(request.body.equals(message.body)).toBe(true)
    expect(request.headers['content-length']).toBe(String(message.body.length))
  })

  it.each(['GET', 'HEAD', 'OPTIONS'])('%s carries no body', async (method) => {
    const request = await sent({ method })
    expect(request).toMatchObject({ method, body: Buffer.alloc(0) })
    expect(request.headers['content-type']).toBeUndefined()
  })

  it('fills placeholders in path, query and headers', async () => {
    const request = await sent(
      { headers: { 'X-Trace': '{distribution_id}#{attempt_number}', 'Content-Type': 'application/vnd.x+json' } },
      { attempt_number: 7 },
      '/{tenant_id}/{payload.report_id}?big={payload.big}',
    )
    expect(request.path).toBe('/acme/r-1?big=9223372036854775807')
    expect(request.headers).toMatchObject({
      'x-trace': 'dist_0190f6a0-0000-7000-8000-000000000001#7',
      'content-type': 'application/vnd.x+json',
    })
  })

  it('a payload without the value asked for is MISCONFIGURED, and nothing is sent', async () => {
    const receiver = await receiving()
    const error = await failureOf(send(aConfig(`${receiver.url}/{payload.nothing}`)))
    expect(error).toMatchObject({ code: 'MISCONFIGURED', retryable: false })
    expect(error.message).toContain('{payload.nothing}')
    expect(receiver.connections.total).toBe(0)
  })

  it('FIELD-REPORT 7: NUL and lone surrogates in what fills a header still end as an attempt', async () => {
    const body = Buffer.from('{"nul": "a\\u0000b", "lone": "\\ud800"}')
    const receiver = await receiving()
    const config = (value: string) => aConfig(receiver.url, { headers: { 'X-A': value } })
    expect(await failureOf(send(config('{payload.nul}'), { body }))).toMatchObject({ code: 'MISCONFIGURED' })
    await send(config('{payload.lone}'), { body })
    expect(receiver.requests[0]!.body.equals(body)).toBe(true)
  })

  it.each([
    ['the destination', { compression: 'gzip' }, {}],
    ['the submission', {}, { compression: 'gzip' }],
  ] as const)('gzip, when %s asks for it', async (_who, config, message) => {
    const plain = aMessage(message)
    const request = await sent(config, plain)
    expect(request.headers['content-encoding']).toBe('gzip')
    expect(gunzipSync(request.body).equals(plain.body)).toBe(true)
  })

  it('secret headers are sent, and what the Distributor sets cannot be configured away', async () => {
    const request = await sent(
      { secret_headers: { 'X-Token': 'abc', Authorization: 'Custom x' } },
      { delivery_id: 'd-9' },
    )
    expect(request.headers).toMatchObject({ 'x-token': 'abc', authorization: 'Custom x', 'idempotency-key': 'd-9' })
  })
})

describe('the signature', () => {
  const secrets = [0, 1].map(() => `whsec_${randomBytes(24).toString('base64')}`)
  const signing = { signing_secret: secrets[0], previous_signing_secret: secrets[1] }

  it.each(['none', 'gzip'] as const)(
    'holds for both overlapping secrets, over the payload (compression: %s)',
    async (compression) => {
      const message = aMessage({ compression })
      const { headers } = await sent({ signing }, message)
      expect(headers['webhook-id']).toBe(message.delivery_id)
      expect(String(headers['webhook-signature']).split(' ')).toHaveLength(2)
      for (const secret of secrets) {
        expect(() =>
          new Webhook(secret).verify(message.body.toString(), headers as Record<string, string>),
        ).not.toThrow()
      }
      const other = new Webhook(randomBytes(24).toString('base64'))
      expect(() => other.verify(message.body.toString(), headers as Record<string, string>)).toThrow()
    },
  )

  it('a secret that is no base64 is MISCONFIGURED', async () => {
    const config = aConfig('http://127.0.0.1:1/', { signing: { signing_secret: 'whsec_not base64!' } })
    expect(await failureOf(send(config))).toMatchObject({ code: 'MISCONFIGURED' })
  })
})

describe('authentication', () => {
  it.each([
    [{ type: 'none' }, {}, '/in?a=1'],
    [
      { type: 'basic', username: 'ü', password: 'p:w' },
      { authorization: `Basic ${Buffer.from('ü:p:w').toString('base64')}` },
      '/in?a=1',
    ],
    [{ type: 'bearer', token: 'tok' }, { authorization: 'Bearer tok' }, '/in?a=1'],
    [{ type: 'api_key', api_key: 'k', name: 'X-Key' }, { 'x-key': 'k' }, '/in?a=1'],
    [{ type: 'api_key', api_key: 'k&=', in: 'query', name: 'key' }, {}, '/in?a=1&key=k%26%3D'],
  ])('%j', async (auth, headers, path) => {
    const request = await sent({ auth }, {}, '/in?a=1')
    expect(request.path).toBe(path)
    expect(request.headers).toMatchObject(headers)
  })

  it('a secret with a line break is MISCONFIGURED and is not shown', async () => {
    const error = await failureOf(send(aConfig('http://127.0.0.1:1/', { auth: { type: 'bearer', token: 'tok-1\n' } })))
    expect(error).toMatchObject({ code: 'MISCONFIGURED', message: expect.stringContaining('auth.token') })
    expect(error.message).not.toContain('tok-1')
  })
})

describe('OAuth2', () => {
  /** A token endpoint that numbers its tokens, and an API that takes those in `valid`. */
  async function oauth({
    token = {},
    valid = (_token: string) => true,
  }: {
    token?: Reply
    valid?: (token: string) => boolean
  } = {}) {
    let count = 0
    const server = await receiving(() => ({
      body: JSON.stringify({ access_token: `token-${++count}`, token_type: 'Bearer', expires_in: 3600 }),
      ...token,
    }))
    const api = await receiving((request) =>
      valid(String(request.headers.authorization).replace('Bearer ', '')) ? {} : { status: 401 },
    )
    const auth = {
      type: 'oauth2',
      token_url: `${server.url}/token`,
      client_id: 'id',
      client_secret: SECRET,
      scope: 'a b',
    }
    const config = (given = {}) => aConfig(api.url, { auth: { ...auth, ...given } })
    return { server, api, config }
  }

  it('takes one token for many deliveries at once, and keeps it', async () => {
    const { server, api, config } = await oauth({ token: { after_ms: 50 } })
    await Promise.all(Array.from({ length: 5 }, () => send(config())))
    await send(config())
    expect(server.requests).toHaveLength(1)
    expect(server.requests[0]!.body.toString()).toBe('grant_type=client_credentials&scope=a+b')
    expect(server.requests[0]!.headers.authorization).toBe(`Basic ${Buffer.from(`id:${SECRET}`).toString('base64')}`)
    expect(api.requests.map(({ headers }) => headers.authorization)).toEqual(Array(6).fill('Bearer token-1'))
  })

  it('FIELD-REPORT 33: two tenants with the same client share no token', async () => {
    const { server, config } = await oauth()
    await send(config(), { tenant_id: 'one' })
    await send(config(), { tenant_id: 'two' })
    expect(server.requests).toHaveLength(2)
  })

  it('shows the client in the body where asked to', async () => {
    const { server, config } = await oauth()
    await send(config({ client_authentication: 'body' }))
    expect(server.requests[0]!.headers.authorization).toBeUndefined()
    expect(new URLSearchParams(server.requests[0]!.body.toString()).get('client_secret')).toBe(SECRET)
  })

  it('renews a token before it expires', async () => {
    const { server, config } = await oauth({ token: { body: '{"access_token":"short","expires_in":"0.001"}' } })
    await send(config())
    await new Promise((resolve) => setTimeout(resolve, 5))
    await send(config())
    expect(server.requests).toHaveLength(2)
  })

  it('a 401 drops the token and is tried again at once; the next token is the last one so tried', async () => {
    const { server, api, config } = await oauth({ valid: (token) => token === 'token-3' })
    const first = await failureOf(send(config()))
    expect(first).toMatchObject({ code: 'UNAUTHORIZED', retryable: true, retryAfterMs: 0, response: { status: 401 } })
    expect(api.requests).toHaveLength(1)
    const second = await failureOf(send(config()))
    expect(second).toMatchObject({ code: 'UNAUTHORIZED', retryable: false })
    await send(config())
    expect(server.requests).toHaveLength(3)
  })

  it('an accepted token that is refused later gets a new one again', async () => {
    const revoked = new Set(['token-1'])
    const { config } = await oauth({ valid: (token) => !revoked.has(token) })
    await failureOf(send(config()))
    await send(config())
    revoked.add('token-2')
    expect(await failureOf(send(config()))).toMatchObject({ retryable: true, retryAfterMs: 0 })
    await send(config())
  })

  it.each([
    [{ status: 401, body: `{"error":"invalid_client","error_description":"${SECRET}"}` }, 'UNAUTHORIZED', false],
    [{ status: 400, body: '{"error":"invalid_scope"}' }, 'UNAUTHORIZED', false],
    [{ status: 404 }, 'MISCONFIGURED', false],
    [{ status: 302, headers: { location: 'http://169.254.169.254/' } }, 'MISCONFIGURED', false],
    [{ status: 200, body: 'hello' }, 'MISCONFIGURED', false],
    [{ status: 503, headers: { 'retry-after': '7' } }, 'DESTINATION_UNAVAILABLE', true],
    [{ status: 429 }, 'THROTTLED', true],
    [{ drop: 'reset' }, 'DESTINATION_UNAVAILABLE', true],
  ] as const)('a token endpoint that answers %j: %s', async (token, code, retryable) => {
    const { api, config } = await oauth({ token: token as Reply })
    const error = await failureOf(send(config()))
    expect(error).toMatchObject({ code, retryable })
    expect(error.message).toContain('the token endpoint')
    expect(error.message).not.toContain(SECRET)
    expect(api.requests).toEqual([])
  })

  it('a token endpoint that hangs takes only its part of the deadline, and an abort ends the request', async () => {
    const { server, config } = await oauth({ token: { stall: 'headers' } })
    const error = await failureOf(send({ ...config(), timeout_seconds: 0.8 }))
    expect(error).toMatchObject({ code: 'TIMEOUT', message: expect.stringContaining('the token endpoint') })
    await server.until(() => server.connections.open === 0)
    const controller = new AbortController()
    const attempt = send(config(), {}, controller.signal).catch((error: unknown) => error)
    await server.received(2)
    controller.abort('stop')
    expect(await attempt).toBe('stop')
    await server.until(() => server.connections.open === 0)
  })

  it('asks for the token over TLS with the private authority, whose name is not that of the endpoint', async () => {
    const server = await receiving({ body: '{"access_token":"t"}' }, { tls: true })
    const api = await receiving({}, { tls: true })
    const auth = { type: 'oauth2', token_url: server.url, client_id: 'id', client_secret: SECRET }
    await send(aConfig(api.url, { auth, tls: { ca: certificate('ca.pem'), server_name: 'receiver.example' } }))
    expect(api.requests[0]!.headers.authorization).toBe('Bearer t')
  })

  it('FIELD-REPORT 44: the token endpoint goes through the egress guard too', async () => {
    const { config } = await oauth()
    const error = await failureOf(send(config({ token_url: 'http://[::ffff:169.254.169.254]/token' })))
    expect(error).toMatchObject({ code: 'EGRESS_DENIED', retryable: false })
  })
})

describe('TLS', () => {
  const tls = { ca: certificate('ca.pem') }

  it('trusts the private authority that is configured', async () => {
    const receiver = await receiving({}, { tls: true })
    expect(await send(aConfig(receiver.url, { tls }))).toMatchObject({ status: 200 })
  })

  it.each([
    ['an unknown authority', {}],
    ['another name', { ...tls, server_name: 'other.example' }],
  ])('FIELD-REPORT 12: %s is DESTINATION_UNAVAILABLE, tried again, and nothing is sent', async (_case, options) => {
    const receiver = await receiving({}, { tls: true })
    const error = await failureOf(send(aConfig(receiver.url, { tls: options })))
    expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
    expect(error.message).toMatch(/secure connection/)
    expect(receiver.requests).toEqual([])
  })

  it('FIELD-REPORT 12: a receiver that speaks no TLS', async () => {
    const receiver = await receiving()
    const error = await failureOf(send(aConfig(receiver.url.replace('http', 'https'))))
    expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
  })

  it.each(['client.key', 'client-encrypted.key'])('shows the client certificate (%s)', async (key) => {
    const receiver = await receiving({}, { tls: { requestCert: true, ca: tls.ca } })
    const client = { client_certificate: certificate('client.pem'), client_key: certificate(key) }
    await send(aConfig(receiver.url, { tls: { ...tls, ...client, client_key_passphrase: 'open-sesame' } }))
    expect(receiver.requests[0]!.client).toBe('client')
  })

  it('without the client certificate that is asked for, the delivery fails', async () => {
    const receiver = await receiving({}, { tls: { requestCert: true, ca: tls.ca } })
    expect(await failureOf(send(aConfig(receiver.url, { tls })))).toMatchObject({ code: 'DESTINATION_UNAVAILABLE' })
    expect(receiver.requests).toEqual([])
  })

  it('a key that belongs to another certificate is MISCONFIGURED', async () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
    const client_key = privateKey.export({ type: 'pkcs8', format: 'pem' })
    const config = aConfig('https://127.0.0.1:1/', {
      tls: { client_certificate: certificate('client.pem'), client_key },
    })
    expect(await failureOf(send(config))).toMatchObject({ code: 'MISCONFIGURED' })
  })
})

describe('the status', () => {
  it.each([200, 201, 202, 204, 226])('%i is success', async (status) => {
    const receiver = await receiving({ status })
    expect(await send(aConfig(receiver.url))).toMatchObject({ status })
  })

  it.each([
    [408, 'TIMEOUT'],
    [425, 'DESTINATION_UNAVAILABLE'],
    [429, 'THROTTLED'],
    [500, 'DESTINATION_UNAVAILABLE'],
    [501, 'DESTINATION_UNAVAILABLE'],
    [502, 'DESTINATION_UNAVAILABLE'],
    [503, 'DESTINATION_UNAVAILABLE'],
    [504, 'DESTINATION_UNAVAILABLE'],
    [599, 'DESTINATION_UNAVAILABLE'],
  ])('FIELD-REPORT 22: %i is tried again as %s', async (status, code) => {
    const receiver = await receiving({ status, body: 'why' })
    const error = await failureOf(send(aConfig(receiver.url)))
    expect(error).toMatchObject({ code, retryable: true, response: { status, body: 'why' }, gone: false })
  })

  it.each([
    [400, 'REJECTED'],
    [401, 'UNAUTHORIZED'],
    [403, 'UNAUTHORIZED'],
    [404, 'REJECTED'],
    [407, 'REJECTED'],
    [409, 'REJECTED'],
    [413, 'REJECTED'],
    [422, 'REJECTED'],
    [451, 'REJECTED'],
  ])('FIELD-REPORT 22: %i is final as %s', async (status, code) => {
    const receiver = await receiving({ status })
    expect(await failureOf(send(aConfig(receiver.url)))).toMatchObject({ code, retryable: false, gone: false })
  })

  it.each([300, 301, 302, 303, 304, 307, 308])(
    'FIELD-REPORT 9: %i is a final failure, with and without Location',
    async (status) => {
      const elsewhere = await receiving()
      for (const headers of [{}, { location: elsewhere.url }]) {
        const receiver = await receiving({ status, headers })
        const error = await failureOf(send(aConfig(receiver.url)))
        expect(error).toMatchObject({ code: 'REJECTED', retryable: false, response: { status } })
      }
      expect(elsewhere.connections.total).toBe(0)
    },
  )

  it('FIELD-REPORT 44: a redirect to cloud metadata is refused like every other', async () => {
    const receiver = await receiving({ status: 307, headers: { location: 'http://169.254.169.254/' } })
    expect(await failureOf(send(aConfig(receiver.url)))).toMatchObject({ code: 'REJECTED' })
    expect(receiver.requests).toHaveLength(1)
  })

  it('FIELD-REPORT 46: 410 is final and says that the destination is gone', async () => {
    const receiver = await receiving({ status: 410 })
    expect(await failureOf(send(aConfig(receiver.url)))).toMatchObject({
      code: 'REJECTED',
      retryable: false,
      gone: true,
    })
  })
})

describe('FIELD-REPORT 14: Retry-After', () => {
  it.each([
    [{ 'retry-after': '7' }, 7_000],
    [{ 'retry-after': '0' }, 0],
    [{ 'retry-after': ' 120 ' }, 120_000],
    [{ 'retry-after': '86400' }, 3_600_000],
    [{ 'retry-after': 'Wed, 25 Nov 2026 03:00:30 GMT' }, 30_000],
    [{ 'retry-after': 'Wednesday, 25-Nov-26 03:00:30 GMT' }, 30_000],
    [{ 'retry-after': 'Wed Nov 25 03:00:30 2026 GMT' }, 30_000],
    [{ 'retry-after': 'Wed, 25 Nov 2026 09:00:00 GMT' }, 3_600_000],
    [{ 'retry-after': 'Wed, 25 Nov 2026 02:00:00 GMT' }, 0],
    // The receiver's clock is five minutes slow: it means ten seconds.
    [{ 'retry-after': 'Wed, 25 Nov 2026 02:55:10 GMT', date: 'Wed, 25 Nov 2026 02:55:00 GMT' }, 10_000],
    [{ 'retry-after': '-5' }, undefined],
    [{ 'retry-after': '1.5' }, undefined],
    [{ 'retry-after': 'soon' }, undefined],
    [{ 'retry-after': 'Soon, we hope' }, undefined],
    [{}, undefined],
  ])('%j is %s ms', (headers, expected) => {
    expect(retryAfterMs(headers, Date.parse('2026-11-25T03:00:00Z'))).toBe(expected)
  })

  it.each([429, 503])('comes along with %i', async (status) => {
    const receiver = await receiving({ status, headers: { 'retry-after': '3' } })
    expect(await failureOf(send(aConfig(receiver.url)))).toMatchObject({ retryable: true, retryAfterMs: 3_000 })
    receiver.reply({ status, headers: { 'retry-after': new Date(Date.now() + 20_000).toUTCString() } })
    const { retryAfterMs: delay } = await failureOf(send(aConfig(receiver.url)))
    expect(delay).toBeGreaterThan(18_000)
    expect(delay).toBeLessThanOrEqual(21_000)
  })
})

describe('time', () => {
  it.each([
    ['a connection that is never answered', {}, { connection: 'stall' }],
    ['a TLS handshake that is never answered', {}, { connection: 'stall', tls: true }],
    ['FIELD-REPORT 8: headers, then a stalled body', { stall: 'body', status: 200 }, {}],
    ['FIELD-REPORT 11: a byte now and then', { drip_ms: 100, body: 'x'.repeat(1000) }, {}],
    [
      'a stated length that is waited for',
      { raw: 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc', raw_then: 'hang' },
      {},
    ],
    ['interim answers for ever', { raw: 'HTTP/1.1 102 Processing\r\n\r\n'.repeat(3), raw_then: 'hang' }, {}],
  ] as [string, Reply, HttpReceiverOptions][])(
    '%s ends the attempt as TIMEOUT and closes the socket',
    async (_case, script, options) => {
      const receiver = await receiving(script, options)
      const began = performance.now()
      const error = await failureOf(send(aConfig(receiver.url, { timeout_seconds: 0.5 })))
      expect(error).toMatchObject({ code: 'TIMEOUT', retryable: true })
      expect(performance.now() - began).toBeGreaterThan(450)
      expect(performance.now() - began).toBeLessThan(4_000)
      await receiver.until(() => receiver.connections.open === 0, 2_000)
    },
  )

  it('FIELD-REPORT 8: what came before the silence is kept with the failure', async () => {
    const receiver = await receiving({ stall: 'body', status: 202, body: 'so far' })
    const error = await failureOf(send(aConfig(receiver.url, { timeout_seconds: 0.3 })))
    expect(error).toMatchObject({ code: 'TIMEOUT', response: { status: 202, body: 'so far' } })
  })

  it('the status decides when a refusal stalls in its body', async () => {
    const receiver = await receiving({ stall: 'body', status: 422 })
    expect(await failureOf(send(aConfig(receiver.url, { timeout_seconds: 0.3 })))).toMatchObject({ code: 'REJECTED' })
  })

  it('the name counts too: a resolver that hangs', async () => {
    const egress = createEgress({ allow: [], lookup: () => new Promise(() => {}) })
    const config = aConfig('http://slow.example/', { timeout_seconds: 0.3 })
    const began = performance.now()
    const error = await failureOf(rest.deliver(config, aMessage(), never, { egress }))
    expect(error).toMatchObject({ code: 'TIMEOUT', retryable: true })
    expect(performance.now() - began).toBeLessThan(4_000)
  })

  it.each([
    ['connects', {}, { connection: 'stall', tls: true }],
    ['waits for headers', { stall: 'headers' }, {}],
    ['reads the body', { stall: 'body' }, {}],
  ] as [string, Reply, HttpReceiverOptions][])(
    'FIELD-REPORT 23: an abort closes the socket while it %s',
    async (_case, script, options) => {
      const receiver = await receiving(script, options)
      const controller = new AbortController()
      const attempt = send(aConfig(receiver.url), {}, controller.signal).catch((error: unknown) => error)
      await receiver.until(
        () => receiver.connections.open === 1 && (options.connection !== undefined || receiver.requests.length === 1),
      )
      controller.abort('stop')
      expect(await attempt).toBe('stop')
      await receiver.until(() => receiver.connections.open === 0, 2_000)
    },
  )
})

describe('FIELD-REPORT 12: the network', () => {
  it('a refused connection', async () => {
    const error = await failureOf(send(aConfig(`http://127.0.0.1:${await refusedPort()}/`)))
    expect(error).toMatchObject({
      code: 'DESTINATION_UNAVAILABLE',
      retryable: true,
      message: expect.stringContaining('ECONNREFUSED'),
    })
  })

  it('an unknown name', async () => {
    const lookup = () => Promise.reject(Object.assign(new Error('x'), { code: 'ENOTFOUND' }))
    const attempt = rest.deliver(aConfig('http://gone.example/'), aMessage(), never, {
      egress: createEgress({ allow: [], lookup }),
    })
    expect(await failureOf(attempt)).toMatchObject({
      code: 'DESTINATION_UNAVAILABLE',
      retryable: true,
      message: expect.stringContaining('ENOTFOUND'),
    })
  })

  it.each([
    ['a reset at once', {}, { connection: 'reset' }],
    ['a reset at once, with TLS', {}, { connection: 'reset', tls: true }],
    ['a reset after the request', { drop: 'reset' }, {}],
    ['a hard end after the request, with TLS', { drop: 'reset' }, { tls: true }],
    ['a polite end after the request', { drop: 'end' }, {}],
    ['no HTTP', { raw: 'SSH-2.0-OpenSSH_9.2\r\n' }, {}],
    ['headers without end', { raw: `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(100_000)}` }, {}],
    ['an answer that breaks off in its headers', { raw: 'HTTP/1.1 200 OK\r\ncontent-le' }, {}],
  ] as [string, Reply, HttpReceiverOptions][])(
    '%s is tried again, as another attempt',
    async (_case, script, options) => {
      const receiver = await receiving(script, options)
      const tls = options.tls ? { ca: certificate('ca.pem') } : {}
      const error = await failureOf(send(aConfig(receiver.url, { tls })))
      expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
      expect(receiver.requests.length).toBeLessThanOrEqual(1)
      expect(receiver.connections.total).toBe(1)
    },
  )
})

describe('FIELD-REPORT 9: a body that is not whole', () => {
  it.each([
    ['short of its length, then a polite end', 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc', 'end'],
    [
      'short of its length, with Connection: close',
      'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 10\r\n\r\nabc',
      'end',
    ],
    ['short of its length, HTTP/1.0', 'HTTP/1.0 200 OK\r\ncontent-length: 10\r\n\r\nabc', 'end'],
    ['short of its length, then a reset', 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc', 'reset'],
    ['none of its length', 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n', 'end'],
    ['chunks without the last one', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n', 'end'],
    [
      'chunks without the last one, with Connection: close',
      'HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n',
      'end',
    ],
    ['a chunk that breaks off', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nabc', 'reset'],
    [
      'short of its length, with Connection: close, then a reset',
      'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 10\r\n\r\nabc',
      'reset',
    ],
    [
      'a chunk that breaks off, with Connection: close',
      'HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\nff\r\nabc',
      'reset',
    ],
    ['no length, then a reset', 'HTTP/1.1 200 OK\r\n\r\nabc', 'reset'],
  ] as const)('%s is a failed attempt, though the status is 200', async (_case, raw, raw_then) => {
    const receiver = await receiving({ raw, raw_then })
    const error = await failureOf(send(aConfig(receiver.url)))
    expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true, response: { status: 200 } })
  })

  it.each([
    ['no length, then a polite end', 'HTTP/1.1 200 OK\r\n\r\nabc', 'abc'],
    ['HTTP/1.0', 'HTTP/1.0 200 OK\r\n\r\nabc', 'abc'],
    ['an empty one', 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n', null],
    ['204', 'HTTP/1.1 204 No Content\r\n\r\n', null],
  ])('%s is whole', async (_case, raw, body) => {
    const receiver = await receiving({ raw })
    expect(await send(aConfig(receiver.url))).toMatchObject({ body })
  })

  it('an answer to HEAD has a length and no body', async () => {
    const receiver = await receiving({ headers: { 'content-length': '10' } })
    expect(await send(aConfig(receiver.url, { method: 'HEAD' }))).toMatchObject({ status: 200, body: null })
  })
})

describe('the answer kept', () => {
  const bomb = gzipSync(Buffer.alloc(200 * 1024 * 1024))
  const text = 'dél'.repeat(100)

  it.each([
    ['gzip', gzipSync(text)],
    ['x-gzip', gzipSync(text)],
    ['deflate', deflateSync(text)],
    ['deflate', deflateRawSync(text)],
    ['br', brotliCompressSync(text)],
    ['identity', Buffer.from(text)],
    ['deflate, gzip', gzipSync(deflateSync(text))],
  ])('is inflated (%s)', async (encoding, body) => {
    const receiver = await receiving({ body, headers: { 'content-encoding': encoding } })
    expect(await send(aConfig(receiver.url))).toMatchObject({ body: text })
  })

  it.each([
    ['gzip', bomb],
    ['gzip, gzip', gzipSync(bomb)],
    ['deflate', deflateSync(Buffer.alloc(50 * 1024 * 1024))],
    ['br', brotliCompressSync(Buffer.alloc(50 * 1024 * 1024))],
  ])('a bomb (%s) costs at most the cap, and the status decides', async (encoding, body) => {
    const receiver = await receiving({ body, headers: { 'content-encoding': encoding } })
    const before = process.memoryUsage().rss
    const receipt = await send(aConfig(receiver.url))
    expect(receipt.body?.length).toBeLessThanOrEqual(64 * 1024)
    expect(process.memoryUsage().rss - before).toBeLessThan(48 * 1024 * 1024)
  })

  it('FIELD-REPORT 8: a body without end is cut, and the status decides', async () => {
    const receiver = await receiving({ endless: true, body: 'x'.repeat(65_536) })
    const receipt = await send(aConfig(receiver.url))
    expect(receipt).toMatchObject({ status: 200, body: 'x'.repeat(64 * 1024) })
    await receiver.until(() => receiver.connections.open === 0)
  })

  it.each([
    ['gzip', gzipSync(text).subarray(0, -5)],
    ['gzip', Buffer.from('no gzip at all')],
    ['br', brotliCompressSync(text).subarray(0, 10)],
    ['deflate', deflateSync(text).subarray(0, 10)],
  ])('a broken encoding (%s) on a 2xx is a failed attempt', async (encoding, body) => {
    const receiver = await receiving({ body, headers: { 'content-encoding': encoding } })
    const error = await failureOf(send(aConfig(receiver.url)))
    expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true, response: { status: 200 } })
    receiver.reply({ status: 404, body, headers: { 'content-encoding': encoding } })
    expect(await failureOf(send(aConfig(receiver.url)))).toMatchObject({ code: 'REJECTED', response: { status: 404 } })
  })

  it.each(['zstd', 'gzip, gzip, gzip'])('an encoding that nobody here reads (%s) is not kept', async (encoding) => {
    const receiver = await receiving({ body: 'abc', headers: { 'content-encoding': encoding } })
    expect(await send(aConfig(receiver.url))).toMatchObject({ status: 200, body: null })
  })

  it('an empty body is no broken encoding', async () => {
    const receiver = await receiving({ headers: { 'content-encoding': 'gzip', 'content-length': '0' } })
    expect(await send(aConfig(receiver.url))).toMatchObject({ body: null })
  })

  it('FIELD-REPORT 7: NUL and invalid UTF-8 become storable', async () => {
    const receiver = await receiving({ body: Buffer.from([0x61, 0x00, 0xff, 0xed, 0xa0, 0x80, 0x62]) })
    const { body } = await send(aConfig(receiver.url))
    expect(body).toMatch(/^a\ufffd+b$/)
  })

  it('is read in its charset, and never ends in half a character', async () => {
    const receiver = await receiving({
      body: Buffer.from('é', 'latin1'),
      headers: { 'content-type': 'text/plain; charset=iso-8859-1' },
    })
    expect(await send(aConfig(receiver.url))).toMatchObject({ body: 'é' })
    receiver.reply({ body: 'aé', headers: { 'content-type': 'text/plain; charset=nonsense' } })
    expect(await send(aConfig(receiver.url, { max_response_bytes: 2 }))).toMatchObject({ body: 'a' })
    expect(await send(aConfig(receiver.url, { max_response_bytes: 0 }))).toMatchObject({ body: null })
  })
})

describe('connections', () => {
  it('are used again by the same tenant alone', async () => {
    const receiver = await receiving()
    const config = aConfig(receiver.url)
    await send(config)
    await send(config)
    await send(config, { tenant_id: 'other' })
    expect(receiver.requests.map(({ connection }) => connection)).toEqual([1, 1, 2])
  })

  it('that the receiver closed in the meantime are replaced inside the attempt', async () => {
    const receiver = await receiving({ headers: { connection: 'close' } })
    const config = aConfig(receiver.url)
    await send(config)
    await receiver.until(() => receiver.connections.open === 0)
    await send(config)
    expect(receiver.requests).toHaveLength(2)
  })

  it('that the receiver closed without a word are replaced too', async () => {
    const raw = 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'
    const receiver = await receiving({ raw, raw_then: 'end' })
    const config = aConfig(receiver.url)
    for (let times = 1; times <= 5; times++) {
      await send(config)
      await receiver.until(() => receiver.connections.open === 0)
    }
    expect(receiver.requests).toHaveLength(5)
  })

  it('are kept in bounded number', async () => {
    const receiver = await receiving({ after_ms: 300 })
    const egress = createEgress({ allow: ['127.0.0.0/8'] })
    const tenants = Array.from({ length: 110 }, (_, index) => `tenant-${index}`)
    await Promise.all(
      tenants.map((tenant_id) => rest.deliver(aConfig(receiver.url), aMessage({ tenant_id }), never, { egress })),
    )
    expect(receiver.connections.total).toBe(110)
    await receiver.until(() => receiver.connections.open === 100, 2_000)
  })

  it('one that dies under the request makes a failed attempt: nothing is sent twice by itself', async () => {
    const receiver = await receiving([{}, { drop: 'reset' }, {}])
    const config = aConfig(receiver.url)
    await send(config)
    expect(await failureOf(send(config))).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
    expect(receiver.requests).toHaveLength(2)
  })

  it('an idle one is closed', async () => {
    const receiver = await receiving({}, { keepAliveTimeout: 60_000 })
    await send(aConfig(receiver.url))
    await receiver.until(() => receiver.connections.open === 0, 8_000)
  })

  it('FIELD-REPORT 44: a rebinding name is checked at every connect', async () => {
    const receiver = await receiving({ headers: { connection: 'close' } })
    const answers = ['127.0.0.1', '169.254.169.254']
    const egress = createEgress({
      allow: ['127.0.0.0/8'],
      lookup: async () => [{ address: answers.shift()!, family: 4 }],
    })
    const config = aConfig(`http://rebind.example:${receiver.port}/`)
    expect(await rest.deliver(config, aMessage(), never, { egress })).toMatchObject({ status: 200 })
    await receiver.until(() => receiver.connections.open === 0)
    expect(await failureOf(rest.deliver(config, aMessage(), never, { egress }))).toMatchObject({
      code: 'EGRESS_DENIED',
    })
    expect(answers).toEqual([])
  })

  it('FIELD-REPORT 44: public first, metadata next: the request never leaves', async () => {
    const asked: string[] = []
    const answers = [['169.254.169.254'], ['::ffff:169.254.169.254'], ['fd00:ec2::254'], ['64:ff9b::a9fe:a9fe']]
    const egress = createEgress({
      allow: [],
      lookup: async (host) => {
        asked.push(host)
        return answers.shift()!.map((address) => ({ address, family: net.isIP(address) }))
      },
    })
    for (let times = 0; times < 4; times++) {
      const attempt = rest.deliver(aConfig('https://rebind.example/'), aMessage(), never, { egress })
      expect(await failureOf(attempt)).toMatchObject({ code: 'EGRESS_DENIED', retryable: false })
    }
    expect(asked).toHaveLength(4)
  })
})

describe('a probe', () => {
  it.each([200, 204, 302, 404, 405, 429])('%i is healthy', async (status) => {
    const receiver = await receiving({ status })
    await rest.probe(aConfig(`${receiver.url}/a/{payload.id}/b?x={tenant_id}`), never, surroundings)
    expect(receiver.requests[0]).toMatchObject({ method: 'HEAD', path: '/a/' })
  })

  it.each([
    [401, 'UNAUTHORIZED'],
    [403, 'UNAUTHORIZED'],
    [500, 'DESTINATION_UNAVAILABLE'],
  ])('%i is not: %s', async (status, code) => {
    const receiver = await receiving({ status })
    expect(await failureOf(rest.probe(aConfig(receiver.url), never, surroundings))).toMatchObject({ code })
  })
})
