// The API's calls to Temporal. A submission is accepted once its row is committed, so no call may delay a response or
// make it fail: a call that is too slow continues in the background, and the sweep finds the row if the call fails.

import { setTimeout as sleep } from 'node:timers/promises'
import { isGrpcServiceError } from '@temporalio/client'
import type { Logger } from 'pino'
import type { Addressee, Dispatcher, Runs, TemporalHealth } from '../../workflows/client.ts'

export interface DispatcherOptions {
  /** Undefined while nothing has answered at Temporal's address yet. */
  runs: () => Runs | undefined
  health: () => Promise<TemporalHealth>
  logger: Logger
  /** How long a response waits for a call, in milliseconds. The SDK's own deadline does not bound a call: it took 6 to 25 s. */
  patienceMs?: number
  /** After a failure, no call is made for this long, in milliseconds. */
  pauseMs?: number
}

const UNHEALTHY: TemporalHealth = { temporal: false, missing_search_attributes: [], worker_polling: false }
/** The most calls that may continue in the background. Beyond this many, the sweep starts the rows. */
const MOST_BEHIND = 1000

export function createDispatcher(options: DispatcherOptions): Dispatcher {
  const { logger, patienceMs = 1500, pauseMs = 5000 } = options
  let skippedUntil = 0
  let behind = 0
  /** The last awaited call was too late. Until a call succeeds in time, calls are not awaited. */
  let slow = false

  /** The result of `done` if it settles within `ms`, else `late`. */
  async function within<T, L>(ms: number, done: Promise<T>, late: L): Promise<T | L> {
    const waited = new AbortController()
    const timer = sleep(ms, late, { signal: waited.signal, ref: false }).catch(() => late)
    const first = await Promise.race([done, timer])
    waited.abort()
    return first
  }

  /** Undefined during the pause after a failure. */
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

/** gRPC codes: invalid argument, not found, already exists, permission denied, failed precondition. */
const ANSWERS: ReadonlySet<unknown> = new Set([3, 5, 6, 7, 9])

/**
 * Whether Temporal answered and rejected this one call. The next call, perhaps of another tenant, may still succeed.
 */
function isAnswer(error: unknown): boolean {
  return [error, (error as Error).cause].some((one) => isGrpcServiceError(one) && ANSWERS.has(one.code))
}

/** The fields of the row that are logged with a call. */
function idsOf(about: Addressee): Record<string, unknown> {
  const ids = ['tenant_id', 'distribution_id', 'batch_id', 'schedule_id', 'webhook_id', 'destination_id', 'target']
  return Object.fromEntries(Object.entries(about).filter(([name]) => ids.includes(name)))
}
