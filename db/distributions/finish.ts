// Ends a distribution: what is open is closed, the job's state is derived from its deliveries, the callback falls due.
// One transaction with the job's row locked first, so that a repeated or overlapping call changes nothing.

import type { Db } from '../pool.ts'
import { type DeliveryCode, type DeliveryStatus, isFinal, type JobStatus, OPEN_DELIVERY } from '../states.ts'
import { insertCallback } from '../webhooks/callbacks.ts'
import { moveFailoverOn } from './failover.ts'
import { type DeliverySummary, deriveFinalState, type EndedBy, type FinalState } from './final-state.ts'
import { distributionMetrics, findJobState, listDeliveryStates } from './status.ts'

/** Why `finish` is called. */
export type FinishCause = 'done' | 'cancelled' | 'expired'

export type Finished =
  /** There is no such job (of this tenant). */
  | { outcome: 'missing' }
  /** Something is open that the cause does not end: look at the row again. */
  | { outcome: 'again' }
  | {
      outcome: 'final'
      status: JobStatus
      round: number
      /** A callback waits for this round. */
      notify: boolean
      /** Others may wait for its end under the same ordering key. */
      ordered: boolean
      /** Some of its deliveries may have ended without a word, since their group was served. */
      grouped: boolean
      /** This very call ended it: with what metrics need. Null on a repeat. */
      ended: { data_type: string; catalogued: boolean; seconds: number } | null
    }

export interface FinishRequest {
  /** Ends only this round: a manual retry meanwhile is not what the cause was about. */
  round: number
  cause: FinishCause
  /** Shown with the job when `cause` is `cancelled` and no order to cancel stands in the row. */
  reason?: string
}

/**
 * Ends job `id`. An order to cancel in the row wins over the cause given; `expired` ends only what has expired on the
 * database's clock; `done` ends only a job whose deliveries are all final (or whose order to cancel or expiry came).
 */
export async function finishDistribution(db: Db, id: string, request: FinishRequest): Promise<Finished> {
  let job = await lockJobToFinish(db, id)
  if (!job) return { outcome: 'missing' }
  if (job.round !== request.round) return { outcome: 'again' }
  if (isFinal(job.status)) {
    return alreadyFinal(job)
  }
  if (job.standing_by) {
    // Those that stand by for a success are not open, whatever ends the job.
    await moveFailoverOn(db, id)
    job = (await lockJobToFinish(db, id))!
  }
  const endedBy = endedByOf(job, request.cause)
  if (endedBy === null) return { outcome: 'again' }
  if (endedBy === 'cancel') {
    if (!job.cancel_requested) await markCancelled(db, id, request.reason ?? 'cancelled in Temporal')
    await closeOpenDeliveries(db, id, 'cancelled', 'CANCELLED', 'The distribution was cancelled')
  } else if (endedBy === 'expiry') {
    await closeOpenDeliveries(
      db,
      id,
      'failed',
      'EXPIRED',
      'The distribution expired before this destination was served',
    )
  }
  if (job.grouped) await letGo(db, id)
  const deliveries = await summariseDeliveries(db, id)
  const final = deriveFinalState(deliveries, endedBy, deliveries.length === 0 && (await failsWhenEmpty(db, job)))
  return { outcome: 'final', ...(await end(db, job, endedBy, final)) }
}

/** Ends this round of a job that can not be delivered any more (its data is unreadable, its run can not be started). */
export async function giveUp(
  db: Db,
  id: string,
  round: number,
  message: string,
  code: DeliveryCode = 'UNEXPECTED',
): Promise<Finished> {
  const job = await lockJobToFinish(db, id)
  if (!job) return { outcome: 'missing' }
  if (job.round !== round) return { outcome: 'again' }
  if (isFinal(job.status)) {
    return alreadyFinal(job)
  }
  await closeOpenDeliveries(db, id, 'failed', code, message)
  const deliveries = await summariseDeliveries(db, id)
  const { retry_count } = deriveFinalState(deliveries, 'deliveries', true)
  return {
    outcome: 'final',
    ...(await end(db, job, 'deliveries', {
      status: 'failed',
      error_code: code,
      error_message: message,
      retry_count,
      warnings: [],
    })),
  }
}

function alreadyFinal(job: JobToFinish): Finished {
  const { status, round, callback_pending, ordered, grouped } = job
  return { outcome: 'final', status, round, notify: callback_pending, ordered, grouped, ended: null }
}

function endedByOf(job: JobToFinish, cause: FinishCause): EndedBy | null {
  if (job.cancel_requested || cause === 'cancelled') return 'cancel'
  if (job.planned && job.open_deliveries === 0) return 'deliveries'
  return job.expired ? 'expiry' : null
}

async function end(db: Db, job: JobToFinish, endedBy: EndedBy, final: FinalState) {
  await db.query('call update_distribution_status($1, $2, $3, $4, $5)', [
    `dist_${job.id}`,
    final.status,
    final.error_message,
    final.error_code,
    'distributor',
  ])
  await db.query(`update distribution_jobs set retry_count = $2, warnings = warnings || $3::jsonb where id = $1`, [
    job.id,
    final.retry_count,
    JSON.stringify(final.warnings),
  ])
  if (job.callback_url !== null) {
    const event_type = `distribution.${endedBy === 'expiry' && final.status === 'failed' ? 'expired' : final.status}`
    await insertCallback(db, {
      id: job.id,
      tenant_id: job.tenant_id,
      round: job.round,
      event_type,
      callback_url: job.callback_url,
      body: await callbackBody(db, job.id, event_type),
    })
  }
  return {
    status: final.status,
    round: job.round,
    notify: job.callback_url !== null,
    ordered: job.ordered,
    grouped: job.grouped,
    ended: { data_type: job.data_type, catalogued: job.catalogued, seconds: job.age_seconds },
  }
}

