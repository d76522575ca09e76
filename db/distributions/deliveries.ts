// Statements for opening an attempt: they lock the delivery and read all that the decision needs.
import type { CircuitSettings, OpenCircuit } from '../destinations/circuits.ts'
import type { RateLimit } from '../destinations/rate-limits.ts'
import type { Db } from '../pool.ts'
import {
  type DeferralReason,
  type DeliveryCode,
  type DeliveryStatus,
  type DestinationStatus,
  type JobStatus,
  OPEN_DELIVERY,
  type Protocol,
  type TenantStatus,
} from '../states.ts'

/**
 * Never null: all deliveries of a tenant and protocol that have no target of their own (the configuration is invalid)
 * share one target, so that limits apply to them too.
 */
const TARGET = "coalesce(d.target, d.destination_id::text, d.protocol || '://')"

/** One delivery, its job and its destination as they are now. Times in milliseconds on the database's clock. */
export interface LockedDelivery {
  delivery_id: string
  protocol: Protocol
  destination_id: string | null
  status: DeliveryStatus
  attempts: number
  round: number
  round_attempts: number
  error_code: string | null
  error_message: string | null
  /** How long the next attempt must still wait; 0 when it may start. */
  wait_ms: number
  /**
   * Attempts allowed: 1 + the retries set by the rule or the submission, else the job, else the destination, else 3.
   */
  budget: number
  inline_configuration: Record<string, unknown> | null
  job_status: JobStatus
  /** Another delivery of its failover group has succeeded since this one was opened. */
  needless: boolean
  cancel_requested: boolean
  expired: boolean
  /** Time until the distribution expires. */
  expires_in_ms: number
  data_type: string
  /** The id of the request that submitted the job: it connects the worker's log lines with the API's. */
  request_id: string | null
  compression: 'none' | 'gzip'
  content_type: string
  payload_erased: boolean
  /** The shape that a rule sets for this delivery; it is applied before the destination's own shape. Null: none. */
  rule_shape: Record<string, unknown> | null
  /** The shape of the registered destination; null for an inline one. */
  transform_config: Record<string, unknown> | null
  /** Null for an inline destination. */
  destination_status: DestinationStatus | null
  destination_deleted: boolean
  configuration: Record<string, unknown> | null
  configuration_version: number | null
  /** How often it was resumed. */
  resumes: number
  /** What an earlier attempt under this delivery id stored for the next one; null when none did. */
  progress: unknown
  /** Null: the delivery does not wait for other distributions. */
  ordering_key: string | null
  ordering_seq: string | null
  /** The key of its circuit, its limits and its slots in the worker. */
  target: string
  /** Null while the circuit is closed. */
  circuit: OpenCircuit | null
  circuit_breaker: Partial<CircuitSettings> | null
  rate_limit: RateLimit | null
  max_concurrency: number | null
  /** Deliveries of a tenant that is not `active` wait. */
  tenant_status: TenantStatus
  /** Applies to all deliveries of the tenant together. */
  tenant_rate_limit: RateLimit | null
}

/**
 * Locks first the job, so that it cannot end, and then one delivery, until the transaction ends. Null when the plan has
 * no delivery of this name. All transactions lock in the order job, delivery, attempt. Without the explicit lock, the
 * foreign key of the attempt would lock the job after the delivery.
 */
export async function lockDelivery(db: Db, id: string, destination: string): Promise<LockedDelivery | null> {
  const { rows } = await db.query<LockedDelivery>(
    `select d.delivery_id, d.protocol, d.destination_id, d.status, d.attempts, d.round, d.round_attempts,
            d.error_code, d.error_message,
            greatest(0, ceil(extract(epoch from coalesce(d.next_attempt_at, clock_timestamp()) - clock_timestamp()) * 1000))::float8 as wait_ms,
            1 + coalesce(d.max_retries, j.max_retries, r.max_retries, 3) as budget,
            d.configuration as inline_configuration,
            j.status as job_status,
            j.cancel_requested_at is not null as cancel_requested,
            j.expires_at <= clock_timestamp() as expired,
            greatest(0, ceil(extract(epoch from j.expires_at - clock_timestamp()) * 1000))::float8 as expires_in_ms,
            j.data_type, j.request_id,
            coalesce(j.options ->> 'compression', 'none') as compression,
            'application/json' as content_type,
            j.payload_bytes is null as payload_erased,
            r.transform_config, d.shape as rule_shape,
            r.status as destination_status,
            coalesce(r.deleted_at is not null, false) as destination_deleted,
            r.configuration, r.version as configuration_version,
            d.failover_group is not null and not d.required and exists (
              select from distribution_deliveries s
               where s.distribution_job_id = $1 and s.failover_group = d.failover_group and s.status = 'success'
                 and s.round >= d.round) as needless,
            d.resumes, d.progress, d.ordering_key, d.ordering_seq::text as ordering_seq,
            ${TARGET} as target,
            case when c.opened_at is not null then jsonb_build_object(
              'wait_ms', greatest(0, extract(epoch from c.open_until - clock_timestamp()) * 1000),
              'probe_wait_ms', greatest(0, extract(epoch from coalesce(c.probe_until, clock_timestamp()) - clock_timestamp()) * 1000),
              'own', coalesce(c.probe = d.delivery_id::text, false), 'openings', c.openings) end as circuit,
            r.circuit_breaker, r.rate_limit, r.max_concurrency, t.delivery_rate_limit as tenant_rate_limit,
            coalesce(t.status, 'active') as tenant_status
       from distribution_deliveries d
       join distribution_jobs j on j.id = d.distribution_job_id
       left join destinations r on r.id = d.destination_id
       left join destination_circuits c
              on c.tenant_id = d.tenant_id and c.target = ${TARGET}
       left join tenants t on t.id = d.tenant_id
      where d.distribution_job_id = $1 and d.destination_name = $2
        for key share of j
        for update of d`,
    [id, destination],
  )
  return rows[0] ?? null
}

/** The exact bytes to deliver, or null when they have been erased. */
export async function readPayload(db: Db, id: string): Promise<Buffer | null> {
  const { rows } = await db.query<{ payload_bytes: Buffer | null }>(
    'select payload_bytes from distribution_jobs where id = $1',
    [id],
  )
  return rows[0]?.payload_bytes ?? null
}

/** Fails a delivery without another send: budget used up, destination deleted, or configuration invalid. */
export async function failDelivery(
  db: Db,
  id: string,
  destination: string,
  code: string,
  message: string,
): Promise<void> {
  await db.query(
    `update distribution_deliveries
        set status = 'failed', error_code = $3, error_message = $4, next_attempt_at = null,
            completed_at = clock_timestamp(), updated_at = clock_timestamp()
      where distribution_job_id = $1 and destination_name = $2 and status in ${OPEN_DELIVERY}`,
    [id, destination, code, message],
  )
}

/** Lets a delivery wait without using an attempt, and stores the reason, which the status shows. */
export async function deferDelivery(
  db: Db,
  id: string,
  destination: string,
  deferral: { reason: DeferralReason; code: DeliveryCode; message: string; delay_ms: number },
): Promise<void> {
  const { reason, code, message, delay_ms } = deferral
  await db.query(
    `update distribution_deliveries
        set status = 'waiting', error_code = $3, error_message = $4, updated_at = clock_timestamp(),
            next_attempt_at = clock_timestamp() + $5 * interval '1 millisecond', deferred_by = $6
      where distribution_job_id = $1 and destination_name = $2 and status in ${OPEN_DELIVERY}`,
    [id, destination, code, message, delay_ms, reason],
  )
}
