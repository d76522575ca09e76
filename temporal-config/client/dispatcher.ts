// What the API asks of Temporal. A submission is accepted once its row stands, so nothing here may hold an answer up or
// fail it: a call that does not come through in time is left to finish behind the answer, and the sweep finds the row.

import { setTimeout as sleep } from 'node:timers/promises'
import { isGrpcServiceError } from '@temporalio/client'
import type { Logger } from 'pino'
import type { Addressee, Dispatcher, Runs, TemporalHealth } from '../../workflows/client.ts'

export interface DispatcherOptions {
  /** Undefined while nothing has answered at Temporal's address yet. */
  runs: () => Runs | undefined
  health: () => Promise<TemporalHealth>
  logger: Logger
  /** An answer waits this long, in milliseconds. The SDK's own deadline does not bound a call: it took 6 to 25 s. */
  patienceMs?: number
  /** After a failure, Temporal is left alone for this long, in milliseconds. */
  pauseMs?: number
}

const UNHEALTHY: TemporalHealth = { temporal: false, missing_search_attributes: [], worker_polling: false }
/** Calls that are left to finish behind their answers; beyond this many, the rows are left to the sweep. */
const MOST_BEHIND = 1000

export function createDispatcher(options: DispatcherOptions): Dispatcher {
  const { logger, patienceMs = 1500, pauseMs = 5000 } = options
  let skippedUntil = 0
  let behind = 0
  /** The last awaited call was too late. Until a call succeeds in time, calls are not awaited. */
  let slow = false

  /** The result of `done` when it comes within `ms`, else `late`. */
  async function within<T, L>(ms: number, done: Promise<T>, late: L): Promise<T | L> {
    const waited = new AbortController()
    const timer = sleep(ms, late, { signal: waited.signal, ref: false }).catch(() => late)
    const first = await Promise.race([done, timer])
    waited.abort()
    return first
  }

  /** Undefined while Temporal is left alone. */
  function reachable(): Runs | undefined {
    return performance.now() < skippedUntil || behind >= MOST_BEHIND ? undefined : options.runs()
  }

  return {
    async tell(what, about, call) {
      const runs = reachable()
      if (!runs) return false
      behind += 1
      const done = call(runs)
        .then(() => {
          slow = false
          return true
        })
        .catch((error: unknown) => {
          if (!isAnswer(error)) skippedUntil = performance.now() + pauseMs
          logger.warn({ ...idsOf(about), err: error }, `${what} did not reach Temporal; the sweep will find the row`)
          return false
        })
        .finally(() => {
          behind -= 1
        })
      if (slow) return false
      const first = await within(patienceMs, done, 'late' as const)
      if (first !== 'late') return first
      slow = true
      return false
    },
    async ask(what, about, call, withinMs = patienceMs) {
      const runs = reachable()
      if (!runs) return null
      behind += 1
      const answer = call(runs)
        .catch((error: unknown) => {
          logger.warn({ ...idsOf(about), err: error }, `${what}: no answer by Temporal`)
          return null
        })
        .finally(() => {
          behind -= 1
        })
      return await within(withinMs, answer, null)
    },
    async health() {
      try {
        return await within(2000, options.health(), UNHEALTHY)
      } catch {
        return UNHEALTHY
      }
    },
  }
}

/** What gRPC calls an invalid argument, not found, already there, not allowed, a failed precondition. */
const ANSWERS: ReadonlySet<unknown> = new Set([3, 5, 6, 7, 9])

/**
 * Temporal is there and refuses this very call: that says nothing about the next one, which may be another tenant's.
 */
function isAnswer(error: unknown): boolean {
  return [error, (error as Error).cause].some((one) => isGrpcServiceError(one) && ANSWERS.has(one.code))
}

/** What the log says of a call; the row's other fields are not of interest. */
function idsOf(about: Addressee): Record<string, unknown> {
  const ids = ['tenant_id', 'distribution_id', 'batch_id', 'schedule_id', 'webhook_id', 'destination_id', 'target']
  return Object.fromEntries(Object.entries(about).filter(([name]) => ids.includes(name)))
}
