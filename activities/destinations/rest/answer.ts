// Reads the body of a response: never more than a limit into memory, whatever length or compression it states. A body must
// arrive completely, but its content coding need not be valid.
import type { Readable } from 'node:stream'
import { createBrotliDecompress, createGunzip, createInflate, createInflateRaw } from 'node:zlib'
import { codeOf } from '../network/failures.ts'
import { storableText } from '../storable.ts'

/**
 * The most bytes of a body that are read, both on the wire and after decompression. A longer body is cut there, and only the
 * status decides; a shorter one must be complete.
 */
export const READ_CAP = 256 * 1024

/** Collects a response while it arrives, so that the part before a failure is kept. */
export class Answer {
  status = 0
  headers: Record<string, string | string[] | undefined> = {}
  /** The body was longer than the limit. */
  cut = false
  private chunks: Buffer[] = []
  private size = 0

  /** Reads the bytes as they are on the wire. The stream stays open when the body is cut. */
  async read(body: Readable, cap: number): Promise<void> {
    for await (const chunk of body.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      this.chunks.push(chunk.subarray(0, cap - this.size))
      this.size += chunk.length
      if (this.size > cap) {
        this.cut = true
        return
      }
    }
  }

  /** The first `keep` bytes as storable text. */
  async text(keep: number): Promise<AnswerText> {
    const raw = Buffer.concat(this.chunks)
    if (raw.length === 0 || keep === 0) return { body: null }
    const type = String(this.headers['content-type'] ?? '')
    const charset = /charset="?([^";\s]+)/i.exec(type)?.[1]
    const content = await inflated(raw, this.encodings(), this.cut, Math.max(READ_CAP, keep))
    if (typeof content === 'string') return { body: null, unreadable: content }
    const cut = content.length > keep || this.cut
    return { body: storableText(content.subarray(0, keep), charset === undefined ? { cut } : { cut, charset }) }
  }

  /** The body has exactly the length in Content-Length. */
  hasStatedLength(): boolean {
    return this.headers['content-length'] !== undefined && Number(this.headers['content-length']) === this.size
  }

  private encodings(): string[] {
    return [this.headers['content-encoding'] ?? []]
      .flat()
      .flatMap((value) => value.split(','))
      .map((name) => name.trim().toLowerCase())
      .filter((name) => name !== '' && name !== 'identity')
  }
}

export interface AnswerText {
  /** Null if there is none, or if it cannot be decoded. */
  body: string | null
  /** Why a complete body cannot be decoded. */
  unreadable?: string
}

/** Decodes the content codings, last one first (RFC 9110, 8.4), or returns why it cannot. */
async function inflated(raw: Buffer, encodings: string[], cut: boolean, cap: number): Promise<Buffer | string> {
  // Only an attack uses more than two codings.
  if (encodings.length > 2) return `it has ${encodings.length} content codings, one inside the other`
  const unknown = encodings.find((name) => !KNOWN.has(name))
  if (unknown !== undefined) return `its content coding ${JSON.stringify(unknown.slice(0, 40))} is not known`
  let body = raw
  let incomplete = cut
  for (const name of encodings.reverse()) {
    const step = await inflate(body, name, incomplete, cap)
    if (typeof step === 'string') return step
    body = step.body
    incomplete ||= step.cut
  }
  return body
}

/** The code of zlib and brotli for a missing end. */
const ENDS_EARLY = 'Z_BUF_ERROR'
const KNOWN = new Set(['gzip', 'x-gzip', 'deflate', 'br'])

async function inflate(
  body: Buffer,
  name: string,
  incomplete: boolean,
  cap: number,
): Promise<{ body: Buffer; cut: boolean } | string> {
  const decoder = decoderFor(name, body)
  const chunks: Buffer[] = []
  let size = 0
  decoder.end(body)
  try {
    for await (const chunk of decoder as AsyncIterable<Buffer>) {
      chunks.push(chunk)
      size += chunk.length
      if (size > cap) return { body: Buffer.concat(chunks, cap), cut: true }
    }
  } catch (error) {
    // A body that we cut has no end, which is no error.
    if (!incomplete) return codeOf(error) === ENDS_EARLY ? `its ${name} ends too early` : `its ${name} is broken`
  }
  return { body: Buffer.concat(chunks), cut: false }
}

function decoderFor(name: string, body: Buffer) {
  if (name === 'br') return createBrotliDecompress()
  if (name !== 'deflate') return createGunzip()
  // "deflate" means zlib, but some servers send the bare stream: the low half of a zlib header's first byte is 8.
  return (body[0]! & 0x0f) === 8 ? createInflate() : createInflateRaw()
}
