import { randomUUID } from 'node:crypto'
import net from 'node:net'
import { gunzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { createEgress } from '../../../activities/destinations/network/egress.ts'
import { rest } from '../../../activities/destinations/rest/index.ts'
import { type ReceivedRequest, type Reply, startHttpReceiver } from '../../support/receivers/http.ts'
import { type At, aMessage, contract, failureOf, never, SECRET, surroundings, WRONG } from './contract.ts'
import { aConfig, receiving, send, sent } from './sending.ts'

await contract({
  destination: rest,
  programs: [],
  repeat: 'recognisable',
  unchecked: true,
  tls: 'first',
  start: async () => {
    const script = (request: ReceivedRequest): Reply => {
      if (request.path.endsWith('/refused')) return { status: 422, body: `you sent ${SECRET}` }
      if (request.headers.authorization !== `Bearer ${SECRET}`)
        return { status: 401, body: JSON.stringify(request.headers) }
      return { body: JSON.stringify(request.headers) }
    }
    let receiver = await startHttpReceiver({ script })
    const earlier: ReceivedRequest[] = []
    const { port } = receiver
    return {
      port,
      async place() {
        const path = `/${randomUUID()}`
        const config = (at: At, given: Record<string, unknown> = {}) =>
          aConfig(`${given.scheme ?? 'http'}://${at.host}:${at.port}${given.path ?? path}`, {
            tls: given.tls,
            auth: given.auth ?? { type: 'bearer', token: given.token ?? SECRET },
            timeout_seconds: at.timeout_seconds,
          })
        return {
          config,
          secured: (at, tls) => config(at, { scheme: 'https', tls }),
          others: (at) => [
            config(at, {
              auth: {
                type: 'oauth2',
                token_url: `http://${at.host}:${at.port}/token`,
                client_id: 'distributor',
                client_secret: SECRET,
              },
            }),
          ],
          locked: (at) => config(at, { token: WRONG }),
          refused: (at) => config(at, { path: `${path}/refused` }),
          arrived: async () =>
            [...earlier, ...receiver.requests]
              .filter((request) => request.path === path && request.method === 'POST')
              .filter(({ headers }) => headers.authorization === `Bearer ${SECRET}`)
              .map(({ body, headers }) => ({ body, delivery_id: String(headers['idempotency-key']) })),
        }
      },
      async restart() {
        earlier.push(...receiver.requests)
        await receiver.close()
        receiver = await startHttpReceiver({ script, port })
      },
      close: () => receiver.close(),
    }
  },
})

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

  it('NUL and lone surrogates in what fills a header still end as an attempt', async () => {
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

  it('a rebinding name is checked at every connect', async () => {
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

  it('public first, metadata next: the request never leaves', async () => {
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
    [410, 'REJECTED'],
    [500, 'DESTINATION_UNAVAILABLE'],
  ])('%i is not: %s', async (status, code) => {
    const receiver = await receiving({ status })
    expect(await failureOf(rest.probe(aConfig(receiver.url), never, surroundings))).toMatchObject({ code })
  })

  it('says of a 410 that the receiver is permanently gone', async () => {
    const receiver = await receiving({ status: 410 })
    const { message } = await failureOf(rest.probe(aConfig(receiver.url), never, surroundings))
    expect(message).toBe('the destination answered 410: it is permanently gone')
  })
})
