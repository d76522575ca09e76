// What the API asks of Temporal. A submission is accepted once its row stands, so nothing here may hold an answer up or
// fail it: a call that does not come through in time is left to finish behind the answer, and the sweep finds the row.

import { setTimeout as sleep } from 'node:timers/promises'
import { isGrpcServiceError } from '@temporalio/client'
import type { Logger } from 'pino'
import type { WakeRef } from '../../db/distributions/wake.ts'
import type { RecurringSchedule, Runs } from '../../workflows/client.ts'
import { type Dispatcher, DispatcherUnavailable, type TemporalHealth } from '../../workflows/client.ts'
import type { BatchRef, DistributionRef, RecurringRef } from '../../workflows/messages.ts'

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
  /** The last call that somebody waited for came too late: until one comes through, nobody waits. */
  let slow = false

  /** Runs `call`, but waits for it only so long; what comes later is logged and otherwise left alone. */
  async function inTime<T>(what: string, ref: Named, call: (runs: Runs) => Promise<T>): Promise<T | 'deferred'> {
    const runs = options.runs()
    if (!runs || performance.now() < skippedUntil || behind >= MOST_BEHIND) return 'deferred'
    behind += 1
    const called = call(runs)
      .then((result) => {
        slow = false
        return result
      })
      .catch((error: unknown) => {
        if (!isAnswer(error)) skippedUntil = performance.now() + pauseMs
        logger.warn({ ...idsOf(ref), err: error }, `${what} did not reach Temporal; the sweep will find the row`)
        return 'deferred' as const
      })
      .finally(() => {
        behind -= 1
      })
    if (slow) return 'deferred'
    const waited = new AbortController()
    const late = sleep(patienceMs, 'late' as const, { signal: waited.signal, ref: false }).catch(() => 'late' as const)
    const first = await Promise.race([called, late])
    waited.abort()
    if (first !== 'late') return first
    slow = true
    return 'deferred'
  }

  return {
    start: (ref, about) => inTime('start', ref, (runs) => runs.start(ref, about).then(() => 'started' as const)),
    cancel: (ref, about) =>
      inTime('cancel', ref, (runs) => runs.signalCancel(ref, about).then(() => 'started' as const)),
    look: (ref) => inTime('look', ref, (runs) => runs.signalLook(ref).then(() => 'signalled' as const)),
    retry: (ref, about) => inTime('retry', ref, (runs) => runs.signalRetry(ref, about).then(() => 'started' as const)),
    turn: (ref, destinations) =>
      inTime('turn', ref, (runs) => runs.signalTurn(ref, destinations).then(() => 'started' as const)),
    wake: (ref) => inTime('wake', ref, (runs) => runs.wake(ref).then(() => 'started' as const)),
    startBatch: (ref) => inTime('batch', ref, (runs) => runs.startBatch(ref).then(() => 'started' as const)),
    healthCheck(check) {
      void (async () => options.runs()?.healthCheck(check))().catch((error: unknown) => {
        const { tenant_id, destination_id } = check
        logger.warn({ tenant_id, destination_id, err: error }, 'a health check could not be scheduled; a worker will')
      })
    },
    setRecurring: (row, resume) =>
      inTime('schedule', refOf(row), async (runs) => {
        const refused = await runs.setRecurring(row, resume)
        return refused === null ? ('started' as const) : { refused }
      }),
    async describeRecurring(row) {
      const ref = { tenant_id: row.tenant_id, schedule_id: row.id }
      const state = await inTime('next times', ref, (runs) => runs.describeRecurring(row))
      return state === 'deferred' ? null : state
    },
    async probe(input, timeoutMs) {
      const runs = options.runs()
      if (!runs) throw new DispatcherUnavailable('Temporal does not answer')
      const late = sleep(timeoutMs, undefined, { ref: false }).then(() => {
        throw new DispatcherUnavailable('no worker answered in time')
      })
      try {
        return await Promise.race([runs.probe(input), late])
      } catch (error) {
        if (error instanceof DispatcherUnavailable) throw error
        throw new DispatcherUnavailable('no worker answered', { cause: error })
      }
    },
    async health() {
      try {
        return await Promise.race([options.health(), sleep(2000, UNHEALTHY, { ref: false })])
      } catch {
        return UNHEALTHY
      }
    },
  }
}

type Named = DistributionRef | BatchRef | RecurringRef | WakeRef

function refOf({ tenant_id, id }: RecurringSchedule): RecurringRef {
  return { tenant_id, schedule_id: id }
}

/** What gRPC calls an invalid argument, not found, already there, not allowed, a failed precondition. */
const ANSWERS: ReadonlySet<unknown> = new Set([3, 5, 6, 7, 9])

/** Temporal is there and refuses this very call: that says nothing about the next one, which may be another tenant's. */
function isAnswer(error: unknown): boolean {
  return [error, (error as Error).cause].some((one) => isGrpcServiceError(one) && ANSWERS.has(one.code))
}

/** What the log says of a call; a callback's round is not of interest. */
function idsOf(ref: Named): Record<string, string | null> {
  const { tenant_id } = ref
  if ('target' in ref) return { tenant_id, target: ref.target }
  if ('batch_id' in ref) return { tenant_id, batch_id: ref.batch_id }
  if ('schedule_id' in ref) return { tenant_id, schedule_id: ref.schedule_id }
  return { tenant_id, distribution_id: ref.distribution_id }
}
