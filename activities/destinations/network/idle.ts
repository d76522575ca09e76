// Connections that are kept open for a moment after their attempt, for the next one with the same key. An attempt has a
// connection to itself, so that ending it harms no other attempt.
import { createHash } from 'node:crypto'
import type { Egress } from './egress.ts'

export interface IdleOptions<C> {
  /** How long one stays open without use. */
  idleMs: number
  /** How many may be open without use. */
  max: number
  /** Ends one: told with the best manners that the protocol has, without anybody waiting for it. */
  close(connection: C): void
}

export interface Idle<C> {
  /** The one that was used last, if there is one; it is the caller's from now on. */
  take(egress: Egress, key: unknown): C | undefined
  /** Gives one back; when too many are idle, the one that was not used for longest is closed. */
  give(egress: Egress, key: unknown, connection: C): void
}

interface Entry<C> {
  hash: string
  connection: C
  timer: NodeJS.Timeout
}

/** Keys are compared by their JSON: they hold the tenant and all of the configuration, secrets included. */
export function createIdle<C>({ idleMs, max, close }: IdleOptions<C>): Idle<C> {
  // Only a guard that would let the connection through may use it again.
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
