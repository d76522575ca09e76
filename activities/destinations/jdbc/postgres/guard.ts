// Checks the messages of the server before the client reads them. The server is not trusted, but the client trusts it:
// an unexpected message ends the process (a rejection or an 'error' event that cannot be caught), a malformed one can
// make the client loop without end, and the server chooses how many rounds of hashing the client computes, which blocks
// all other deliveries of this process. So only the expected types of messages pass, and the dangerous ones are
// validated.
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { DeliveryError } from '../../errors.ts'
import { createAnswerCounter } from '../failure.ts'

/** The messages that answer a login, `begin`, `insert` and the like: none for COPY, cursors or function calls. */
const EXPECTED = new Set([...'RKSZCDTt12nENIAv'].map((letter) => letter.charCodeAt(0)))
const AUTHENTICATION = 'R'.charCodeAt(0)
const ROW_DESCRIPTION = 'T'.charCodeAt(0)

const OK = 0
const CLEARTEXT_PASSWORD = 3
const MD5_PASSWORD = 5
const SASL = 10
const SASL_CONTINUE = 11
const SASL_FINAL = 12
const KNOWN = [OK, CLEARTEXT_PASSWORD, MD5_PASSWORD, SASL, SASL_CONTINUE, SASL_FINAL]

/** PostgreSQL's own default is 4,096. */
const MAX_ITERATIONS = 100_000
/** The most bytes in a message of the login, or in a description of the few columns that we read. */
const MAX_INSPECTED = 64 * 1024

/** The code of the error that the client sees. */
const VIOLATION = 'PROTOCOL_VIOLATION'

export interface GuardOptions {
  /** The connection has TLS. */
  secured: boolean
  /** Called with the reason before the connection ends, because it says more than the error of a broken connection. */
  refuse(reason: DeliveryError): void
}

/** Checks messages as they arrive, in chunks of any size. */
function createInspector({ secured, refuse }: GuardOptions): (chunk: Buffer) => boolean {
  const header = Buffer.alloc(5)
  let have = 0
  let left = 0
  let inspected: Buffer[] | undefined
  const seen = new Set<number>()

  function violates(message: string, code: 'UNAUTHORIZED' | 'MISCONFIGURED' | 'DESTINATION_UNAVAILABLE'): false {
    refuse(new DeliveryError(code, message))
    return false
  }

  const notPostgres = () => violates('the server does not speak the protocol of PostgreSQL', 'DESTINATION_UNAVAILABLE')

  function begins(): boolean {
    const letter = header[0]!
    left = header.readUInt32BE(1) - 4
    if (!EXPECTED.has(letter) || left < 0) return notPostgres()
    if (letter !== AUTHENTICATION && letter !== ROW_DESCRIPTION) return true
    if (left > MAX_INSPECTED) return notPostgres()
    inspected = []
    return true
  }

  function ends(): boolean {
    if (!inspected) return true
    const body = Buffer.concat(inspected)
    inspected = undefined
    if (header[0] === AUTHENTICATION) return isAllowed(body)
    return describesRows(body) || notPostgres()
  }

  function isAllowed(body: Buffer): boolean {
    if (body.length < 4 || seen.has(OK)) return notPostgres()
    const kind = body.readUInt32BE(0)
    if (!KNOWN.includes(kind)) return violates('the server asks for an unknown authentication method', 'MISCONFIGURED')
    if (seen.has(kind)) return notPostgres()
    seen.add(kind)
    if (kind === CLEARTEXT_PASSWORD && !secured) {
      return violates('the server asks for the password in plain text, and the connection has no TLS', 'UNAUTHORIZED')
    }
    if (kind === SASL_CONTINUE && !hasAllowedRounds(body.toString('latin1', 4))) {
      return violates(
        `the server asks for a hash with no rounds or with more than ${MAX_ITERATIONS} rounds`,
        'UNAUTHORIZED',
      )
    }
    return true
  }

  return (chunk) => {
    for (let at = 0; at < chunk.length || (have === 5 && left === 0); ) {
      if (have < 5) {
        header[have++] = chunk[at++]!
        if (have === 5 && !begins()) return false
      } else {
        const taken = Math.min(left, chunk.length - at)
        inspected?.push(chunk.subarray(at, at + taken))
        at += taken
        left -= taken
        if (left > 0) continue
        have = 0
        if (!ends()) return false
      }
    }
    return true
  }
}

/** The iterations of `r=…,s=…,i=4096` (RFC 5802). As in the client, the last one counts if a letter occurs twice. */
function hasAllowedRounds(text: string): boolean {
  const parts = new Map(text.split(',').map((part) => [part[0], part.slice(2)]))
  const rounds = Number.parseInt(parts.get('i') ?? '', 10)
  return parts.has('r') && parts.has('s') && rounds >= 1 && rounds <= MAX_ITERATIONS
}

/** Whether each column has a name with a terminating zero, and 18 bytes after it. */
function describesRows(body: Buffer): boolean {
  if (body.length < 2) return false
  let at = 2
  for (let column = body.readUInt16BE(0); column > 0; column--) {
    const end = body.indexOf(0, at)
    if (end < 0) return false
    at = end + 1 + 18
    if (at > body.length) return false
  }
  return true
}

/** A stream that the client accepts as its socket. */
export function guarded(socket: Socket, options: GuardOptions): Duplex {
  const passes = createInspector(options)
  const answer = createAnswerCounter()
  const duplex = new Duplex({
    read: () => void socket.resume(),
    write(chunk: Buffer, _encoding, done) {
      answer.asked()
      socket.write(chunk, done)
    },
    final: (done) => void socket.end(done),
    destroy(error, done) {
      socket.destroy()
      done(error)
    },
  })
  // The client sends its terminate message only on an open socket.
  Object.defineProperty(duplex, 'readyState', { get: () => socket.readyState })
  duplex.on('error', () => {})
  socket.on('data', (chunk: Buffer) => {
    if (duplex.destroyed) return
    const endless = answer.add(chunk)
    if (endless) duplex.destroy(endless)
    else if (!passes(chunk)) {
      duplex.destroy(Object.assign(new Error('the server broke the protocol'), { code: VIOLATION }))
    } else if (!duplex.push(chunk)) socket.pause()
  })
  socket.on('end', () => duplex.push(null))
  socket.on('error', (error) => duplex.destroy(error))
  socket.on('close', () => duplex.destroy())
  return duplex
}
