// Bodies while they arrive: what one process holds of them, and for how long.
import { execFileSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { createBodiesUnderWay } from '../../api/http/bodies-under-way.ts'
import { type Listening, listen } from '../../api/http/listen.ts'
import { type ApiUnderTest, aSubmission, startApi } from './api-under-test.ts'

const MAX_BODY = 1_000_000
let api: ApiUnderTest
let listening: Listening
const sockets: Socket[] = []
beforeAll(async () => {
  api = await startApi({ max_body_bytes: MAX_BODY, upload: { whole_ms: 2000, window_ms: 700 } })
  listening = await listen(api.fetch, '127.0.0.1', 0)
})
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy()
})
afterAll(async () => {
  await listening.close()
  await api.close()
})

interface Upload {
  socket: Socket
  /** The status line, once there is one. */
  status: Promise<string>
}

/** Sends the head of a submission, and what else is given, and leaves it there. */
function begin(key: string, headers: string[], body: Uint8Array = Buffer.alloc(0)): Upload {
  const socket = connect(Number(new URL(listening.url).port), '127.0.0.1')
  sockets.push(socket)
  const head = [
    'POST /api/v1/distribution/submit HTTP/1.1',
    'Host: x',
    `X-API-Key: ${key}`,
    'Content-Type: application/json',
  ]
  socket.write([...head, ...headers, '', ''].join('\r\n'))
  socket.write(body)
  const status = new Promise<string>((resolve, reject) => {
    socket.once('data', (data) => resolve(String(data).split('\r\n')[0]!))
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('closed without an answer')))
  })
  status.catch(() => {})
  return { socket, status }
}

const announcing = (key: string, bytes = MAX_BODY) =>
  begin(key, [`Content-Length: ${bytes}`], Buffer.alloc(bytes / 2, 0x20))
const settled = (upload: Upload) => Promise.race([upload.status, sleep(300).then(() => 'reading')])

/** Keeps all threads that inflate busy until it is called off: each opens a pipe that nobody writes to. */
async function occupyThreads(): Promise<() => void> {
  const folder = mkdtempSync(join(tmpdir(), 'threads-'))
  const pipe = join(folder, 'pipe')
  execFileSync('mkfifo', [pipe])
  const threads = Number(process.env.UV_THREADPOOL_SIZE ?? 4)
  const opened = Array.from({ length: threads }, () => open(pipe, 'r'))
  await sleep(50)
  let occupied = true
  return () => {
    if (!occupied) return
    occupied = false
    const writer = openSync(pipe, 'w')
    Promise.all(opened.map(async (file) => (await file).close())).finally(() => {
      closeSync(writer)
      rmSync(folder, { recursive: true })
    })
  }
}

