// What a receiver echoes reaches no row and no log line: through the whole of a destination, in answers and in errors.
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { z } from 'zod'
import { defineDestination } from '../../../activities/destinations/destination.ts'
import { DeliveryError } from '../../../activities/destinations/errors.ts'
import { rest } from '../../../activities/destinations/rest/index.ts'
import { configuration, type Resolved, secret } from '../../../activities/destinations/secrets/secret.ts'
import { aMessage, failureOf, never, surroundings } from './contract.ts'

const TOKEN = 'abc/DEF+0123456789=='
const php = (text: string) => JSON.stringify(text).replaceAll('/', '\\/')
let server: Server
let answer: (request: IncomingMessage) => { status: number; type?: string; body: string | Buffer }
const base = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}`

beforeAll(async () => {
  server = createServer((request, response) => {
    request.resume()
    const { status, type = 'application/json', body } = answer(request)
    response.writeHead(status, { 'content-type': type }).end(body)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
})
afterAll(() => void server.close())

type RestConfig = Resolved<z.output<typeof rest.config>>
const deliver = (more: Record<string, unknown>) =>
  rest.deliver(rest.config.parse({ endpoint: base(), ...more }) as RestConfig, aMessage(), never, surroundings)
const echo = (request: IncomingMessage) => `{"error":"bad token","got":${php(String(request.headers.authorization))}}`

describe('a receiver that echoes', () => {
  it('a bearer token in JSON of PHP', async () => {
    answer = (request) => ({ status: 401, body: echo(request) })
    const error = await failureOf(deliver({ auth: { type: 'bearer', token: TOKEN } }))
    expect(error).toMatchObject({ code: 'UNAUTHORIZED', retryable: false })
    expect(error.response?.body).toBe('{"error":"bad token","got":"Bearer ***"}')
  })

  it('a token in a success', async () => {
    answer = (request) => ({ status: 200, body: echo(request) })
    const receipt = await deliver({ auth: { type: 'bearer', token: TOKEN } })
    expect(receipt.body).toBe('{"error":"bad token","got":"Bearer ***"}')
  })

  it('user and password, also a short one', async () => {
    answer = (request) => ({ status: 403, body: echo(request) })
    for (const password of ['hunter22', 'pw']) {
      const { response } = await failureOf(deliver({ auth: { type: 'basic', username: 'reporter', password } }))
      expect(response?.body).toBe('{"error":"bad token","got":"Basic ***"}')
    }
  })

  it('a key of the query', async () => {
    answer = ({ url }) => ({ status: 404, body: `no ${url}` })
    const auth = { type: 'api_key', in: 'query', name: 'key', api_key: TOKEN }
    expect((await failureOf(deliver({ auth }))).response?.body).toBe('no /?key=***%3D%3D')
  })

  it('secret headers, as UTF-16', async () => {
    answer = ({ headers }) => ({
      status: 500,
      type: 'text/plain; charset=utf-16le',
      body: Buffer.from(`got ${headers['x-secret']}`, 'utf16le'),
    })
    const { response } = await failureOf(deliver({ secret_headers: { 'X-Secret': TOKEN } }))
    expect(response?.body).toBe('got ***')
  })

  it('a token that the limit of the answer cuts', async () => {
    answer = () => ({ status: 500, body: `token ${TOKEN}` })
    for (let max = 7; max < 26; max++) {
      const { response } = await failureOf(deliver({ auth: { type: 'bearer', token: TOKEN }, max_response_bytes: max }))
      expect(response?.body).toMatch(/^token (.{1,4}|\*\*\*=*)$/)
    }
  })

  it('an access token, and the secret of a client', async () => {
    const access = 'acc-ess/TOKEN/0815/xyz'
    answer = (request) =>
      request.url === '/token'
        ? { status: 200, body: JSON.stringify({ access_token: access, expires_in: 60 }) }
        : {
            status: 500,
            body: `${echo(request)} ${encodeURIComponent(access)} ${Buffer.from(`c:${TOKEN}`).toString('base64')}`,
          }
    const auth = { type: 'oauth2', token_url: `${base()}/token`, client_id: 'c', client_secret: TOKEN }
    const { response } = await failureOf(deliver({ auth }))
    expect(response?.body).toBe('{"error":"bad token","got":"Bearer ***"} *** ***')
  })

  it('an access token to a probe', async () => {
    answer = (request) =>
      request.url === '/token' ? { status: 400, body: '{"error":"abc_def_client_secret"}' } : { status: 200, body: '' }
    const auth = {
      type: 'oauth2',
      token_url: `${base()}/token`,
      client_id: 'c',
      client_secret: 'abc_def_client_secret',
    }
    const config = rest.config.parse({ endpoint: base(), auth }) as RestConfig
    expect((await failureOf(rest.probe(config, never, surroundings))).message).toBe(
      'the token endpoint answered 400 (***)',
    )
  })
})

describe('whatever a protocol throws', () => {
  const config = configuration({ token: secret() })
  const throwing = (thrown: () => unknown) =>
    defineDestination({
      protocol: 'REST',
      config,
      example: {},
      documentation: { delivered: '', repeat: '', again: '', final: '' },
      gzip: false,
      target: () => undefined,
      deadlineMs: () => 1000,
      deliver: async () => {
        throw thrown()
      },
      probe: async (_config, _signal, { conceal }) => {
        conceal('learnt-on-the-way')
        throw thrown()
      },
    })
  const given = { token: TOKEN } as Resolved<z.output<typeof config>>

  it('has no secret in message, answer, metadata, stack or causes, and stays what it was', async () => {
    const cause = Object.assign(new Error(`cannot read ${encodeURIComponent(TOKEN)}`), { code: TOKEN })
    const thrown = () =>
      new DeliveryError('THROTTLED', `no ${TOKEN} here`, {
        cause: new TypeError(`outer ${TOKEN}`, { cause }),
        response: { status: 429, body: php(TOKEN) },
        metadata: { list: [{ note: TOKEN }], number: 7 },
        progress: { at: 3 },
        retryAfterMs: 5,
        answered: true,
      })
    const error = await failureOf(throwing(thrown).deliver(given, aMessage(), never, surroundings))
    expect(error).toMatchObject({
      code: 'THROTTLED',
      message: 'no *** here',
      retryable: true,
      retryAfterMs: 5,
      answered: true,
      gone: false,
      response: { status: 429, body: '"***"' },
      metadata: { list: [{ note: '***' }], number: 7 },
      progress: { at: 3 },
    })
    expect(error.cause).toBeInstanceOf(TypeError)
    const seen = (at: unknown): string =>
      at instanceof Error ? `${at.message} ${at.stack} ${(at as { code?: unknown }).code} ${seen(at.cause)}` : ''
    expect(seen(error)).not.toMatch(/DEF|0123456/)
    expect(seen(error)).toContain('cannot read ***')
  })

  it('also of what the protocol learnt on its way; the reason of an abort stays the same', async () => {
    const reason = new Error('stop learnt-on-the-way')
    const failing = throwing(() => reason).probe(given, never, surroundings)
    await expect(failing).rejects.toBe(reason)
    expect(reason.message).toBe('stop ***')
  })
})
