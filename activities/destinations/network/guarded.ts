// Opens a connection through the egress guard, within the deadline of an attempt. When the connection ends, all pending
// calls reject with the first reason.
import { once } from 'node:events'
import type { Socket } from 'node:net'
import tls, { type ConnectionOptions, TLSSocket } from 'node:tls'
import { DeliveryError } from '../errors.ts'
import type { Attempt } from './deadline.ts'
import { type ConnectOptions, type Egress, verifying } from './egress.ts'
import { networkFailure } from './failures.ts'

/** Routers and firewalls drop a connection without traffic after some minutes. */
const KEEP_ALIVE_MS = 30_000

export interface GuardedConnection {
  /** The connected socket; after `secure` the encrypted one. */
  readonly socket: Socket
  /** Starts TLS on a plain connection (STARTTLS and the like); resolves when the certificate has been verified. */
  secure(options: ConnectionOptions): Promise<Socket>
  /** Settles like `work`, but rejects with the reason as soon as the connection has ended. */
  orLost<T>(work: Promise<T>): Promise<T>
  /** Ends the connection at once. The first reason is kept, and returned. */
  end(reason: unknown): unknown
  /** Why the connection ended; undefined while it is open. */
  reason(): unknown
  /** Ends the connection at once. */
  destroy(): void
}

/**
 * Connects, with TLS if `server.tls` is given, and runs `begin`, which may greet and log in. If that fails, or the deadline
 * passes first, nothing stays open. The connection always has a listener for errors.
 * @throws DeliveryError for a network error; else the error of `begin`
 */
export async function connectGuarded<T>(
  server: ConnectOptions,
  attempt: Attempt,
  egress: Egress,
  begin: (connection: GuardedConnection) => Promise<T>,
): Promise<T> {
  attempt.expect('accept the connection')
  const socket = egress.connect(server)
  const connection = watch(socket, server.host)
  const off = attempt.onStop(connection.destroy)
  try {
    await connection.orLost(once(socket, server.tls ? 'secureConnect' : 'connect'))
    // Requests are small, and each waits for the response to the previous one.
    socket.setNoDelay(true).setKeepAlive(true, KEEP_ALIVE_MS)
    return await begin(connection)
  } catch (error) {
    connection.destroy()
    throw error
  } finally {
    off()
  }
}

function watch(plain: Socket, host: string): GuardedConnection {
  let socket = plain
  let ended: { reason: unknown } | undefined
  const waiting = new Set<(reason: unknown) => void>()

  function listen(to: Socket): void {
    to.on('error', (error) => end(networkFailure(error)))
    to.on('close', () => end(new DeliveryError('DESTINATION_UNAVAILABLE', 'the server closed the connection')))
  }

  function end(reason: unknown): unknown {
    ended ??= { reason }
    // Reset, because a server that stopped reading could still read the sent bytes later. Node has no reset for TLS.
    if (!socket.destroyed && !(socket instanceof TLSSocket)) socket.resetAndDestroy()
    // A reset waits for a write in progress. After a reset, Node 20 emits `close` without this error; with TLS, both.
    socket.destroy(ended.reason as Error)
    plain.destroy()
    const { reason: first } = ended
    // A response before the end still counts: its promise is already resolved, so its callbacks run before these.
    queueMicrotask(() => {
      for (const reject of waiting) reject(first)
      waiting.clear()
    })
    return first
  }

  function orLost<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (ended) reject(ended.reason)
      else waiting.add(reject)
      work.then(resolve, reject).finally(() => waiting.delete(reject))
    })
  }

  listen(plain)
  return {
    get socket() {
      return socket
    },
    async secure(options) {
      socket = tls.connect({ ...verifying(host, options), socket: plain })
      listen(socket)
      await orLost(once(socket, 'secureConnect'))
      return socket
    },
    orLost,
    end,
    reason: () => ended?.reason,
    destroy: () => void end(new DeliveryError('DESTINATION_UNAVAILABLE', 'the connection was abandoned')),
  }
}
