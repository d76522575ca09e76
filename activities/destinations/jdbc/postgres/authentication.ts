// What a server may ask for while it logs us in. It may be anybody's, so a password never goes out in plain text, and
// its wish for work is bounded: the client computes in one piece, and all other deliveries of this process would wait.
import type { Socket } from 'node:net'
import { DeliveryError } from '../../errors.ts'

const AUTHENTICATION = 0x52 // R
const OK = 0
const CLEARTEXT_PASSWORD = 3
const SASL_CONTINUE = 11

/** PostgreSQL's own default is 4,096; a hundred times that takes a tenth of a second. */
const MAX_ITERATIONS = 500_000
/** No message of a login is longer. */
const MAX_BYTES = 64 * 1024

export interface Guard {
  /** For the client, in place of the password: never settles once the server asked for what it may not have. */
  password(): Promise<string> | string
}

/**
 * Watches the login on a socket before the client sees it.
 * @param refuse called once, with the reason, before the socket is ended
 */
export function guardLogin(
  socket: Socket,
  { password, secured }: { password: string; secured: boolean },
  refuse: (reason: DeliveryError) => void,
): Guard {
  let bytes: Buffer = Buffer.alloc(0)
  let refused = false

  function stop(message: string): void {
    refused = true
    socket.off('data', watch)
    refuse(new DeliveryError('UNAUTHORIZED', message))
    socket.destroy()
  }

  function watch(chunk: Buffer): void {
    bytes = Buffer.concat([bytes, chunk])
    while (bytes.length >= 5) {
      const length = bytes.readUInt32BE(1)
      if (length > MAX_BYTES) return void socket.off('data', watch)
      if (bytes.length < length + 1) return
      const message = bytes.subarray(0, length + 1)
      bytes = bytes.subarray(length + 1)
      if (message[0] !== AUTHENTICATION || length < 8) continue
      const kind = message.readUInt32BE(5)
      if (kind === OK) return void socket.off('data', watch)
      if (kind === CLEARTEXT_PASSWORD && !secured) {
        stop('the server asks for the password in plain text, and the connection has no TLS')
      } else if (kind === SASL_CONTINUE && iterations(message.toString('latin1', 9)) > MAX_ITERATIONS) {
        stop(`the server asks for more than ${MAX_ITERATIONS} rounds of hashing`)
      }
    }
  }

  socket.on('data', watch)
  return { password: () => (refused ? new Promise<string>(() => {}) : password) }
}

/** Of `r=…,s=…,i=4096` (RFC 5802); read as generously as the client does. */
function iterations(text: string): number {
  return text
    .split(',')
    .filter((part) => part.startsWith('i'))
    .reduce((most, part) => Math.max(most, Number.parseInt(part.slice(2), 10) || 0), 0)
}