describe('unfinished uploads', () => {
  it('of one key are limited, others continue, and their slots are free again once they end', async () => {
    const { operator, admin } = api.keys.acme
    const held = Array.from({ length: 6 }, () => announcing(operator))
    expect(await Promise.all(held.map(settled))).toEqual(Array(6).fill('reading'))
    const refused = await api.call('POST', '/distribution/submit', ' '.repeat(MAX_BODY), {
      headers: { 'Content-Length': String(MAX_BODY) },
    })
    expect(refused.status).toBe(429)
    expect(refused.body).toMatchObject({ error: 'RATE_LIMIT_EXCEEDED', retry_after_seconds: 2 })
    expect(refused.headers.get('retry-after')).toBe('2')
    // Small ones of the same key, and those of other keys and tenants, are served meanwhile.
    expect((await api.call('POST', '/distribution/submit', aSubmission())).status).toBe(202)
    expect(await settled(announcing(admin))).toBe('reading')
    expect(await settled(announcing(api.keys.other.operator))).toBe('reading')
    for (const { socket } of held) socket.destroy()
    await vi.waitFor(async () => expect(await settled(announcing(operator))).toBe('reading'), { timeout: 5000 })
  })

  it('with gzip count by the bytes after decompression', async () => {
    const { operator } = api.keys.other
    const packed = gzipSync(`{"payload":"${'x'.repeat(900_000)}`)
    const zipped = () => begin(operator, ['Content-Length: 100000', 'Content-Encoding: gzip'], packed)
    const held = Array.from({ length: 6 }, zipped)
    expect(await Promise.all(held.map(settled))).toEqual(Array(6).fill('reading'))
    await vi.waitFor(async () => expect(await settled(announcing(operator))).toContain('429'), { timeout: 3000 })
  })

  it('that stop, or go on too slowly, are refused with 408', async () => {
    const { operator } = api.keys.acme
    const stopped = announcing(operator)
    const slow = announcing(operator)
    const drip = setInterval(() => slow.socket.write(' '), 50)
    const steady = announcing(operator)
    const flow = setInterval(() => steady.socket.write(Buffer.alloc(10_000, 0x20)), 50)
    expect(await stopped.status).toContain('408')
    expect(await slow.status).toContain('408')
    clearInterval(drip)
    // Fast enough in each window, and yet not there in time.
    const within = await Promise.race([steady.status, sleep(100).then(() => 'reading')])
    clearInterval(flow)
    expect(within).toBe('reading')
    expect(await steady.status).toContain('408')
  })

  it('that have arrived are not refused with 408 for the time that the service takes to inflate them', async () => {
    const body = gzipSync(JSON.stringify(aSubmission({ payload: 'x'.repeat(500_000) })))
    const headers = [`Content-Length: ${body.length}`, 'Content-Encoding: gzip']
    const release = await occupyThreads()
    try {
      const upload = begin(api.keys.acme.operator, headers, body)
      const meanwhile = await Promise.race([upload.status, sleep(2500).then(() => 'inflating')])
      expect(meanwhile).toBe('inflating')
      release()
      expect(await upload.status).toContain('202')
    } finally {
      release()
    }
  })

  it('without a valid key hold nothing: they are refused before anything is read', async () => {
    const unknown = Array.from({ length: 20 }, () => announcing('no such key'))
    const answers = await Promise.all(unknown.map(({ status }) => status))
    expect(new Set(answers)).toEqual(new Set(['HTTP/1.1 401 Unauthorized']))
    expect(await settled(announcing(api.keys.acme.operator))).toBe('reading')
  })
})

describe('bodies under way', () => {
  const caller = (tenant_id: string, key = 'k') => ({ tenant_id, role: 'operator' as const, actor: `api_key:${key}` })
  const large = 1_000_000

  it('are limited per key, per tenant and in total, and two tenants cannot use all', () => {
    const bodies = createBodiesUnderWay(large)
    const take = (tenant: string, key: string) => bodies.begin(caller(tenant, key), large)
    const own = Array.from({ length: 6 }, () => take('a', 'one'))
    expect(() => take('a', 'one')).toThrow(expect.objectContaining({ code: 'RATE_LIMIT_EXCEEDED' }))
    own.push(take('a', 'two'), take('a', 'two'))
    expect(() => take('a', 'three')).toThrow(/of this tenant/)
    for (const tenant of ['b', 'c']) for (let n = 0; n < 8; n++) own.push(take(tenant, `${n % 2}`))
    expect(() => take('d', 'one')).toThrow(
      expect.objectContaining({ code: 'SERVICE_UNAVAILABLE', retryAfterSeconds: 2 }),
    )
    // Small ones find room.
    bodies.begin(caller('d'), 1000).end()
    own[0]!.end()
    own[0]!.end()
    take('d', 'one')
    expect(() => take('d', 'one')).toThrow(/in progress/)
  })

  it('that grow are limited too, and release everything that was counted', () => {
    const bodies = createBodiesUnderWay(large)
    const growing = bodies.begin(caller('a'), 0)
    for (let n = 0; n < 6; n++) growing.add(large)
    for (let n = 0; n < 100; n++) expect(() => growing.add(large)).toThrow(/of this API key/)
    growing.end()
    for (let n = 0; n < 6; n++) bodies.begin(caller('a'), large)
  })
})

describe('idle connections', () => {
  it('are closed: before a request, and between two', async () => {
    const quick = await listen(api.fetch, '127.0.0.1', 0, { idle_ms: 300, headers_ms: 600, check_ms: 100 })
    try {
      const open = () => {
        const socket = connect(Number(new URL(quick.url).port), '127.0.0.1')
        sockets.push(socket)
        socket.on('data', () => {})
        return { socket, closed: new Promise((resolve) => socket.once('close', () => resolve('closed'))) }
      }
      const silent = open()
      const half = open()
      half.socket.write('GET /health/live HTTP/1.1\r\nHost:')
      const done = open()
      done.socket.write('GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n')
      for (const { closed } of [silent, half, done]) {
        expect(await Promise.race([closed, sleep(10_000).then(() => 'open')])).toBe('closed')
      }
    } finally {
      await quick.close()
    }
  })
})
