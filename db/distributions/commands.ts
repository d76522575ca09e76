// Cancel and retry: guarded changes of rows. The signal to the workflow comes after, and whoever finds the row can
// repeat it. All of them run inside a `withTenant` transaction and lock the job's row first.

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

/** Asks for the end of an open job. `finished`: it had ended already; a repeat of a request is `requested` again. */
export async function requestCancel(
  db: Db,
  id: string,
  reason: string | null,
): Promise<
  | { outcome: 'requested'; data_type: string; priority: Priority }
  | { outcome: 'missing' }
  /** `asked`: a cancel had been asked for before. When the status is `cancelled`, it was carried out. */
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

/** Lets those go on that wait behind the failure of an `ordering: "block"`; answers at which destinations they do. */
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

export interface RetryRequest {
  /** These alone; all that can be retried when absent. */
  destinations?: string[] | undefined
  /** Also what had succeeded, under a new delivery id. */
  force: boolean
  /** Life of the retried distribution from now (or a later `deliver_at`) on, in seconds; the stored one when absent. */
  timeout_seconds?: number | undefined
  /** What has been sent again since that round is left alone: somebody else has asked for it. */
  up_to_round?: number | undefined
}

export type RetryOutcome =
  | { outcome: 'reset'; round: number; destinations: string[]; data_type: string; priority: Priority }
  | { outcome: 'missing' }
  | { outcome: 'cancelling' }
  /** `unknown` names destinations that the distribution does not have; `needs_force`: it has none, and may be planned anew. */
  | { outcome: 'nothing'; status: JobStatus; unknown: string[]; needs_force?: boolean }

/**
 * Opens the chosen final deliveries again in a new round with a new budget and a new expiry. Guards on the deliveries,
 * not on the job: an open job keeps its status, a final one becomes `pending`.
 */
export async function requestRetry(db: Db, id: string, request: RetryRequest): Promise<RetryOutcome> {
  const job = await lockCommandedJob(db, id)
  if (!job) return { outcome: 'missing' }
  if (job.cancel_requested && !isFinal(job.status)) return { outcome: 'cancelling' }
  const unknown = await unknownDestinations(db, id, request.destinations ?? [])
  if (unknown.length > 0) return { outcome: 'nothing', status: job.status, unknown }
  await followNames(db, id)
  // A status that was set by hand can leave deliveries open, without a run that delivers them.
  if (isFinal(job.status)) {
    const message = 'The distribution had ended before this destination was served'
    await closeOpenDeliveries(db, id, 'cancelled', 'CANCELLED', message)
  }
  // Left alone unless they are named: what a rule dropped, and what its group did without. With `force` a group that is
  // done starts anew.
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
  // One without deliveries is planned anew: it was cancelled before it had a plan, or the rules chose nothing, which a
  // rule may have mended since.
  const isUntouched = request.up_to_round === undefined || job.round <= request.up_to_round
  const plansAnew = rows.length === 0 && isUntouched && isFinal(job.status) && !(await hasDeliveries(db, id))
  if (rows.length === 0 && !(plansAnew && (!job.planned || job.status === 'failed' || request.force))) {
    return { outcome: 'nothing', status: job.status, unknown: [], needs_force: plansAnew }
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
