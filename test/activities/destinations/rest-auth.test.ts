import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { Webhook } from 'standardwebhooks'
import { describe, expect, it } from 'vitest'
import { certificate, type Reply } from '../../support/receivers/http.ts'
import { aMessage, failureOf, SECRET } from './contract.ts'
import { aConfig, receiving, send, sent } from './sending.ts'

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

  it('two tenants with the same client share no token', async () => {
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

  it('the token endpoint goes through the egress guard too', async () => {
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
  ])('%s is DESTINATION_UNAVAILABLE, tried again, and nothing is sent', async (_case, options) => {
    const receiver = await receiving({}, { tls: true })
    const error = await failureOf(send(aConfig(receiver.url, { tls: options })))
    expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
    expect(error.message).toMatch(/secure connection/)
    expect(receiver.requests).toEqual([])
  })

  it('a receiver that speaks no TLS', async () => {
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
