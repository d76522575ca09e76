// `record`: closes an attempt with what it came to, and moves its delivery on. Idempotent, and guarded by the rows.
import { setTimeout as sleep } from 'node:timers/promises'
import { acceptLateSuccess, closeAttempt, disableGoneDestination } from '../db/attempts.ts'
import { jobId } from '../db/job-id.ts'
import { withTenant } from '../db/pool.ts'
import type { AttemptOutcome, DeliverInput } from '../workflows/messages.ts'
import type { ActivityDeps } from './deps.ts'

/** Writes an outcome, trying again for a while (`closeWithinMs`). False when the database did not take it in that time. */
export async function recordFor(deps: ActivityDeps, input: DeliverInput, outcome: AttemptOutcome): Promise<boolean> {
  const withinMs = deps.closeWithinMs
  const deadline = performance.now() + withinMs
  for (;;) {
    try {
      await record(deps, input, outcome)
      return true
    } catch (error) {
      deps.logger.warn({ err: error, attempt_id: outcome.attempt_id }, 'closing the attempt failed')
      if (performance.now() >= deadline) return false
      await sleep(Math.min(500, withinMs))
    }
  }
}

/** Closes the attempt and moves its delivery on; idempotent. Answers whether the delivery is final. */
export function record(deps: ActivityDeps, input: DeliverInput, outcome: AttemptOutcome): Promise<boolean> {
  const id = jobId(input.distribution_id)
  return withTenant(
    deps.pool,
    input.tenant_id,
    async (db) => {
      const closed = await closeAttempt(db, id, input.destination, outcome)
      if (!closed && outcome.status === 'success') await acceptLateSuccess(db, id, input.destination, outcome)
      if (outcome.gone) await disableGoneDestination(db, id, input.destination)
      return outcome.status !== 'retry'
    },
    { statementTimeoutMs: 2000 },
  )
}
