// Reads the body of an answer: never more than a cap into memory, whatever length or compression it claims. A body must
// come whole over the connection; that its content coding can be undone is no condition.
import type { Readable } from 'node:stream'
import { createBrotliDecompress, createGunzip, createInflate, createInflateRaw } from 'node:zlib'
import { codeOf } from '../network/failures.ts'
import { storableText } from '../storable.ts'

/**
 * As much of a body is read, on the wire and once more after inflating, in bytes. What is longer is cut there, and the
 * status alone decides; what is shorter must be whole.
 */
export const READ_CAP = 256 * 1024

/** Collects an answer while it arrives, so that what came before a failure can be kept. */
export class Answer {
  status = 0
  headers: Record<string, string | string[] | undefined> = {}
  /** The body went on beyond the cap. */
  cut = false
  private chunks: Buffer[] = []
  private size = 0

  /** Takes in the bytes as they are on the wire. Leaves the stream open when it is cut. */
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

  /** The first `keep` bytes as text that a row can hold. */
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

  /** As many bytes as the answer said it would have. */
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
  /** Null when there is none, or none that can be read. */
  body: string | null
  /** Why a body that came whole can not be read. */
  unreadable?: string
}

/** Undoes the codings, last one first (RFC 9110, 8.4), or says why that can not be done. */
async function inflated(raw: Buffer, encodings: string[], cut: boolean, cap: number): Promise<Buffer | string> {
  // More than two layers serve nobody but an attacker.
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

/** zlib's and brotli's word for an end that is missing. */
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
    // Of a body that was cut, the end is missing by our own doing.
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
