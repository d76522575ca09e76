// Reads a request's body: never more than the limit in memory, before or after inflating.
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import type { HonoRequest } from 'hono'
import { ApiError, invalid } from '../errors.ts'

const inflate = promisify(gunzip)

export const MEDIA_TYPES = ['application/json', 'application/vnd.distributor.v1+json'] as const

/** A body that says beforehand that it is too large is refused before anything else is done for it. */
export function refuseAnnouncedSize(request: HonoRequest, limit: number): void {
  if (Number(request.header('content-length') ?? 0) > limit) throw tooLarge(limit)
}

/**
 * The decoded bytes of the body (after gunzip), at most `limit` of them. Empty when there is none.
 * Throws 413 beyond the limit, 400 for another media type or encoding.
 */
export async function readBody(request: HonoRequest, limit: number): Promise<Buffer> {
  const raw = await collect(request.raw.body, limit)
  if (raw.length === 0) return raw
  checkMediaType(request.header('content-type'))
  return decode(raw, request.header('content-encoding'), limit)
}

async function collect(stream: ReadableStream<Uint8Array> | null, limit: number): Promise<Buffer> {
  if (!stream) return Buffer.alloc(0)
  const chunks: Uint8Array[] = []
  let size = 0
  const reader = stream.getReader()
  for (;;) {
    const { done, value } = await reader.read().catch(refuseCutOff)
    if (done) return Buffer.concat(chunks)
    size += value.length
    if (size > limit) {
      await reader.cancel().catch(() => {})
      throw tooLarge(limit)
    }
    chunks.push(value)
  }
}

/** The sender has gone: its socket's error is no fault of ours, and would pass for one of the database's. */
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

async function decode(raw: Buffer, header: string | undefined, limit: number): Promise<Buffer> {
  const encoding = (header ?? 'identity').trim().toLowerCase()
  if (encoding === 'identity') return raw
  if (encoding !== 'gzip') throw invalid([{ field: 'Content-Encoding', issue: 'must be gzip or absent' }])
  try {
    return await inflate(raw, { maxOutputLength: limit })
  } catch (error) {
    // zlib stops at the limit by itself, so a bomb costs no more memory than an honest body.
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge(limit)
    throw invalid([{ field: 'body', issue: 'is not valid gzip' }])
  }
}

function tooLarge(limit: number): ApiError {
  return new ApiError('PAYLOAD_TOO_LARGE', `the body may have at most ${limit} bytes, also after decompression`, [
    { field: 'body', issue: `is larger than ${limit} bytes` },
  ])
}
