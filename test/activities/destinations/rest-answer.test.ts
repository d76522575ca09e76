import { type AddressInfo, createServer } from 'node:net'
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { failureOf } from './contract.ts'
import { aConfig, receiving, send } from './sending.ts'

describe('a body that is not whole', () => {
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

  it('a body without end is cut, and the status decides', async () => {
    const receiver = await receiving({ endless: true, body: 'x'.repeat(65_536) })
    const receipt = await send(aConfig(receiver.url))
    expect(receipt).toMatchObject({ status: 200, body: 'x'.repeat(64 * 1024) })
    await receiver.until(() => receiver.connections.open === 0)
  })

  it.each([
    ['a body that ends with its connection', 'HTTP/1.1 200 OK\r\n\r\n', 'x'.repeat(4_000_000)],
    ['HTTP/1.0', 'HTTP/1.0 200 OK\r\n\r\n', 'x'.repeat(4_000_000)],
    [
      'chunks, with Connection: close',
      'HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n',
      '1\r\nx\r\n'.repeat(800_000),
    ],
  ])('%s, far beyond what is read, is cut and breaks nothing', async (_case, head, body) => {
    const broken: unknown[] = []
    const note = (error: unknown) => broken.push(error)
    process.prependListener('uncaughtException', note)
    // Head and body one after the other: the client pauses in another place than for both at once.
    const server = createServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', () => {
        socket.write(head)
        socket.write(body)
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const closed = new Promise((resolve) => server.once('connection', (socket) => socket.once('close', resolve)))
    try {
      const { port } = server.address() as AddressInfo
      expect(await send(aConfig(`http://127.0.0.1:${port}`))).toMatchObject({ status: 200 })
      await closed
      expect(broken).toEqual([])
    } finally {
      process.off('uncaughtException', note)
      server.close()
    }
  })

  const unreadable: [string, Buffer, string][] = [
    ['gzip', gzipSync(text).subarray(0, -5), 'its gzip ends too early'],
    ['gzip', gzipSync(text).subarray(0, 3), 'its gzip ends too early'],
    ['x-gzip', gzipSync(text).subarray(0, -1), 'its x-gzip ends too early'],
    ['gzip', Buffer.from('no gzip at all'), 'its gzip is broken'],
    ['gzip', changed(gzipSync(text)), 'its gzip is broken'],
    ['br', brotliCompressSync(text).subarray(0, 10), 'its br ends too early'],
    ['br', Buffer.from('no brotli at all'), 'its br is broken'],
    ['deflate', deflateSync(text).subarray(0, 10), 'its deflate ends too early'],
    ['deflate', changed(deflateSync(text), -1), 'its deflate is broken'],
    ['deflate', deflateRawSync(text).subarray(0, 10), 'its deflate ends too early'],
    ['gzip, br', brotliCompressSync(gzipSync(text).subarray(0, -5)), 'its gzip ends too early'],
    ['gzip, br', gzipSync(brotliCompressSync(text)), 'its br is broken'],
    ['zstd', Buffer.from('abc'), 'its content coding "zstd" is not known'],
    ['x'.repeat(100), Buffer.from('abc'), `its content coding "${'x'.repeat(40)}" is not known`],
    ['gzip, gzip, gzip', Buffer.from('abc'), 'it has 3 content codings, one inside the other'],
  ]

  it.each(unreadable)(
    'of a body that came whole and can not be read (%s) the status counts, and the attempt says so',
    async (encoding, body, why) => {
      const receiver = await receiving({ body, headers: { 'content-encoding': encoding } })
      const metadata = { response_unreadable: why }
      expect(await send(aConfig(receiver.url))).toEqual({ status: 200, body: null, metadata })
      // Its end is that of the connection.
      receiver.reply({ raw: Buffer.concat([head(200, encoding), body]), raw_then: 'end' })
      expect(await send(aConfig(receiver.url))).toEqual({ status: 200, body: null, metadata })
      receiver.reply({ status: 404, body, headers: { 'content-encoding': encoding } })
      expect(await failureOf(send(aConfig(receiver.url)))).toMatchObject({
        code: 'REJECTED',
        message: `the destination answered 404 with a body that cannot be decoded: ${why}`,
        response: { status: 404, body: null },
      })
      expect(receiver.requests).toHaveLength(3)
    },
  )

  it.each(['gzip', 'deflate', 'br'])(
    'of a body (%s) that the connection cut off the attempt has failed, as without a coding',
    async (encoding) => {
      const compress = { gzip: gzipSync, deflate: deflateSync, br: brotliCompressSync }[encoding]!
      const body = compress(text).subarray(0, -1)
      const more = `Content-Length: ${body.length + 1}\r\n`
      const receiver = await receiving({ raw: Buffer.concat([head(200, encoding, more), body]), raw_then: 'end' })
      const failed = { code: 'DESTINATION_UNAVAILABLE', retryable: true, response: { status: 200 } }
      expect(await failureOf(send(aConfig(receiver.url)))).toMatchObject(failed)
      receiver.reply({ raw: Buffer.concat([head(200, encoding), body]), raw_then: 'reset' })
      expect(await failureOf(send(aConfig(receiver.url)))).toMatchObject(failed)
    },
  )

  it('what follows a whole gzip is left out', async () => {
    const body = Buffer.concat([gzipSync(text), Buffer.from('\0\0and more')])
    const receiver = await receiving({ body, headers: { 'content-encoding': 'GZIP' } })
    expect(await send(aConfig(receiver.url))).toEqual({ status: 200, body: text })
  })

  it('a body that the configuration does not keep is not mentioned', async () => {
    const receiver = await receiving({ body: 'no gzip', headers: { 'content-encoding': 'gzip' } })
    expect(await send(aConfig(receiver.url, { max_response_bytes: 0 }))).toEqual({ status: 200, body: null })
  })

  it('a token in a body that can not be read is none, and is asked for again', async () => {
    const tokens = await receiving({ body: 'no gzip', headers: { 'content-encoding': 'gzip' } })
    const receiver = await receiving()
    const auth = { type: 'oauth2', token_url: tokens.url, client_id: 'c', client_secret: 's' }
    expect(await failureOf(send(aConfig(receiver.url, { auth })))).toMatchObject({
      code: 'DESTINATION_UNAVAILABLE',
      retryable: true,
      message: 'the token endpoint: the body of its response cannot be decoded: its gzip is broken',
    })
    expect(receiver.requests).toHaveLength(0)
  })

  it('an empty body is no broken encoding', async () => {
    const receiver = await receiving({ headers: { 'content-encoding': 'gzip', 'content-length': '0' } })
    expect(await send(aConfig(receiver.url))).toMatchObject({ body: null })
  })

  it('NUL and invalid UTF-8 become storable', async () => {
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

/** One byte is another, in the middle unless said otherwise. */
function changed(bytes: Buffer, at = Math.floor(bytes.length / 2)): Buffer {
  const copy = Buffer.from(bytes)
  copy[at < 0 ? bytes.length + at : at]! ^= 0x55
  return copy
}

function head(status: number, encoding: string, more = 'Connection: close\r\n'): Buffer {
  return Buffer.from(`HTTP/1.1 ${status} OK\r\nContent-Encoding: ${encoding}\r\n${more}\r\n`)
}
