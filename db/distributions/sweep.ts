// The sweep's view of open work, over all tenants through definer functions, and what it notes about each job.
import type { Db } from '../pool.ts'
import { type JobStatus, OPEN_JOB, type Priority } from '../states.ts'

export interface DueJob {
  tenant_id: string
  distribution_id: string
  id: string
  data_type: string
  priority: Priority
  status: JobStatus
  cancel_requested: boolean
  round: number
  /** How often the sweep has started this round's run already. */
  sweep_starts: number
}

/**
 * Open jobs whose `check_at` has come, oldest first; with `all` every open job behind the id `after` (Temporal's data
 * may be new). At most `limit`.
 */
export async function dueJobs(db: Db, limit: number, all: boolean, after: string | null): Promise<DueJob[]> {
  const { rows } = await db.query<DueJob>('select * from due_jobs($1, $2, $3)', [limit, all, after])
  return rows
}

/** Looks at the job again after so many seconds. */
export async function checkLater(db: Db, id: string, seconds: number): Promise<void> {
  await db.query(
    `update distribution_jobs set check_at = clock_timestamp() + $2 * interval '1 second'
      where id = $1 and status in ${OPEN_JOB}`,
    [id, seconds],
  )
}

/** Counts a start by the sweep in this round; false when the job is final by now. */
export async function countSweepStart(db: Db, id: string): Promise<boolean> {
  const { rowCount } = await db.query(
    `update distribution_jobs
        set sweep_starts = sweep_starts + 1, check_at = clock_timestamp() + interval '60 seconds'
      where id = $1 and status in ${OPEN_JOB}`,
    [id],
  )
  return rowCount === 1
}

/** Whether the row was last moved on after `time`: a run that ended before then says nothing about this round. */
export async function changedAfter(db: Db, id: string, time: Date): Promise<boolean> {
  const { rows } = await db.query<{ changed: boolean }>(
    'select updated_at > $2 as changed from distribution_jobs where id = $1',
    [id, time],
  )
  return rows[0]?.changed ?? false
}

/** Whether a manual retry has opened a delivery again that nobody has taken up yet, although its time has come. */
export async function hasUntakenRetry(db: Db, id: string): Promise<boolean> {
  const { rows } = await db.query<{ untaken: boolean }>(
    `select exists (
       select from distribution_deliveries d
         join distribution_jobs j on j.id = d.distribution_job_id
        where d.distribution_job_id = $1 and d.status = 'pending' and d.round > 1
          and coalesce(j.deliver_at <= clock_timestamp(), true)) as untaken`,
    [id],
  )
  return rows[0]!.untaken
}

/** Webhooks without a run are due by their own time again, because Temporal may have lost their runs. */
export async function bringForward(db: Db): Promise<void> {
  await db.query('select bring_forward()')
}

export interface WaitingTarget {
  tenant_id: string
  target: string
  /** Some wait until it can be reached, or is in service. */
  recovers: boolean
  /** Some wait under limits that were changed then. */
  changed_at: Date | null
}

/** For whom deliveries wait, over all tenants. */
export async function waitingTargets(db: Db, limit: number): Promise<WaitingTarget[]> {
  const { rows } = await db.query<WaitingTarget>('select * from waiting_targets($1)', [limit])
  return rows
}
