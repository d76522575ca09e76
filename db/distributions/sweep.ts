// What the sweep reads and writes. It sees the open work of all tenants through functions that run as the tables'
// owner.
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
  /** How many times the sweep has started a run for this round. */
  sweep_starts: number
}

/**
 * Open jobs whose `check_at` is reached, oldest first. With `all`, every open job whose id is greater than `after`: for
 * a Temporal server that may have lost its runs. At most `limit`.
 */
export async function dueJobs(db: Db, limit: number, all: boolean, after: string | null): Promise<DueJob[]> {
  const { rows } = await db.query<DueJob>('select * from due_jobs($1, $2, $3)', [limit, all, after])
  return rows
}

/** Has the sweep check the job again after so many seconds. */
export async function checkLater(db: Db, id: string, seconds: number): Promise<void> {
  await db.query(
    `update distribution_jobs set check_at = clock_timestamp() + $2 * interval '1 second'
      where id = $1 and status in ${OPEN_JOB}`,
    [id, seconds],
  )
}

/** Counts a start by the sweep in this round; false when the job has become final. */
export async function countSweepStart(db: Db, id: string): Promise<boolean> {
  const { rowCount } = await db.query(
    `update distribution_jobs
        set sweep_starts = sweep_starts + 1, check_at = clock_timestamp() + interval '60 seconds'
      where id = $1 and status in ${OPEN_JOB}`,
    [id],
  )
  return rowCount === 1
}

/**
 * Whether the row last changed after `time`. If so, a run that ended before `time` does not belong to the present
 * round.
 */
export async function changedAfter(db: Db, id: string, time: Date): Promise<boolean> {
  const { rows } = await db.query<{ changed: boolean }>(
    'select updated_at > $2 as changed from distribution_jobs where id = $1',
    [id, time],
  )
  return rows[0]?.changed ?? false
}

/** Whether a delivery that a manual retry reopened is due, but no run has started it yet. */
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

/** Makes every pending webhook due at its own time again, because Temporal may have lost the runs. */
export async function bringForward(db: Db): Promise<void> {
  await db.query('select bring_forward()')
}

export interface WaitingTarget {
  tenant_id: string
  target: string
  /** Some wait until the destination can be reached, or is enabled. */
  recovers: boolean
  /** Some wait because of limits, which were changed at this time. */
  changed_at: Date | null
}

/** The targets that deliveries wait for, over all tenants. */
export async function waitingTargets(db: Db, limit: number): Promise<WaitingTarget[]> {
  const { rows } = await db.query<WaitingTarget>('select * from waiting_targets($1)', [limit])
  return rows
}
