// Connections that are kept open for a moment. An attempt has one to itself, so that ending it harms no other attempt.
import type { Socket } from 'node:net'
import { Client, errors } from 'undici'
import type { Egress } from '../network/egress.ts'
import { createIdle } from '../network/idle.ts'
import { type InterimFilter, skipInterim } from '../network/interim.ts'
import { type TlsMaterial, tlsConnection } from '../network/tls.ts'

/** Shorter than the 5 s after which Node's own servers hang up, so that a dead connection is rarely taken. */
const IDLE_MS = 4_000
const MAX_IDLE = 100

/** One connection to one origin; it connects with its first request, and again after the other side hung up. */
export interface Connection {
  client: Client
  /** What broke the socket from outside, if anything did. */
  error(): Error | undefined
  /** A request begins on it. */
  expectAnswer(): void
  /** Closes the socket at once, also one that is still connecting. */
  destroy(): void
  /** Gives it back for the next attempt with the same key. */
  release(): void
}

export interface ConnectionTarget {
  /** Connections serve one tenant alone: two with the same configuration share none. */
  tenant_id: string
  origin: string
  tls: TlsMaterial
}

const idle = createIdle<Connection>({ idleMs: IDLE_MS, max: MAX_IDLE, close: (connection) => connection.destroy() })

/** Takes an idle connection that is still open, or makes one. Idle ones are bounded in number and in time. */
export function acquireConnection(egress: Egress, target: ConnectionTarget): Connection {
  for (;;) {
    const kept = idle.take(egress, target)
    if (kept === undefined) return connect(egress, target)
    // The client would connect anew by itself, but what broke its old socket would be taken for the new one's fault.
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
      // Stays, for an error may come before the client listens itself.
      connecting.on('error', (error) => {
        // The client's own way of hanging up is an error too.
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
      // The client first: it ends its socket with an error. A socket that ends without one while the client's parser is
      // paused would have undici throw where nobody can catch it.
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
