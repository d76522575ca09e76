// Finds the database at the start of a process, or waits for it while it is unreachable; the API and the health server
// answer meanwhile. An error that requires a change of the settings ends the start at once.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { isUnavailable, shortReason } from '../../db/availability.ts'

const FIRST_WAIT_MS = 250
const LONGEST_WAIT_MS = 5000

export interface DatabaseSide {
  /** Resolves when the database is usable; rejects when it cannot become usable, or `signal` aborts. */
  found: Promise<void>
  /** Whether the database was found. Until then, send it no queries. */
  isFound(): boolean
}

/** Repeats `check` while the database is unreachable. Logs once that it waits, and once that it continues. */
export function findDatabase(check: () => Promise<void>, logger: Logger, signal: AbortSignal): DatabaseSide {
  let isFound = false

  async function find(): Promise<void> {
    for (let wait = FIRST_WAIT_MS, waiting = false; ; wait = Math.min(wait * 2, LONGEST_WAIT_MS)) {
      try {
        await check()
        if (waiting) logger.info('the database answers')
        isFound = true
        return
      } catch (error) {
        signal.throwIfAborted()
        if (!isUnavailable(error)) throw error
        if (!waiting) logger.warn({ reason: shortReason(error) }, 'the database does not answer; waiting for it')
        waiting = true
        await sleep(wait, undefined, { signal })
      }
    }
  }

  const found = find()
  // Callers that await it get the error. Without a caller, it must not become an unhandled rejection.
  found.catch(() => {})
  return { found, isFound: () => isFound }
}
