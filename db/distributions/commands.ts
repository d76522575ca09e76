// Cancel and retry: guarded changes of rows. The caller signals the workflow after the commit; if that signal is lost,
// the sweep finds the row and repeats it. All functions run inside a `withTenant` transaction and lock the job's row
// first.

import { followNames } from '../destinations/deleted.ts'
import type { Db } from '../pool.ts'
import { isFinal, type JobStatus, OPEN_DELIVERY, OPEN_JOB, type Priority } from '../states.ts'
import { closeOpenDeliveries } from './end-statements.ts'
import { lineUpAgain } from './failover.ts'
import { CANCEL_TOO_LATE, NOTHING_CHOSEN } from './final-state.ts'

interface CommandedJob {
  status: JobStatus
  round: number
  planned: boolean
  cancel_requested: boolean
  data_type: string
  priority: Priority
}

async function lockCommandedJob(db: Db, id: string): Promise<CommandedJob | null> {
  const { rows } = await db.query<CommandedJob>(
    `select status, round, planned_at is not null as planned, cancel_requested_at is not null as cancel_requested,
            data_type, priority
       from distribution_jobs where id = $1 for update`,
    [id],
  )
  return rows[0] ?? null
}

/**
 * Requests the cancel of an open job. `finished`: the job had already ended. A repeated request is `requested` again.
 */
export async function requestCancel(
  db: Db,
  id: string,
  reason: string | null,
): Promise<
  | { outcome: 'requested'; data_type: string; priority: Priority }
  | { outcome: 'missing' }
  /** `asked`: a cancel was requested earlier. If the status is `cancelled`, that cancel took effect. */
  | { outcome: 'finished'; status: JobStatus; asked: boolean }
> {
  const job = await lockCommandedJob(db, id)
  if (!job) return { outcome: 'missing' }
  if (isFinal(job.status)) return { outcome: 'finished', status: job.status, asked: job.cancel_requested }
  await db.query(
    `update distribution_jobs
        set cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp()),
            cancel_reason = coalesce(cancel_reason, $2), check_at = clock_timestamp() + interval '60 seconds'
      where id = $1`,
    [id, reason],
  )
  const { data_type, priority } = job
  return { outcome: 'requested', data_type, priority }
}

/** Releases the deliveries that a failure blocks under `ordering: "block"`; returns the destinations where it did. */
export async function releaseBlocked(
  db: Db,
  id: string,
): Promise<{ outcome: 'missing' } | { outcome: 'released'; destinations: string[] }> {
  if (!(await lockCommandedJob(db, id))) return { outcome: 'missing' }
  const { rows } = await db.query<{ destination_name: string }>(
    `update distribution_deliveries set ordering_blocks = false, updated_at = clock_timestamp()
      where distribution_job_id = $1 and status = 'failed' and ordering_blocks
     returning destination_name`,
    [id],
  )
  return { outcome: 'released', destinations: rows.map(({ destination_name }) => destination_name) }
}

/** The longest life that a submission or a retry can ask for, in seconds: 30 days. */
export const MAX_TIMEOUT_SECONDS = 2_592_000

export interface RetryRequest {
  /** Only these destinations; when absent, all that can be retried. */
  destinations?: string[] | undefined
  /** Also sends successful deliveries again, under a new delivery id. */
  force: boolean
  /**
   * Seconds until the retried distribution expires, from now or a later `deliver_at`; when absent, the stored value.
   */
  timeout_seconds?: number | undefined
  /** Deliveries that were retried after this round are skipped: another request has already retried them. */
  up_to_round?: number | undefined
}

export type RetryOutcome =
  | { outcome: 'reset'; round: number; destinations: string[]; data_type: string; priority: Priority }
  | { outcome: 'missing' }
  | { outcome: 'cancelling' }
  /**
   * `unknown`: destinations that the distribution does not have. `needs_force`: it has none; `force` plans it again.
   */
  | { outcome: 'nothing'; status: JobStatus; round: number; unknown: string[]; needs_force?: boolean }

/**
 * Opens the chosen final deliveries again, in a new round with a new budget and a new expiry. The status of each
 * delivery decides, not that of the job: an open job keeps its status, a final job becomes `pending`.
 */
