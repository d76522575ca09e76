// TLS for a connection to PostgreSQL. Not left to the client, which accepts any certificate in some of its modes.
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { DeliveryError } from '../../errors.ts'
import type { GuardedConnection } from '../../network/guarded.ts'
import { type TlsMaterial, tlsConnection } from '../../network/tls.ts'
import type { PostgresParameters } from './parameters.ts'

/** Length 8 and the code 80877103, both big-endian: the SSLRequest message. */
const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47])
const YES = 0x53 // S

/**
 * @throws DeliveryError DESTINATION_UNAVAILABLE when the server has no TLS: there is no fallback to plain text
 */
export async function secured(
  connection: GuardedConnection,
  material: TlsMaterial,
  { tls, direct_tls }: Pick<PostgresParameters, 'tls' | 'direct_tls'>,
): Promise<Socket> {
  if (!direct_tls) await ask(connection)
  return connection.secure({
    ...tlsConnection(material),
    ALPNProtocols: ['postgresql'],
    // verify-ca: the certificate must be from the right authority; its name is not checked.
    ...(tls === 'verify-ca' && { checkServerIdentity: () => undefined }),
  })
}

async function ask({ socket, orLost }: GuardedConnection): Promise<void> {
  const answered = once(socket, 'data')
  socket.write(SSL_REQUEST)
  const [answer] = (await orLost(answered)) as [Buffer]
  socket.pause()
  // Further bytes would be plain text that a man in the middle has inserted before the encrypted answers.
  if (answer.length !== 1 || answer[0] !== YES) {
    throw new DeliveryError('DESTINATION_UNAVAILABLE', 'the URL asks for TLS, which the server does not offer')
  }
}
