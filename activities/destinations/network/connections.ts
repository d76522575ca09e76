// Gives a protocol an idle connection that still answers, or a new one. A dead connection is detected and replaced before
// anything is sent, within the same attempt.
import type { Attempt } from './deadline.ts'
import type { Egress } from './egress.ts'
import { createIdle } from './idle.ts'

/** A dead connection often stays silent: no check waits longer than this. */
const CHECK_MS = 2_000
const MAX_IDLE = 100

export interface ConnectionKind<C> {
  /** How long a connection stays open without use; much shorter than the servers' own limit. */
  idleMs: number
  /** One round trip without an effect, which also resets the session. Rejects if the connection is dead. */
  check(connection: C): Promise<unknown>
  /** Closes the socket at once, even during a request. May be called twice. */
  destroy(connection: C): void
  /** Ends an idle connection as the protocol specifies; its end is not awaited. By default `destroy`. */
  close?(connection: C): void
}

export interface ConnectionTarget {
  egress: Egress
  /** A connection serves one tenant only, even if two have the same configuration. */
  tenant_id: string
  /** With its secrets, so that a changed secret leads to a new connection. */
  config: unknown
}

export interface Connections<C> {
  /**
   * Runs `work` on a connection that no other attempt uses. After a success the connection is kept for the next attempt.
   * After a failure, the deadline or an abort it is destroyed.
   * @param open makes a new connection, which handles its own errors while it is idle. If it fails, nothing stays open
   */
  use<T>(
    target: ConnectionTarget,
    attempt: Attempt,
    open: () => Promise<C>,
    work: (connection: C, reused: boolean) => Promise<T>,
  ): Promise<T>
}

export function keepConnections<C>(kind: ConnectionKind<C>): Connections<C> {
  const idle = createIdle<C>({
    idleMs: kind.idleMs,
    max: MAX_IDLE,
    close: (connection) => (kind.close ?? kind.destroy)(connection),
  })

  /** The first idle connection that still answers. Dead ones are destroyed on the way. */
  async function takeAlive(egress: Egress, key: unknown, attempt: Attempt): Promise<C | undefined> {
    for (;;) {
      const connection = idle.take(egress, key)
      if (connection === undefined) return undefined
      const off = attempt.onStop(() => kind.destroy(connection))
      const answer = await answerOf(kind.check(connection), Math.min(CHECK_MS, attempt.remainingMs() / 2))
      off()
      attempt.signal.throwIfAborted()
      if (answer === 'alive') return connection
      kind.destroy(connection)
      // The others are probably silent too, and each check would cost the attempt as much time.
      if (answer === 'silent') return undefined
    }
  }

  return {
    async use({ egress, tenant_id, config }, attempt, open, work) {
      const key = [tenant_id, config]
      const kept = await takeAlive(egress, key, attempt)
      const connection = kept ?? (await open())
      const off = attempt.onStop(() => kind.destroy(connection))
      try {
        const result = await work(connection, kept !== undefined)
        if (!attempt.signal.aborted) idle.give(egress, key, connection)
        return result
      } catch (error) {
        kind.destroy(connection)
        throw error
      } finally {
        off()
      }
    },
  }
}

function answerOf(check: Promise<unknown>, withinMs: number): Promise<'alive' | 'dead' | 'silent'> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve('silent'), withinMs)
    check.then(
      () => resolve('alive'),
      () => resolve('dead'),
    )
    check.finally(() => clearTimeout(timer)).catch(() => {})
  })
}