export async function requestRetry(db: Db, id: string, request: RetryRequest): Promise<RetryOutcome> {
  const job = await lockCommandedJob(db, id)
  if (!job) return { outcome: 'missing' }
  if (job.cancel_requested && !isFinal(job.status)) return { outcome: 'cancelling' }
  const unknown = await unknownDestinations(db, id, request.destinations ?? [])
  const { status, round } = job
  if (unknown.length > 0) return { outcome: 'nothing', status, round, unknown }
  await followNames(db, id)
  // If an operator set the job's status by hand, deliveries may still be open, without a run that delivers them.
  if (isFinal(job.status)) {
    const message = 'The distribution had ended before this destination was served'
    await closeOpenDeliveries(db, id, 'cancelled', 'CANCELLED', message)
  }
  // Skipped unless they are named: deliveries that a rule dropped, and those whose failover group succeeded without
  // them. With `force` a group that succeeded starts again.
  const { rows } = await db.query<{ destination_name: string; grouped: boolean }>(
    `with groups as (
       select failover_group, bool_or(status = 'success') as served,
              bool_or(status in ${OPEN_DELIVERY}) as under_way
         from distribution_deliveries
        where distribution_job_id = $1 and failover_group is not null
        group by failover_group),
     chosen as (
       select d.destination_name
         from distribution_deliveries d
         left join groups g on g.failover_group = d.failover_group
        where d.distribution_job_id = $1
          and (d.status in ('failed', 'skipped', 'cancelled') or ($3 and d.status = 'success'))
          and ($5::int is null or d.round <= $5)
          and case when $4::text[] is not null then d.destination_name = any ($4)
                   when g.failover_group is not null and not d.required then not g.under_way and ($3 or not g.served)
                   else d.status <> 'skipped' or d.error_code is not null end)
     update distribution_deliveries d
        set delivery_id = case d.status when 'success' then new_uuidv7() else d.delivery_id end,
            progress = case d.status when 'success' then null else d.progress end,
            ordering_blocks = (select ordering_blocks from distribution_jobs where id = $1),
            status = 'pending', standby = false, round = $2, round_attempts = 0, next_attempt_at = null, error_code = null,
            error_message = null, response_status = null, response_time_ms = null, completed_at = null,
            updated_at = clock_timestamp()
       from chosen c
      where d.distribution_job_id = $1 and d.destination_name = c.destination_name
      returning d.destination_name, d.failover_group is not null as grouped`,
    [id, job.round + 1, request.force, request.destinations ?? null, request.up_to_round ?? null],
  )
  if (rows.some(({ grouped }) => grouped)) await lineUpAgain(db, id, job.round + 1)
  // A distribution without deliveries is planned again. It was cancelled before planning, or the rules chose no
  // destination and may have been corrected since.
  const isUntouched = request.up_to_round === undefined || job.round <= request.up_to_round
  const plansAnew = rows.length === 0 && isUntouched && isFinal(job.status) && !(await hasDeliveries(db, id))
  if (rows.length === 0 && !(plansAnew && (!job.planned || job.status === 'failed' || request.force))) {
    return { outcome: 'nothing', status, round, unknown: [], needs_force: plansAnew }
  }
  await db.query(
    `update distribution_jobs
        set round = round + 1, sweep_starts = 0, cancel_requested_at = null, cancel_reason = null,
            status = case when status in ${OPEN_JOB} then status else 'pending' end,
            completed_at = null, error_code = null, error_message = null,
            planned_at = case when $3 then null else planned_at end, 
            warnings = case jsonb_typeof(warnings) when 'array' then warnings - $4::text[] else '[]' end,
            timeout_seconds = coalesce($2, timeout_seconds),
            options = case when $2::int is null or jsonb_typeof(options) <> 'object' then options else options - 'default_life' end,
            expires_at = greatest(clock_timestamp(), deliver_at) + coalesce($2, timeout_seconds) * interval '1 second',
            check_at = clock_timestamp() + interval '60 seconds', updated_at = clock_timestamp()
      where id = $1`,
    [id, request.timeout_seconds ?? null, plansAnew, [NOTHING_CHOSEN, CANCEL_TOO_LATE]],
  )
  return {
    outcome: 'reset',
    round: job.round + 1,
    destinations: rows.map((row) => row.destination_name),
    data_type: job.data_type,
    priority: job.priority,
  }
}

async function hasDeliveries(db: Db, id: string): Promise<boolean> {
  const { rowCount } = await db.query('select from distribution_deliveries where distribution_job_id = $1 limit 1', [
    id,
  ])
  return rowCount === 1
}

async function unknownDestinations(db: Db, id: string, names: string[]): Promise<string[]> {
  if (names.length === 0) return []
  const { rows } = await db.query<{ name: string }>(
    `select name from unnest($2::text[]) as name
      where not exists (select from distribution_deliveries d
                         where d.distribution_job_id = $1 and d.destination_name = name)`,
    [id, names],
  )
  return rows.map((row) => row.name)
}
