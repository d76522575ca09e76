// Answers before the answer (1xx), asked for or not: one request, and the status of the final answer counts.
import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import tls from 'node:tls'
import { afterEach, describe, expect, it } from 'vitest'
import { rest } from '../../../activities/destinations/rest/index.ts'
import { type S3Config, s3Config } from '../../../activities/destinations/s3/config.ts'
import { s3 } from '../../../activities/destinations/s3/index.ts'
import { LIMITS } from '../../../db/limits.ts'
import { certificate } from '../../support/receivers/http.ts'
import { aMessage, failureOf, never, SECRET, surroundings } from './contract.ts'
import { aConfig, send } from './sending.ts'

const servers: net.Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) server.close()
})

interface Raw {
  url: string
  requests: number
  connections: number
}

type Answer = (socket: net.Socket, request: string) => Promise<void> | void

/** Answers each request, once its body has come, by hand. */
async function answering(answer: Answer, { secure = false, unread = false } = {}): Promise<Raw> {
  const raw: Raw = { url: '', requests: 0, connections: 0 }
  const onSocket = (socket: net.Socket) => {
    raw.connections += 1
    let got = ''
    socket.on('error', () => {})
    socket.on('data', async (chunk) => {
      got += chunk.toString('latin1')
      for (;;) {
        const head = got.indexOf('\r\n\r\n')
        if (head < 0) return
        const length = Number(/content-length: (\d+)/i.exec(got)?.[1] ?? 0)
        if (!unread && got.length < head + 4 + length) return
        const request = got.slice(0, head)
        got = unread ? '' : got.slice(head + 4 + length)
        raw.requests += 1
        await answer(socket, request)
      }
    })
  }
  const server = secure
    ? tls.createServer({ key: certificate('server.key'), cert: certificate('server.pem') }, onSocket)
    : net.createServer(onSocket)
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  raw.url = `${secure ? 'https' : 'http'}://127.0.0.1:${(server.address() as net.AddressInfo).port}`
  return raw
}

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n'
const HINTS = 'HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nX: \t y\r\n\r\n'
const PROCESSING = 'HTTP/1.1 102 Processing\r\nConnection: close\r\n\r\n'

const kinds: [string, string][] = [
  ['a 100', CONTINUE],
  ['a 100 with headers', 'HTTP/1.1 100 Continue\r\nServer: x\r\nDate: y\r\n\r\n'],
  ['a 100 of HTTP/1.0', 'HTTP/1.0 100 Continue\r\n\r\n'],
  ['a 100 without a phrase', 'HTTP/1.1 100\r\n\r\n'],
  ['a 100 with bare line feeds', 'HTTP/1.1 100 Continue\nServer: x\n\n'],
  ['a 102', PROCESSING],
  ['a 103', HINTS],
  ['a 199', 'HTTP/1.1 199 Odd\r\n\r\n'],
  ['line ends around a 100', `\r\n${CONTINUE}\r\n\n${CONTINUE}\r\n`],
  ['several', CONTINUE + CONTINUE + PROCESSING + HINTS + CONTINUE],
]

describe.each([false, true])('interim answers, over TLS: %s', (secure) => {
  const config = (raw: Raw) => aConfig(`${raw.url}/in`, secure ? { tls: { ca: certificate('ca.pem') } } : {})

  it.each(kinds)('%s is skipped, and the final answer counts', async (_, interim) => {
    const raw = await answering((socket) => void socket.write(interim + OK), { secure })
    expect(await send(config(raw))).toMatchObject({ status: 200, body: 'ok' })
    expect(raw.requests).toBe(1)
  })

  it.each(kinds)('%s is skipped, however it is cut into pieces', async (_, interim) => {
    const raw = await answering(
      async (socket) => {
        socket.setNoDelay(true)
        for (const byte of interim + OK) {
          socket.write(byte)
          await sleep(0)
        }
      },
      { secure },
    )
    expect(await send(config(raw))).toMatchObject({ status: 200, body: 'ok' })
    expect(raw.requests).toBe(1)
  })
})

