// Reads the body of a request: never more than the limit in memory, before or after decompression, and not for longer than a
// normal sender needs.
import { createGunzip, type Gunzip } from 'node:zlib'
import type { HonoRequest } from 'hono'
import { LIMITS } from '../../db/limits.ts'
import type { HeldBody } from './bodies-under-way.ts'
import type { UploadTimes } from './context.ts'
import { ApiError, invalid } from './errors.ts'

export const MEDIA_TYPES = ['application/json', 'application/vnd.distributor.v1+json'] as const

/** Rejects a request whose Content-Length is too large, before anything else is done for it. */
export function refuseAnnouncedSize(request: HonoRequest, limit: number): void {
  if (announcedSize(request) > limit) throw tooLarge(limit)
}

/** The Content-Length; 0 if there is none. */
export function announcedSize(request: HonoRequest): number {
  return Number(request.header('content-length') ?? 0)
}

const TIMES: UploadTimes = {
  whole_ms: LIMITS.uploadTime.value * 1000,
  window_ms: LIMITS.uploadWindow.value * 1000,
}

/**
 * The decoded bytes of the body (after gunzip), at most `limit` of them. Empty when there is none.
 * Throws 413 beyond the limit, 400 for another media type or encoding, 408 if the sender is too slow.
 * @param held counts the bytes that the Content-Length did not announce
 */
export async function readBody(
  request: HonoRequest,
  limit: number,
  held: HeldBody,
  times: UploadTimes = TIMES,
): Promise<Buffer> {
  const stream = request.raw.body
  if (!stream) return Buffer.alloc(0)
  const upload = new Upload(stream, limit, times)
  try {
    const first = await upload.next()
    if (!first) return Buffer.alloc(0)
    checkMediaType(request.header('content-type'))
    const zipped = isZipped(request.header('content-encoding'))
    const counted = announcedSize(request) > 0
    if (!counted) held.add(first.length)
    if (zipped) return await inflate(first, upload, limit, held)
    const chunks = [first]
    for (let chunk = await upload.next(); chunk; chunk = await upload.next()) {
      if (!counted) held.add(chunk.length)
      chunks.push(chunk)
    }
    return chunks.length === 1 ? Buffer.from(first.buffer, first.byteOffset, first.length) : Buffer.concat(chunks)
  } finally {
    upload.stop()
  }
}

/** A body as it arrives. */
class Upload {
  private readonly reader: ReadableStreamDefaultReader<Uint8Array>
  private readonly limit: number
  private readonly watch: NodeJS.Timeout
  private readonly tooSlow: Promise<never>
  private size = 0
  /** Time spent waiting for the sender. The time of the service itself, such as for decompression, does not count. */
  private waited_ms = 0
  private waits_since: number | undefined

  constructor(stream: ReadableStream<Uint8Array>, limit: number, { whole_ms, window_ms }: UploadTimes) {
    this.reader = stream.getReader()
    this.limit = limit
    let before = { size: 0, waited_ms: 0 }
    let refuse = (_: ApiError) => {}
    this.tooSlow = new Promise<never>((_, reject) => {
      refuse = reject
    })
    this.tooSlow.catch(() => {})
    // Most bodies are complete long before the first check.
    this.watch = setInterval(() => {
      const now = { size: this.size, waited_ms: this.waitedSoFar() }
      const slow = now.size - before.size < LIMITS.uploadBytes.value && now.waited_ms - before.waited_ms > window_ms / 2
      if (slow || now.waited_ms > whole_ms) refuse(tooSlowly())
      before = now
    }, window_ms)
  }

  /** Undefined at the end. */
  async next(): Promise<Uint8Array | undefined> {
    this.waits_since = performance.now()
    const { done, value } = await Promise.race([this.reader.read().catch(refuseCutOff), this.tooSlow])
    this.waited_ms = this.waitedSoFar()
    this.waits_since = undefined
    if (done) return undefined
    this.size += value.length
    if (this.size > this.limit) throw tooLarge(this.limit)
    return value
  }

  private waitedSoFar(): number {
    return this.waited_ms + (this.waits_since === undefined ? 0 : performance.now() - this.waits_since)
  }

  /** Stops reading; a pending read ends. */
  stop(): void {
    clearInterval(this.watch)
    this.reader.cancel().catch(() => {})
  }
}

/** Decompresses piece by piece, so that a decompression bomb never takes more memory than the limit. */
async function inflate(first: Uint8Array, upload: Upload, limit: number, held: HeldBody): Promise<Buffer> {
  const gunzip = createGunzip({ chunkSize: 65_536 })
  const inflated: Buffer[] = []
  let size = 0
  const feeding = feed(gunzip, first, upload)
  feeding.catch((error) => gunzip.destroy(error as Error))
  try {
    for await (const chunk of gunzip as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > limit) throw tooLarge(limit)
      held.add(chunk.length)
      inflated.push(chunk)
    }
    return Buffer.concat(inflated)
  } catch (error) {
    throw error instanceof ApiError ? error : invalid([{ field: 'body', issue: 'is not valid gzip' }])
  } finally {
    gunzip.destroy()
  }
}

async function feed(gunzip: Gunzip, first: Uint8Array, upload: Upload): Promise<void> {
  for (let chunk: Uint8Array | undefined = first; chunk; chunk = await upload.next()) {
    const piece = chunk
    await new Promise<void>((resolve, reject) => gunzip.write(piece, (error) => (error ? reject(error) : resolve())))
  }
  gunzip.end()
}

/** The sender closed the connection. Its socket error must not be mistaken for one of the database. */
function refuseCutOff(): never {
  throw invalid([{ field: 'body', issue: 'ended before it was complete' }])
}

function checkMediaType(header: string | undefined): void {
  const [type = '', ...parameters] = (header ?? '').split(';').map((part) => part.trim().toLowerCase())
  if (!MEDIA_TYPES.some((known) => known === type)) {
    throw invalid([{ field: 'Content-Type', issue: `must be ${MEDIA_TYPES.join(' or ')}` }])
  }
  const charset = parameters.find((parameter) => parameter.startsWith('charset='))
  if (charset && !/^charset="?utf-?8"?$/.test(charset)) {
    throw invalid([{ field: 'Content-Type', issue: 'charset must be utf-8' }])
  }
}

function isZipped(header: string | undefined): boolean {
  const encoding = (header ?? 'identity').trim().toLowerCase()
  if (encoding !== 'identity' && encoding !== 'gzip') {
    throw invalid([{ field: 'Content-Encoding', issue: 'must be gzip or absent' }])
  }
  return encoding === 'gzip'
}

function tooLarge(limit: number): ApiError {
  return new ApiError('PAYLOAD_TOO_LARGE', `the body can have at most ${limit} bytes, before and after decompression`, [
    { field: 'body', issue: `is larger than ${limit} bytes` },
  ])
}

function tooSlowly(): ApiError {
  const issue = `must arrive within ${LIMITS.uploadTime.value} s, and with at least ${LIMITS.uploadBytes.value} bytes in ${LIMITS.uploadWindow.value} s`
  return new ApiError('REQUEST_TIMEOUT', `the body ${issue}`, [{ field: 'body', issue }])
}
