// How a protocol with sessions comes to its connection: an idle one that still answers, else a new one. A dead one is
// found out and replaced before anything is sent, inside the same attempt.
import type { Attempt } from './deadline.ts'
import type { Egress } from './egress.ts'
import { createIdle } from './idle.ts'

/** A dead connection often does not say so: an answer that takes longer than this is not waited for. */
const CHECK_MS = 2_000
const MAX_IDLE = 100

export interface ConnectionKind<C> {
  /** How long one stays open without use; well below what servers of the kind allow. */
  idleMs: number
  /** One round trip without effect, which also puts the session back to its beginning; rejects when it is dead. */
  check(connection: C): Promise<unknown>
  /** Ends the socket at once, whatever happens on it. May be called twice. */
  destroy(connection: C): void
  /** Ends an idle one politely, without anybody waiting; `destroy` where there is no such thing. */
  close?(connection: C): void
}

export interface ConnectionTarget {
  egress: Egress
  /** Connections serve one tenant alone: two with the same configuration share none. */
  tenant_id: string
  /** Resolved: a changed secret makes another key. */
  config: unknown
}

export interface Connections<C> {
  /**
   * Runs `work` on a connection of its own. After a success it is kept for the next attempt; after any failure, the end
   * of the deadline or an abort, it is destroyed.
   * @param open makes a new one; it leaves nothing open when it fails, and listens for errors for as long as it lives
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

  /** The first idle one that still answers; those that are dead are ended on the way. */
  async function living(egress: Egress, key: unknown, attempt: Attempt): Promise<C | undefined> {
    for (;;) {
      const connection = idle.take(egress, key)
      if (connection === undefined) return undefined
      const off = attempt.onStop(() => kind.destroy(connection))
      const answer = await answerOf(kind.check(connection), Math.min(CHECK_MS, attempt.remainingMs() / 2))
      off()
      attempt.signal.throwIfAborted()
      if (answer === 'alive') return connection
      kind.destroy(connection)
      // What silenced it did so to all of them, and each would cost the attempt as much of its time.
      if (answer === 'silent') return undefined
    }
  }

  return {
    async use({ egress, tenant_id, config }, attempt, open, work) {
      const key = [tenant_id, config]
      const kept = await living(egress, key, attempt)
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
