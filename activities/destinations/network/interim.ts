// Removes interim responses (RFC 9110, 15.2): before the final response a server or proxy may send an unexpected
// `100 Continue`, a `103 Early Hints` and others. undici treats a `100` as a broken connection, and Node's own client does
// the same with one that has `Connection: close`, so clients must not see them.
import type { Socket } from 'node:net'
import { LIMITS } from '../../../db/limits.ts'
import { endlessInterim, switchedProtocols } from './failures.ts'

/** The part of a head that shows its status. */
const STATUS_LINE = 'HTTP/1.1 100 '.length
const INTERIM = /^HTTP\/1\.[01] (1\d\d)[ \r\n]$/

const NOTHING = Buffer.alloc(0)
const CR = 13
const LF = 10

export interface InterimFilter {
  /** Call before each request: its final response may follow interim ones. Until the first call everything passes. */
  expectAnswer(): void
}

/**
 * Removes interim responses from the data of the socket, and destroys the socket if there are too many of them.
 * @param onContinue called for each `100 Continue`
 */
export function skipInterim(socket: Socket, onContinue: () => void = () => {}): InterimFilter {
  const heads = createHeads(onContinue)
  // Node calls `push` with all data that it reads, for every kind of reader.
  const push = socket.push.bind(socket)
  socket.push = (chunk: Buffer | null, encoding?: BufferEncoding): boolean => {
    if (chunk === null) return push(null)
    try {
      const rest = heads.take(chunk)
      return rest.length > 0 ? push(rest, encoding) : true
    } catch (error) {
      socket.destroy(error as Error)
      return false
    }
  }
  return { expectAnswer: heads.begin }
}

function createHeads(onContinue: () => void) {
  let state: 'status' | 'interim' | 'answer' = 'answer'
  /** The beginning of an incomplete status line. */
  let begun: Buffer = NOTHING
  let count = 0
  /** Sizes of the interim head and of its present line. */
  let bytes = 0
  let line = 0

  /** The position after the empty line that ends an interim head, or -1. */
  function endOfHead(chunk: Buffer): number {
    for (const [at, byte] of chunk.entries()) {
      bytes += 1
      if (bytes > LIMITS.interimBytes.value) throw endlessInterim()
      if (byte === LF && line === 0) return at + 1
      if (byte === LF) line = 0
      else if (byte !== CR) line += 1
    }
    return -1
  }

  /** Clients skip line ends before a status line, so this does too. */
  function behindLineEnds(chunk: Buffer): Buffer {
    const at = chunk.findIndex((byte) => byte !== CR && byte !== LF)
    bytes += at < 0 ? chunk.length : at
    if (bytes > LIMITS.interimBytes.value) throw endlessInterim()
    return at < 0 ? NOTHING : chunk.subarray(at)
  }

  /** @returns the bytes of the final response; none while that is undecided */
  function take(chunk: Buffer): Buffer {
    let rest = chunk
    while (rest.length > 0 && state !== 'answer') {
      if (state === 'interim') {
        const end = endOfHead(rest)
        if (end < 0) return NOTHING
        rest = rest.subarray(end)
        state = 'status'
        bytes = 0
        continue
      }
      if (begun.length === 0) rest = behindLineEnds(rest)
      begun = begun.length === 0 ? rest : Buffer.concat([begun, rest])
      if (begun.length < STATUS_LINE) return NOTHING
      const head = begun
      begun = NOTHING
      const [, status] = INTERIM.exec(head.toString('latin1', 0, STATUS_LINE)) ?? []
      if (status === '101') throw switchedProtocols()
      if (status === undefined) {
        state = 'answer'
        return head
      }
      count += 1
      if (count > LIMITS.interimAnswers.value) throw endlessInterim()
      if (status === '100') onContinue()
      state = 'interim'
      bytes = 0
      line = 0
      rest = head
    }
    return rest
  }

  return {
    take,
    begin() {
      state = 'status'
      begun = NOTHING
      count = 0
      bytes = 0
    },
  }
}
