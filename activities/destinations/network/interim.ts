// Answers before the answer (RFC 9110, 15.2): a server or a proxy may send a `100 Continue` that nobody asked for, a
// `103 Early Hints` and others like them, and then its answer. undici takes the first of these for a broken connection,
// and Node's own client one that says `Connection: close`, so clients never see them.
import type { Socket } from 'node:net'
import { LIMITS } from '../../../db/limits.ts'
import { endlessInterim, switchedProtocols } from './failures.ts'

/** As much of a head as shows its status. */
const STATUS_LINE = 'HTTP/1.1 100 '.length
const INTERIM = /^HTTP\/1\.[01] (1\d\d)[ \r\n]$/

const NOTHING = Buffer.alloc(0)
const CR = 13
const LF = 10

export interface InterimFilter {
  /** A request begins: its answer may have others before it. Until then everything passes. */
  expectAnswer(): void
}

/**
 * Takes interim answers out of all that comes from the socket, which ends when there are too many of them.
 * @param onContinue called for each `100 Continue`
 */
export function skipInterim(socket: Socket, onContinue: () => void = () => {}): InterimFilter {
  const heads = createHeads(onContinue)
  // Where Node puts what it has read, in whatever way it is then taken.
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
  /** Of a status line that is not whole yet. */
  let begun: Buffer = NOTHING
  let count = 0
  /** Of the interim head, and of its present line. */
  let bytes = 0
  let line = 0

  /** Behind the empty line that ends an interim head, or -1. */
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

  /** Clients pass over line ends before a status line, and so must this. */
  function behindLineEnds(chunk: Buffer): Buffer {
    const at = chunk.findIndex((byte) => byte !== CR && byte !== LF)
    bytes += at < 0 ? chunk.length : at
    if (bytes > LIMITS.interimBytes.value) throw endlessInterim()
    return at < 0 ? NOTHING : chunk.subarray(at)
  }

  /** @returns what belongs to the answer; nothing as long as that is not certain */
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
