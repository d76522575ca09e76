// The status of a distribution: the job, its deliveries in the order of the submission, and numbers computed from them.
import type { Db } from '../pool.ts'
import { type DeliveryStatus, isFinal, type JobStatus, type Priority, type Protocol } from '../states.ts'
import { MOST_STORED } from './submitted.ts'

export interface JobState {
  distribution_id: string
  tenant_id: string
  status: JobStatus
  priority: Priority
  data_type: string
  submitted_at: Date
  started_at: Date | null
  completed_at: Date | null
  expires_at: Date
  deliver_at: Date | null
  ordering_key: string | null
  schedule_id: string | null
  /** Public name of the batch that it was submitted with. */
  batch_id: string | null
  round: number
  cancel_requested_at: Date | null
  cancel_reason: string | null
  error_code: string | null
  error_message: string | null
  warnings: unknown[]
}

export interface DeliveryState {
  name: string
  protocol: Protocol | null
  status: DeliveryStatus
  attempts: number
  started_at: Date | null
  completed_at: Date | null
  response_time_ms: number | null
  response_status: number | null
  error_code: string | null
  error_message: string | null
  next_attempt_at: Date | null
}

/** The job, or null when there is none of this id (of this tenant). */
export async function findJobState(db: Db, id: string): Promise<JobState | null> {
  const { rows } = await db.query<JobState>(
    `select distribution_id, tenant_id, status, priority, data_type, created_at as submitted_at, started_at,
            completed_at, expires_at, deliver_at, ordering_key, schedule_id,
            'batch_' || batch_id as batch_id, round, cancel_requested_at, cancel_reason, error_code, error_message,
            case jsonb_typeof(warnings) when 'array' then warnings else jsonb_build_array(warnings) end as warnings
       from distribution_jobs where id = $1`,
    [id],
  )
  return rows[0] ?? null
}

/**
 * The deliveries of the plan. Before planning: the submitted destinations, `pending` or with the final status of the
 * job.
 */
export async function listDeliveryStates(db: Db, id: string): Promise<DeliveryState[]> {
  const { rows } = await db.query<DeliveryState>(
    `select d.destination_name as name, d.protocol, d.status, d.attempts, d.started_at, d.completed_at, d.response_time_ms,
            d.response_status, d.error_code,
            -- Computed now, because a held delivery does not update its row when the one that it waits for changes.
            case when d.ordering_state = 'held' then coalesce(
              (select case a.ordering_state when 'blocking' then 'Blocked by the failure of ' else 'Waits for ' end
                      || 'dist_' || a.distribution_job_id || ', which comes before it under the same ordering_key'
                 from distribution_deliveries a
                where a.tenant_id = d.tenant_id and a.ordering_key = d.ordering_key
                  and a.destination_name = d.destination_name and a.ordering_state is not null
                  and a.ordering_seq < d.ordering_seq
                order by a.ordering_seq limit 1), d.error_message)
            else d.error_message end as error_message,
            d.next_attempt_at
       from distribution_deliveries d where d.distribution_job_id = $1 order by d.position`,
    [id],
  )
  return rows.length > 0 ? rows : listSubmittedDestinations(db, id)
}

async function listSubmittedDestinations(db: Db, id: string): Promise<DeliveryState[]> {
  const { rows } = await db.query<DeliveryState>(
    `select coalesce(s.name, '') as name, coalesce(s.protocol, d.protocol) as protocol,
            case j.status when 'cancelled' then 'cancelled' when 'failed' then 'failed' else 'pending' end as status,
            0 as attempts, null as started_at, j.completed_at, null as response_time_ms, null as response_status,
            j.error_code, null as error_message, null as next_attempt_at
       from distribution_jobs j
      cross join lateral submitted_destinations(j.destinations) as s
       left join destinations d on d.name = s.name and d.deleted_at is null
      where j.id = $1
      order by s.position limit $2`,
    [id, MOST_STORED],
  )
  return rows
}

/** The payload as it was accepted; `bytes` is null if it is larger than `most`, `size` too if it is not stored any more. */
export async function payloadOf(
  db: Db,
  id: string,
  most: number,
): Promise<{ size: number | null; bytes: Buffer | null } | null> {
  const { rows } = await db.query<{ size: number | null; bytes: Buffer | null }>(
    `select octet_length(payload_bytes) as size, case when octet_length(payload_bytes) <= $2 then payload_bytes end as bytes
       from distribution_jobs where id = $1`,
    [id, most],
  )
  return rows[0] ?? null
}

export interface DistributionMetrics {
  /** Submission to final state; null until then. */
  total_latency_ms: number | null
  average_response_time_ms: number | null
  /** Successful deliveries divided by those that were needed, 0 to 1; four decimals, null when none was needed. */
  success_rate: number | null
  /** Sum over the deliveries of the attempts after the first. */
  retry_count: number
}

/** The numbers of a status answer; the SQL function callback_body computes the same ones for a callback. */
export function distributionMetrics(
  job: Pick<JobState, 'submitted_at' | 'completed_at'>,
  deliveries: readonly Pick<DeliveryState, 'status' | 'attempts' | 'response_time_ms' | 'error_code'>[],
): DistributionMetrics {
  const times = deliveries.flatMap(({ response_time_ms }) => (response_time_ms === null ? [] : [response_time_ms]))
  const served = deliveries.filter(({ status }) => status === 'success').length
  // Skipped without a code: a rule dropped it, or another delivery of its failover group succeeded.
  const wanted = deliveries.filter(({ status, error_code }) => status !== 'skipped' || error_code !== null).length
  return {
    total_latency_ms: job.completed_at ? job.completed_at.getTime() - job.submitted_at.getTime() : null,
    average_response_time_ms:
      times.length === 0 ? null : Math.round(times.reduce((sum, time) => sum + time, 0) / times.length),
    success_rate: wanted === 0 ? null : Math.round((served / wanted) * 10_000) / 10_000,
    retry_count: deliveries.reduce((sum, { attempts }) => sum + Math.max(0, attempts - 1), 0),
  }
}

/** Percentage of the deliveries that are final; 100 for a final job. */
export function progressPercentage(status: JobStatus, deliveries: readonly Pick<DeliveryState, 'status'>[]): number {
  if (isFinal(status)) return 100
  if (deliveries.length === 0) return 0
  return Math.floor((deliveries.filter(({ status }) => isFinal(status)).length / deliveries.length) * 100)
}
