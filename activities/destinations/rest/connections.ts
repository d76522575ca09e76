// Connections are kept open for a short time. No two attempts share one, so closing it harms no other attempt.
import type { Socket } from 'node:net'
import { Client, errors } from 'undici'
import type { Egress } from '../network/egress.ts'
import { createIdle } from '../network/idle.ts'
import { type InterimFilter, skipInterim } from '../network/interim.ts'
import { type TlsMaterial, tlsConnection } from '../network/tls.ts'

/** Shorter than the 5 s after which Node's servers close an idle connection, so that a dead one is rarely reused. */
const IDLE_MS = 4_000
const MAX_IDLE = 100

/** One connection to one origin; it connects with its first request, and again after the server closed it. */
export interface Connection {
  client: Client
  /** The network error that broke the socket, if any. */
  error(): Error | undefined
  /** Call before each request. */
  expectAnswer(): void
  /** Closes the socket at once, even if it is still connecting. */
  destroy(): void
  /** Gives it back for the next attempt with the same key. */
  release(): void
}

export interface ConnectionTarget {
  /** A connection serves one tenant only, even if two have the same configuration. */
  tenant_id: string
  origin: string
  tls: TlsMaterial
}

const idle = createIdle<Connection>({ idleMs: IDLE_MS, max: MAX_IDLE, close: (connection) => connection.destroy() })

/** Takes an idle connection that is still open, or makes a new one. */
export function acquireConnection(egress: Egress, target: ConnectionTarget): Connection {
  for (;;) {
    const kept = idle.take(egress, target)
    if (kept === undefined) return connect(egress, target)
    // The client would reconnect by itself, but the error of the old socket would be taken for one of the new socket.
    if (kept.client.stats.connected) return kept
    kept.destroy()
  }
}

function connect(egress: Egress, target: ConnectionTarget): Connection {
  let socket: Socket | undefined
  let broken: Error | undefined
  let interim: InterimFilter | undefined
  const client = new Client(target.origin, {
    pipelining: 1,
    keepAliveTimeout: IDLE_MS,
    keepAliveMaxTimeout: IDLE_MS,
    maxHeaderSize: 32 * 1024,
    connect: ({ hostname, port, protocol }, callback) => {
      const secure = protocol === 'https:'
      try {
        socket = egress.connect({
          host: hostname,
          port: Number(port) || (secure ? 443 : 80),
          ...(secure && { tls: { ALPNProtocols: ['http/1.1'], ...tlsConnection(target.tls) } }),
        })
      } catch (error) {
        callback(error as Error, null)
        return
      }
      const connecting = socket.setNoDelay(true)
      interim = skipInterim(connecting)
      interim.expectAnswer()
      let settled = false
      // This listener stays, because an error may come before the client has its own.
      connecting.on('error', (error) => {
        // When the client itself closes the socket, that is an UndiciError.
        if (!(error instanceof errors.UndiciError)) broken = error
        if (!settled) callback(error, null)
        settled = true
      })
      connecting.once(secure ? 'secureConnect' : 'connect', () => {
        settled = true
        callback(null, connecting)
      })
    },
  })
  const connection: Connection = {
    client,
    error: () => broken,
    expectAnswer: () => interim?.expectAnswer(),
    destroy() {
      // The client first: it closes its socket with an error. If the socket closed without an error while the client's parser
      // is paused, undici would throw an error that cannot be caught.
      client.destroy().catch(() => {})
      socket?.destroy()
    },
    release() {
      if (client.stats.connected) idle.give(egress, target, connection)
      else connection.destroy()
    },
  }
  return connection
}
