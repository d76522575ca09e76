// TLS on a connection to PostgreSQL, made here and not by the client, which takes any certificate for some of its modes.
import { once } from 'node:events'
import net, { type Socket } from 'node:net'
import tls, { type TLSSocket } from 'node:tls'
import { DeliveryError } from '../../errors.ts'
import { type TlsMaterial, tlsConnection } from '../../network/tls.ts'

/** Length 8 and the code 80877103, both big-endian: the SSLRequest message. */
const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47])
const YES = 0x53 // S

export interface SecureOptions {
  host: string
  material: TlsMaterial
  /** False: a certificate of the right authority will do, whatever its name. */
  verifyName: boolean
  /** TLS from the first byte. */
  direct: boolean
}

/**
 * @throws DeliveryError DESTINATION_UNAVAILABLE when the server has no TLS: there is no way back to plain text
 */
export async function secured(socket: Socket, options: SecureOptions): Promise<TLSSocket> {
  if (!options.direct) await ask(socket)
  const secure = tls.connect({
    servername: net.isIP(options.host) === 0 ? options.host.replace(/\.$/, '') : '',
    ...tlsConnection(options.material),
    // Checked against this when there is no server name, as for an address.
    host: options.host,
    socket,
    rejectUnauthorized: true,
    ALPNProtocols: ['postgresql'],
    ...(!options.verifyName && { checkServerIdentity: () => undefined }),
  })
  await once(secure, 'secureConnect')
  return secure
}

async function ask(socket: Socket): Promise<void> {
  const ended = new AbortController()
  const closed = once(socket, 'close', { signal: ended.signal }).then(() => {
    throw Object.assign(new Error('closed'), { code: 'ECONNRESET' })
  })
  closed.catch(() => {})
  socket.write(SSL_REQUEST)
  try {
    const [answer] = (await Promise.race([once(socket, 'data'), closed])) as [Buffer]
    socket.pause()
    // Anything beyond the one byte would be plain text that somebody put before the encrypted answers.
    if (answer.length !== 1 || answer[0] !== YES) {
      throw new DeliveryError('DESTINATION_UNAVAILABLE', 'the server has no TLS, which the URL asks for')
    }
  } finally {
    ended.abort()
  }
}
