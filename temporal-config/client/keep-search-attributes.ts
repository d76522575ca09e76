// Temporal may lose the search attributes together with its data, so a process checks for them at intervals.
import { setTimeout as sleep } from 'node:timers/promises'
import type { ConnectionLike } from '@temporalio/client'
import { SEARCH_ATTRIBUTES, type SearchAttribute } from '../../workflows/names.ts'
import { ensureSearchAttributes } from './search-attributes.ts'

const ENSURE_EVERY_MS = 5 * 60_000

/** Creates the search attributes where that is allowed. Tries again sooner while some are missing. */
export function keepSearchAttributes(connection: ConnectionLike, namespace: string, ending: AbortSignal) {
  let present: ReadonlySet<SearchAttribute> = new Set()
  const look = async () => {
    present = await ensureSearchAttributes(connection, namespace)
  }
  const looked = look()
  void (async () => {
    await looked
    for (let wait = 2000; !ending.aborted; ) {
      wait = present.size < SEARCH_ATTRIBUTES.length ? Math.min(wait * 2, ENSURE_EVERY_MS) : ENSURE_EVERY_MS
      await sleep(wait, undefined, { signal: ending, ref: false }).catch(() => {})
      if (!ending.aborted) await look()
    }
  })()
  return { present: () => present, looked, look }
}