/** What the callback says: the state at this moment, not at the moment of sending. */
async function callbackBody(db: Db, id: string, event_type: string): Promise<string> {
  const job = (await findJobState(db, id))!
  const destinations = await listDeliveryStates(db, id)
  const { distribution_id, tenant_id, status, completed_at } = job
  const metrics = distributionMetrics(job, destinations)
  return JSON.stringify({ event_type, distribution_id, tenant_id, status, completed_at, destinations, metrics })
}

interface JobToFinish {
  id: string
  tenant_id: string
  status: JobStatus
  round: number
  data_type: string
  /** The data type is in the catalogue, the tenant's or the shared one. */
  catalogued: boolean
  callback_url: string | null
  ordered: boolean
  grouped: boolean
  planned: boolean
  expired: boolean
  cancel_requested: boolean
  callback_pending: boolean
  open_deliveries: number
  standing_by: boolean
  age_seconds: number
}

async function lockJobToFinish(db: Db, id: string): Promise<JobToFinish | null> {
  // The lock comes first, in a statement of its own: the sub-selects below would otherwise see a snapshot from before it.
  const { rowCount } = await db.query('select from distribution_jobs where id = $1 for update', [id])
  if (rowCount === 0) return null
  const { rows } = await db.query<JobToFinish>(
    `select j.id, j.tenant_id, j.status, j.round, j.data_type, j.callback_url,
            j.ordering_key is not null as ordered,
            exists (select from data_types t
                     where t.id = j.data_type and (t.tenant_id is null or t.tenant_id = j.tenant_id)) as catalogued,
            j.planned_at is not null as planned,
            j.expires_at <= clock_timestamp() as expired,
            j.cancel_requested_at is not null as cancel_requested,
            exists (select from distribution_callbacks c
                     where c.distribution_job_id = j.id and c.round = j.round and c.status = 'pending') as callback_pending,
            (select count(*)::int from distribution_deliveries d
              where d.distribution_job_id = j.id and d.status in ${OPEN_DELIVERY}) as open_deliveries,
            exists (select from distribution_deliveries d
                     where d.distribution_job_id = j.id and d.standby and d.status = 'pending') as standing_by,
            j.ordering_key is not null and exists (
              select from distribution_deliveries d
               where d.distribution_job_id = j.id and d.failover_group is not null) as grouped,
            extract(epoch from clock_timestamp() - j.created_at)::float8 as age_seconds
       from distribution_jobs j
      where j.id = $1`,
    [id],
  )
  return rows[0] ?? null
}

/** Under `ordering: "block"` a failure holds up what comes behind it, unless another one of its group was served. */
async function letGo(db: Db, id: string): Promise<void> {
  await db.query(
    `update distribution_deliveries d
        set ordering_blocks = false
      where d.distribution_job_id = $1 and d.ordering_blocks and d.status = 'failed' and not d.required
        and exists (select from distribution_deliveries s
                     where s.distribution_job_id = $1 and s.failover_group = d.failover_group and s.status = 'success')`,
    [id],
  )
}

async function markCancelled(db: Db, id: string, reason: string): Promise<void> {
  await db.query(
    `update distribution_jobs set cancel_requested_at = clock_timestamp(), cancel_reason = coalesce(cancel_reason, $2)
      where id = $1`,
    [id, reason],
  )
}

/** Ends the open deliveries, and their open attempts, whose outcome nobody knows. */
async function closeOpenDeliveries(
  db: Db,
  id: string,
  status: Extract<DeliveryStatus, 'cancelled' | 'failed'>,
  code: DeliveryCode,
  message: string,
): Promise<void> {
  await db.query(
    `update distribution_deliveries
        set status = $2, error_code = $3, error_message = $4, next_attempt_at = null,
            completed_at = clock_timestamp(), updated_at = clock_timestamp()
      where distribution_job_id = $1 and status in ${OPEN_DELIVERY}`,
    [id, status, code, message],
  )
  await db.query(
    `update distribution_attempts
        set status = 'cancelled', retry_reason = $2, error_message = $3,
            completed_at = greatest(clock_timestamp(), started_at),
            metadata = metadata || '{"outcome": "unknown"}'
      where distribution_job_id = $1 and status = 'processing'`,
    [id, code, message],
  )
}

async function summariseDeliveries(db: Db, id: string): Promise<DeliverySummary[]> {
  const { rows } = await db.query<DeliverySummary>(
    `select destination_name, status, attempts, error_code, error_message, failover_group, required
       from distribution_deliveries where distribution_job_id = $1 order by position`,
    [id],
  )
  return rows
}

/** The tenant's wish for a plan without destinations; what a rule dropped is no failure. */
async function failsWhenEmpty(db: Db, { id, tenant_id }: JobToFinish): Promise<boolean> {
  const { rows } = await db.query<{ fails: boolean }>(
    `select coalesce(t.config ->> 'no_destination' = 'fail' and j.plan_explanation ->> 'dropped' is null, false) as fails
       from tenants t join distribution_jobs j on j.id = $2
      where t.id = $1`,
    [tenant_id, id],
  )
  return rows[0]?.fails ?? false
}
