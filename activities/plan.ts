// `plan`: looks at the job under its lock, runs the rules once and stores what they chose, and says what is still open.

import { jobId } from '../db/job-id.ts'
import { findDestinations, insertPlan, type KnownDestination, lockJob, openDeliveries, startJob } from '../db/plan.ts'
import { type Pool, withTenant } from '../db/pool.ts'
import type { DistributionRef, Plan } from '../workflows/messages.ts'
import { choose } from './rules/choose.ts'

/** Within a local activity's time; the transaction is one, so a body that outlives its call does no harm. */
const STATEMENT_TIMEOUT_MS = 2000

/** The plan as it stands, or null when there is no such job. Idempotent. */
export function plan(pool: Pool, ref: DistributionRef): Promise<Plan | null> {
  return withTenant(
    pool,
    ref.tenant_id,
    async (db) => {
      const id = jobId(ref.distribution_id)
      const job = await lockJob(db, id)
      if (!job) return null
      const answer = {
        final: job.status !== 'pending' && job.status !== 'processing',
        round: job.round,
        delay_ms: job.delay_ms,
        expires_in_ms: job.expires_in_ms,
        cancel_requested: job.cancel_requested,
        deliveries: [],
      }
      if (answer.final || job.cancel_requested) return answer
      if (!job.planned) {
        const named = job.destinations.filter((destination) => destination.protocol === undefined)
        const known = await findDestinations(
          db,
          named.map((destination) => destination.name),
        )
        await insertPlan(db, ref.tenant_id, id, choose(job.destinations, known), warningsOf(known))
      }
      if (job.delay_ms === 0) await startJob(db, id)
      return { ...answer, deliveries: await openDeliveries(db, id) }
    },
    { statementTimeoutMs: STATEMENT_TIMEOUT_MS },
  )
}

/** A deprecated destination still delivers; its users hear of it. */
function warningsOf(known: ReadonlyMap<string, KnownDestination>): string[] {
  return [...known.values()]
    .filter((destination) => destination.status === 'deprecated')
    .map((destination) => `The destination ${destination.name} is deprecated`)
}
