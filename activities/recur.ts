// `fire`: the distribution of one time of a schedule. And the schedules themselves, which Temporal keeps by our rows.
import { peekJob } from '../db/batches.ts'
import { jobId } from '../db/job-id.ts'
import { withTenant } from '../db/pool.ts'
import { findRecurring, fireRecurring, noteInSync } from '../db/recurring.ts'
import type { Runs } from '../temporal-config/runs.ts'
import type { DistributionRef, Fired, FireInput, RecurringRef } from '../workflows/messages.ts'
import type { ActivityDeps } from './deps.ts'

/** Idempotent: the time names the distribution. One that was paused or deleted meanwhile makes none. */
export async function fire(deps: ActivityDeps, { tenant_id, schedule_id, at }: FireInput): Promise<Fired> {
  const fired = await withTenant(deps.pool, tenant_id, async (db) => {
    const row = await findRecurring(db, schedule_id)
    if (!row || row.deleted || row.paused) return null
    const by = { request_id: `schedule/${row.id}/${at}`, actor: `schedule:${row.id}` }
    return { job: await fireRecurring(db, row, at, by), overlap: row.overlap }
  })
  if (!fired) return { distribution_id: null, wait: false }
  const { job, overlap } = fired
  const ref = { tenant_id, distribution_id: job.distribution_id }
  await deps
    .runs()
    ?.start(ref, job)
    .catch((error: unknown) => {
      deps.logger.warn({ err: error, ...ref }, 'a recurring distribution was not started; the sweep will find it')
    })
  return { distribution_id: job.distribution_id, wait: overlap !== 'allow_all' }
}

export async function isFinal(deps: ActivityDeps, { tenant_id, distribution_id }: DistributionRef): Promise<boolean> {
  const job = await withTenant(deps.pool, tenant_id, (db) => peekJob(db, jobId(distribution_id)))
  return job === null || (job.status !== 'pending' && job.status !== 'processing')
}

/** Brings Temporal in line with the row as it is now. */
export async function syncRecurring(
  { pool }: Pick<ActivityDeps, 'pool'>,
  runs: Pick<Runs, 'setRecurring'>,
  { tenant_id, schedule_id }: RecurringRef,
): Promise<void> {
  const row = await withTenant(pool, tenant_id, (db) => findRecurring(db, schedule_id))
  if (!row) return
  await runs.setRecurring(row)
  await withTenant(pool, tenant_id, (db) => noteInSync(db, row.id, row.version))
}