describe('after an interim answer', () => {
  it('a refusal is a refusal, with its own headers', async () => {
    const raw = await answering(
      (socket) => void socket.write(`${HINTS}HTTP/1.1 503 No\r\nRetry-After: 7\r\nContent-Length: 3\r\n\r\nwhy`),
    )
    expect(await failureOf(send(aConfig(raw.url)))).toMatchObject({
      code: 'DESTINATION_UNAVAILABLE',
      retryAfterMs: 7000,
      response: { status: 503, body: 'why' },
    })
  })

  it('the connection is used again, also by one that has none', async () => {
    const raw = await answering((socket) => void socket.write((raw.requests % 2 === 1 ? CONTINUE : '') + OK))
    for (let count = 0; count < 4; count++) await send(aConfig(raw.url))
    expect(raw).toMatchObject({ requests: 4, connections: 1 })
  })

  it('a body that looks like one is left as it is', async () => {
    const body = `${CONTINUE}HTTP/1.1 101 x\r\n\r\n`
    const raw = await answering(
      (socket) => void socket.write(`${CONTINUE}HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`),
    )
    expect(await send(aConfig(raw.url))).toMatchObject({ body })
  })

  it('an end of the connection is a failure, and no answer', async () => {
    for (const cut of [
      CONTINUE,
      'HTTP/1.1 10',
      'HTTP/1.1 100 Con',
      `${HINTS}HTTP/1.1 2`,
      `${CONTINUE}HTTP/1.1 200 OK\r\n`,
    ]) {
      const raw = await answering((socket) => void socket.end(cut))
      expect(await failureOf(send(aConfig(raw.url)))).toMatchObject({ code: 'DESTINATION_UNAVAILABLE' })
      expect(raw.requests).toBe(1)
    }
  })

  it('silence is a timeout', async () => {
    const raw = await answering((socket) => void socket.write(CONTINUE))
    expect(await failureOf(send(aConfig(raw.url, { timeout_seconds: 0.3 })))).toMatchObject({ code: 'TIMEOUT' })
  })
})

describe('never a success', () => {
  const SWITCH = 'HTTP/1.1 101 Switching Protocols\r\n'

  it.each([
    ['with its headers', `${SWITCH}Connection: upgrade\r\nUpgrade: x\r\n\r\n`],
    ['without them', `${SWITCH}\r\n`],
    ['behind a 100', `${CONTINUE}${SWITCH}\r\n`],
    ['before a 200', `${SWITCH}\r\n${OK}`],
  ])('a switch of protocols that nobody asked for, %s', async (_, bytes) => {
    const raw = await answering((socket) => void socket.write(bytes))
    expect(await failureOf(send(aConfig(raw.url)))).toMatchObject({
      code: 'DESTINATION_UNAVAILABLE',
      message: expect.stringContaining('101'),
    })
    expect(raw.requests).toBe(1)
  })

  it.each([
    ['of many', '', CONTINUE.repeat(20)],
    ['of one', 'HTTP/1.1 103 Early Hints\r\n', `X: ${'y'.repeat(2000)}\r\n`],
    ['of line ends', '', '\r\n'.repeat(200)],
  ])('an endless stream %s, which ends long before the deadline', async (_, first, more) => {
    const raw = await answering(async (socket) => {
      socket.write(first)
      while (!socket.destroyed) {
        socket.write(more)
        await sleep(1)
      }
    })
    const began = performance.now()
    expect(await failureOf(send(aConfig(raw.url, { timeout_seconds: 30 })))).toMatchObject({
      code: 'DESTINATION_UNAVAILABLE',
      message: expect.stringContaining('keeps sending'),
    })
    expect(performance.now() - began).toBeLessThan(15_000)
  })
})

