// Attempts: opened under the delivery's lock before anything is sent, and closed by guarded updates. A repeated close
// changes nothing.

import type { Target } from '../destinations/circuits.ts'
import type { Db } from '../pool.ts'
import type { DeliveryCode } from '../states.ts'

/** How a send ended, when its row could not be closed in time; `record` writes it. */
export interface AttemptOutcome {
  attempt_id: string
  attempt_number: number
  status: 'success' | 'failed' | 'retry'
  code: DeliveryCode | null
  message: string | null
  response_status: number | null
  response_body: string | null
  /** Milliseconds until the next attempt; null unless `status` is `retry`. */
  retry_delay_ms: number | null
  /** When the send ended, on the worker's clock, ISO 8601. */
  completed_at: string
  /** The destination answered that it is gone; a registered destination is then disabled. */
  gone: boolean
  /** The failure concerns this delivery alone: the destination answered, so its circuit counts no failure. */
  answered?: boolean
  metadata: Record<string, unknown>
  /** What the next attempt must know, in a form that the protocol defines; absent: nothing new. */
  progress?: unknown
  /** The attempt holds one of the destination's slots, which must be released. */
  slotted?: boolean
}

export interface OpenedAttempt {
  id: string
  attempt_number: number
  /** There was an earlier attempt with the same `delivery_id`. */
  is_repeat: boolean
}

/** Takes the next number and opens its row; the delivery becomes `processing`. Call with the delivery locked. */
export async function openAttempt(
  db: Db,
  id: string,
  destination: string,
  attempt: { configuration_version: number | null; worker: string },
): Promise<OpenedAttempt> {
  const { rows } = await db.query<OpenedAttempt>(
    `with taken as (
       update distribution_deliveries
          set status = 'processing', attempts = attempts + 1, round_attempts = round_attempts + 1,
              configuration_version = $3, next_attempt_at = null, deferred_by = null, updated_at = clock_timestamp(),
              started_at = coalesce(started_at, clock_timestamp())
        where distribution_job_id = $1 and destination_name = $2
       returning tenant_id, delivery_id, attempts, round)
     insert into distribution_attempts
            (distribution_job_id, destination_name, tenant_id, delivery_id, attempt_number, round, status, started_at,
             configuration_version, worker)
     select $1, $2, tenant_id, delivery_id, attempts, round, 'processing', clock_timestamp(), $3, $4
       from taken
     returning id, attempt_number,
               exists (
                 select from distribution_attempts earlier
                  where earlier.distribution_job_id = $1 and earlier.destination_name = $2
                    and earlier.delivery_id = distribution_attempts.delivery_id) as is_repeat`,
    [id, destination, attempt.configuration_version, attempt.worker],
  )
  return rows[0]!
}

/**
 * Closes an attempt that its worker left open (the worker was killed, or missed its heartbeats). Returns the attempt's
 * number, or null when none was open.
 */
export async function closeLostAttempt(db: Db, id: string, destination: string): Promise<number | null> {
  const { rows } = await db.query<{ attempt_number: number }>(
    `with lost as (
       update distribution_attempts
          set status = 'retry', retry_reason = 'WORKER_LOST', completed_at = greatest(clock_timestamp(), started_at),
              error_message = 'The worker stopped before the outcome was known',
              metadata = metadata || '{"outcome": "unknown"}'
        where distribution_job_id = $1 and destination_name = $2 and status = 'processing'
       returning distribution_job_id, id, tenant_id, attempt_number, worker),
     logged as (
       insert into attempt_logs (distribution_job_id, attempt_id, tenant_id, level, message, details)
       select distribution_job_id, id, tenant_id, 'warn', 'Closed because its worker was lost',
              jsonb_build_object('worker', worker)
         from lost)
     select attempt_number from lost`,
    [id, destination],
  )
  return rows[0]?.attempt_number ?? null
}

/** Whether every attempt of this round ended as `WORKER_LOST`: then the delivery gets one attempt more. */
export async function onlyLostAttempts(db: Db, id: string, destination: string, round: number): Promise<boolean> {
  const { rows } = await db.query<{ only_lost: boolean }>(
    `select not exists (
       select from distribution_attempts
        where distribution_job_id = $1 and destination_name = $2 and round = $3
          and retry_reason is distinct from 'WORKER_LOST') as only_lost`,
    [id, destination, round],
  )
  return rows[0]!.only_lost
}

/** What the circuit needs to know about a closed attempt. */
export interface ClosedAttempt extends Target {
  destination: string
  /** Null for an inline destination. */
  destination_id: string | null
  started_at: Date
  /** The circuit has recorded failures, which a success must clear. */
  troubled: boolean
}

/**
 * Closes an attempt with its outcome, if it is still `processing`. The delivery is updated only while this is its
 * latest attempt. Null when the attempt was already closed. Locks the delivery before the attempt, as the opening does.
 */
