// The activities of the background queue: what must never take a delivery's slot.
import { ApplicationFailure, Context } from '@temporalio/activity'
import { ensurePartitions, partitionsAhead } from '../db/partitions.ts'
import { withoutTenant } from '../db/pool.ts'
import { refreshViews } from '../db/views.ts'
import type { NotifyInput, ProbeInput, ProbeResult, SweepInput } from '../workflows/messages.ts'
import { callback } from './callback.ts'
import { probe } from './probe.ts'
import { type SweepDeps, sweep } from './sweep.ts'

export type BackgroundActivities = ReturnType<typeof createBackgroundActivities>

export function createBackgroundActivities(deps: SweepDeps) {
  return {
    async callback(input: NotifyInput): Promise<void> {
      const called = await callback(deps, input, Context.current().cancellationSignal)
      if (called.done) return
      throw ApplicationFailure.create({
        message: called.message,
        type: 'CALLBACK_FAILED',
        nextRetryDelay: called.delay_ms,
      })
    },

    async probe(input: ProbeInput): Promise<ProbeResult> {
      return await probe(deps, input, Context.current().cancellationSignal)
    },

    async sweep(input: SweepInput): Promise<void> {
      const context = Context.current()
      await sweep(deps, input, () => {
        context.heartbeat()
        if (context.cancellationDetails?.workerShutdown) {
          throw ApplicationFailure.retryable('The worker stops; another one begins the pass anew', 'WORKER_LOST')
        }
        context.cancellationSignal.throwIfAborted()
      })
    },

    async maintain(): Promise<void> {
      await withoutTenant(deps.pool, (db) => ensurePartitions(db))
      deps.metrics.partitionsAhead.set(await withoutTenant(deps.pool, (db) => partitionsAhead(db)))
      await withoutTenant(deps.pool, (db) => refreshViews(db))
    },
  }
}
