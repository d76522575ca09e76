// A process's side towards its database: found at the start, or waited for while it is away, with the API and the health
// server answering meanwhile. What somebody has to change in the settings ends the start at once instead.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { isUnavailable, shortReason } from '../../db/availability.ts'

const FIRST_WAIT_MS = 250
const LONGEST_WAIT_MS = 5000

export interface DatabaseSide {
  /** Settles when the database was found fit; rejects when it never will be, or `signal` aborts. */
  found: Promise<void>
  /** Whether it has been found: until then nothing is to be asked of it. */
  isFound(): boolean
}

/** Makes `check` until it does not fail because the database is away. Says once that it waits, and once that it goes on. */
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
  // Whoever waits for it hears of it; where nobody does, it is no error of its own.
  found.catch(() => {})
  return { found, isFound: () => isFound }
}