export async function closeAttempt(
  db: Db,
  id: string,
  destination: string,
  outcome: AttemptOutcome,
): Promise<ClosedAttempt | null> {
  const { rows } = await db.query<ClosedAttempt>(
    `with held as (
       select tenant_id, destination_id, coalesce(target, destination_id::text, protocol || '://') as target
         from distribution_deliveries
        where distribution_job_id = $1 and destination_name = $2
          for update),
     closed as (
       update distribution_attempts a
          set status = $4::text, retry_reason = $5::text, error_message = $6, response_status_code = $7, response_body = $8,
              metadata = a.metadata || $9::jsonb,
              completed_at = greatest(least(clock_timestamp(), $11::timestamptz), a.started_at)
         from held
        where a.distribution_job_id = $1 and a.id = $3 and a.status = 'processing'
       returning a.attempt_number, a.started_at, a.completed_at, a.delivery_id),
     followed as (
       update distribution_deliveries d
          set status = case $4::text when 'success' then 'success' when 'failed' then 'failed' else 'waiting' end,
              error_code = $5::text, error_message = $6, response_status = $7, updated_at = clock_timestamp(),
              response_time_ms = extract(epoch from closed.completed_at - closed.started_at) * 1000,
              next_attempt_at = case when $4::text = 'retry' then clock_timestamp() + $10 * interval '1 millisecond' end,
              completed_at = case when $4::text <> 'retry' then closed.completed_at end,
              progress = coalesce($12::jsonb, d.progress)
         from closed
        where d.distribution_job_id = $1 and d.destination_name = $2
          and d.attempts = closed.attempt_number and d.status = 'processing')
     select held.tenant_id, $2 as destination, held.target, held.destination_id, closed.delivery_id, closed.started_at,
            exists (select from destination_circuits c where c.tenant_id = held.tenant_id and c.target = held.target)
              as troubled
       from closed cross join held`,
    [
      id,
      destination,
      outcome.attempt_id,
      outcome.status,
      outcome.code,
      outcome.message,
      outcome.response_status,
      outcome.response_body,
      JSON.stringify(outcome.metadata),
      outcome.retry_delay_ms ?? 0,
      outcome.completed_at,
      outcome.progress === undefined ? null : JSON.stringify(outcome.progress),
    ],
  )
  return rows[0] ?? null
}

/**
 * Stores a success that arrives after its attempt was closed: the worker was thought lost but was alive, or the success
 * came at the same time as a cancel or an expiry. The row then says success, because the document was delivered. Any
 * other late outcome changes nothing.
 */
export async function acceptLateSuccess(
  db: Db,
  id: string,
  destination: string,
  outcome: AttemptOutcome,
): Promise<boolean> {
  const { rowCount } = await db.query(
    `with late as (
       update distribution_attempts
          set status = 'success', retry_reason = null, error_message = null, response_status_code = $4,
              response_body = $5, metadata = (metadata - 'outcome') || $6::jsonb || '{"late": true}'
        where distribution_job_id = $1 and id = $3 and status in ('retry', 'cancelled')
          and retry_reason in ('WORKER_LOST', 'CANCELLED', 'EXPIRED')
       returning distribution_job_id, id, tenant_id, delivery_id, started_at, completed_at),
     logged as (
       insert into attempt_logs (distribution_job_id, attempt_id, tenant_id, level, message)
       select distribution_job_id, id, tenant_id, 'info', 'The destination had taken it after all' from late),
     followed as (
       update distribution_deliveries d
          set status = 'success', error_code = null, error_message = null, next_attempt_at = null,
              response_status = $4, completed_at = late.completed_at, updated_at = clock_timestamp(),
              response_time_ms = extract(epoch from late.completed_at - late.started_at) * 1000
         from late
        where d.distribution_job_id = $1 and d.destination_name = $2
          and d.delivery_id = late.delivery_id and d.status <> 'success')
     select from late`,
    [
      id,
      destination,
      outcome.attempt_id,
      outcome.response_status,
      outcome.response_body,
      JSON.stringify(outcome.metadata),
    ],
  )
  return rowCount === 1
}

/**
 * Stores the progress of an attempt that was closed before it reported, for example which recipients already have the
 * mail. Only while no later attempt can have newer progress. The final state of attempt and delivery does not change.
 */
export async function keepLateProgress(
  db: Db,
  id: string,
  destination: string,
  outcome: AttemptOutcome,
): Promise<void> {
  await db.query(
    `with late as (
       update distribution_attempts
          set metadata = (metadata - 'outcome') || $4::jsonb || '{"late": true}'
        where distribution_job_id = $1 and id = $3 and status in ('retry', 'cancelled')
          and retry_reason in ('WORKER_LOST', 'CANCELLED', 'EXPIRED') and not metadata ? 'late'
       returning attempt_number, delivery_id)
     update distribution_deliveries d
        set progress = $5::jsonb
       from late
      where d.distribution_job_id = $1 and d.destination_name = $2 and d.delivery_id = late.delivery_id
        and d.status <> 'success'
        and (d.attempts = late.attempt_number
             or (d.attempts = late.attempt_number + 1 and d.status = 'processing'))`,
    [id, destination, outcome.attempt_id, JSON.stringify(outcome.metadata), JSON.stringify(outcome.progress)],
  )
}
