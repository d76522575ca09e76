// Connections that stay open for a short time after their attempt, for the next attempt with the same key. No two attempts
// share a connection, so closing one never harms another attempt.
import { createHash } from 'node:crypto'
import type { Egress } from './egress.ts'

export interface IdleOptions<C> {
  /** How long a connection stays open without use. */
  idleMs: number
  /** The maximum number of idle connections. */
  max: number
  /** Closes a connection as the protocol specifies; its end is not awaited. */
  close(connection: C): void
}

export interface Idle<C> {
  /** Takes the connection that was used last, if there is one. */
  take(egress: Egress, key: unknown): C | undefined
  /** Gives a connection back. If too many are idle, the least recently used one is closed. */
  give(egress: Egress, key: unknown, connection: C): void
}

interface Entry<C> {
  hash: string
  connection: C
  timer: NodeJS.Timeout
}

/** Keys are compared as JSON. They hold the tenant and the whole configuration, secrets included. */
export function createIdle<C>({ idleMs, max, close }: IdleOptions<C>): Idle<C> {
  // A connection is only reused under the guard that allowed it.
  const byEgress = new WeakMap<Egress, Entry<C>[]>()

  function entriesOf(egress: Egress): Entry<C>[] {
    const entries = byEgress.get(egress) ?? []
    byEgress.set(egress, entries)
    return entries
  }

  return {
    take(egress, key) {
      const entries = entriesOf(egress)
      const hash = hashOf(key)
      const at = entries.findLastIndex((entry) => entry.hash === hash)
      const [entry] = at < 0 ? [] : entries.splice(at, 1)
      clearTimeout(entry?.timer)
      return entry?.connection
    },
    give(egress, key, connection) {
      const entries = entriesOf(egress)
      const entry = {
        hash: hashOf(key),
        connection,
        timer: setTimeout(() => {
          entries.splice(entries.indexOf(entry), 1)
          close(connection)
        }, idleMs).unref(),
      }
      entries.push(entry)
      const [oldest] = entries.length > max ? entries.splice(0, 1) : []
      if (!oldest) return
      clearTimeout(oldest.timer)
      close(oldest.connection)
    },
  }
}

function hashOf(key: unknown): string {
  return createHash('sha256').update(JSON.stringify(key)).digest('base64')
}