describe('the size of an interim head', () => {
  const LIMIT = LIMITS.interimBytes.value
  const head = (size: number) => `HTTP/1.1 103 Early Hints\r\nX: ${'y'.repeat(size - 33)}\r\n\r\n`

  it.each([
    ['at once', 50_000],
    ['in two pieces', 1000],
  ])('is limited also when its end comes %s', async (_, cut) => {
    for (const [size, isTaken] of [
      [LIMIT, true],
      [LIMIT + 1, false],
      [40_000, false],
    ] as const) {
      const early = head(size)
      expect(early).toHaveLength(size)
      const raw = await answering(async (socket) => {
        socket.setNoDelay(true).write(early.slice(0, -cut))
        await sleep(20)
        socket.write(early.slice(-cut) + OK)
      })
      const sent = send(aConfig(raw.url))
      if (isTaken) expect(await sent).toMatchObject({ status: 200, body: 'ok' })
      else {
        expect(await failureOf(sent)).toMatchObject({
          code: 'DESTINATION_UNAVAILABLE',
          message: expect.stringContaining('keeps sending'),
        })
      }
    }
  })
})

describe('interim answers to others than a delivery', () => {
  it('a probe', async () => {
    const raw = await answering((socket) => void socket.write(`${CONTINUE}${HINTS}HTTP/1.1 204 No\r\n\r\n`))
    await rest.probe(aConfig(raw.url), never, surroundings)
    expect(raw.requests).toBe(1)
  })

  it('a request for a token', async () => {
    const token = '{"access_token": "t-12345678"}'
    const tokens = await answering(
      (socket) => void socket.write(`${CONTINUE}HTTP/1.1 200 OK\r\nContent-Length: ${token.length}\r\n\r\n${token}`),
    )
    const raw = await answering((socket) => void socket.write(CONTINUE + OK))
    const auth = { type: 'oauth2', token_url: tokens.url, client_id: 'c', client_secret: 's' }
    expect(await send(aConfig(raw.url, { auth }))).toMatchObject({ status: 200 })
    expect([tokens.requests, raw.requests]).toEqual([1, 1])
  })

  const stored = 'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'
  const s3To = (raw: Raw) =>
    s3Config.parse({
      endpoint: raw.url,
      bucket: 'bucket',
      key: 'k',
      access_key_id: 'owner',
      secret_access_key: SECRET,
      timeout_seconds: 5,
    }) as S3Config

  it.each(kinds)('S3, small: %s', async (_, interim) => {
    const raw = await answering((socket) => void socket.write(interim + stored))
    expect(await s3.deliver(s3To(raw), aMessage(), never, surroundings)).toMatchObject({ status: 200 })
    expect(raw.requests).toBe(1)
  })

  it('S3, large, which asks for a 100 and gets several', async () => {
    const raw = await answering(
      async (socket, request) => {
        expect(request).toMatch(/expect: 100-continue/i)
        socket.removeAllListeners('data')
        let size = 0
        socket.write(HINTS + CONTINUE)
        socket.on('data', (chunk) => {
          if (size === 0) socket.write(CONTINUE)
          size += chunk.length
          if (size >= 2_000_000) socket.write(CONTINUE + stored)
        })
      },
      { unread: true },
    )
    const body = Buffer.alloc(2_000_000, 'a')
    expect(await s3.deliver(s3To(raw), aMessage({ body }), never, surroundings)).toMatchObject({ status: 200 })
    expect(raw.requests).toBe(1)
  })

  it('S3, an endless stream and a switch of protocols', async () => {
    const endless = await answering(async (socket) => {
      while (!socket.destroyed) {
        socket.write(CONTINUE.repeat(20))
        await sleep(1)
      }
    })
    expect(await failureOf(s3.deliver(s3To(endless), aMessage(), never, surroundings))).toMatchObject({
      code: 'DESTINATION_UNAVAILABLE',
      message: expect.stringContaining('keeps sending'),
    })
    const switched = await answering(
      (socket) => void socket.write('HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'),
    )
    expect(await failureOf(s3.deliver(s3To(switched), aMessage(), never, surroundings))).toMatchObject({
      code: 'DESTINATION_UNAVAILABLE',
      message: expect.stringContaining('101'),
    })
  })
})
