// The SQL statements of end.ts.
import type { Db } from '../pool.ts'
import { type DeliveryCode, type DeliveryStatus, type JobStatus, OPEN_DELIVERY, type Protocol } from '../states.ts'
import type { DeliverySummary } from './final-state.ts'

export interface JobToEnd {
  id: string
  tenant_id: string
  status: JobStatus
  round: number
  data_type: string
  /** The data type is in the tenant's catalogue or in the shared one. */
  catalogued: boolean
  callback_url: string | null
  /** It has an ordering key. */
  ordered: boolean
  /** It has an ordering key and deliveries in failover groups. */
  grouped: boolean
  planned: boolean
  expired: boolean
  cancel_requested: boolean
  callback_pending: boolean
  open_deliveries: number
  /** A delivery waits as a failover standby. */
  standing_by: boolean
  /** Since the start of the round: the acceptance, `deliver_at` or the retry. */
  round_seconds: number
}

/** Locks the job's row until the transaction ends. Null when the tenant has no such job. */
export async function lockJobToEnd(db: Db, id: string): Promise<JobToEnd | null> {
  // The lock is a statement of its own: the sub-selects below would otherwise see a snapshot from before it.
  const { rowCount } = await db.query('select from distribution_jobs where id = $1 for update', [id])
  if (rowCount === 0) return null
  // Deliveries are found by the parameter, not by `j.id`: only then are the partitions of other months left out at once.
  const { rows } = await db.query<JobToEnd>(
    `select j.id, j.tenant_id, j.status, j.round, j.data_type, j.callback_url,
            j.ordering_key is not null as ordered,
            exists (select from data_types t
                     where t.id = j.data_type and (t.tenant_id is null or t.tenant_id = j.tenant_id)) as catalogued,
            j.planned_at is not null as planned,
            j.expires_at <= clock_timestamp() as expired,
            j.cancel_requested_at is not null as cancel_requested,
            exists (select from webhooks w
                     where w.tenant_id = j.tenant_id and w.subject_id = $1 and w.kind = 'distribution'
                       and w.round = j.round and w.status = 'pending') as callback_pending,
            (select count(*)::int from distribution_deliveries d
              where d.distribution_job_id = $1 and d.status in ${OPEN_DELIVERY}) as open_deliveries,
            exists (select from distribution_deliveries d
                     where d.distribution_job_id = $1 and d.standby and d.status = 'pending') as standing_by,
            j.ordering_key is not null and exists (
              select from distribution_deliveries d
               where d.distribution_job_id = $1 and d.failover_group is not null) as grouped,
            -- A retry has set the expiry anew from its own time.
            greatest(0, extract(epoch from clock_timestamp() - case when j.round = 1 then greatest(j.created_at, j.deliver_at)
              else j.expires_at - j.timeout_seconds * interval '1 second' end))::float8 as round_seconds
       from distribution_jobs j
      where j.id = $1`,
    [id],
  )
  return rows[0] ?? null
}

/**
 * With `ordering: "block"` a failed delivery blocks the later ones, unless another one of its failover group succeeded.
 */
export async function unblockServedGroups(db: Db, id: string): Promise<void> {
  await db.query(
    `update distribution_deliveries d
        set ordering_blocks = false
      where d.distribution_job_id = $1 and d.ordering_blocks and d.status = 'failed' and not d.required
        and exists (select from distribution_deliveries s
                     where s.distribution_job_id = $1 and s.failover_group = d.failover_group and s.status = 'success')`,
    [id],
  )
}

export async function markCancelled(db: Db, id: string, reason: string): Promise<void> {
  await db.query(
    `update distribution_jobs set cancel_requested_at = clock_timestamp(), cancel_reason = coalesce(cancel_reason, $2)
      where id = $1`,
    [id, reason],
  )
}

/** An attempt that was open when its distribution ended. */
export interface EndedAttempt {
  attempt_id: string
  attempt_number: number
  destination: string
  protocol: Protocol
  registered: boolean
  request_id: string | null
}

/** Closes the open deliveries and their open attempts, whose outcome stays unknown. Returns these attempts. */
export async function closeOpenDeliveries(
  db: Db,
  id: string,
  status: Extract<DeliveryStatus, 'cancelled' | 'failed'>,
  code: DeliveryCode,
  message: string,
): Promise<EndedAttempt[]> {
  const { rows } = await db.query<EndedAttempt>(
    `select a.id as attempt_id, a.attempt_number, a.destination_name as destination, d.protocol,
            d.destination_id is not null as registered, j.request_id
       from distribution_attempts a
       join distribution_deliveries d using (distribution_job_id, destination_name)
       join distribution_jobs j on j.id = a.distribution_job_id
      where a.distribution_job_id = $1 and a.status = 'processing'
      order by a.destination_name`,
    [id],
  )
  await db.query('select end_open_deliveries($1, $2, $3, $4)', [id, status, code, message])
  return rows
}

/** The deliveries in the order of the plan. */
export async function summariseDeliveries(db: Db, id: string): Promise<DeliverySummary[]> {
  const { rows } = await db.query<DeliverySummary>(
    `select destination_name, status, attempts, error_code, error_message, failover_group, required
       from distribution_deliveries where distribution_job_id = $1 order by position`,
    [id],
  )
  return rows
}

/** Whether a distribution without destinations fails: a setting of the tenant. One that a rule dropped never fails. */
export async function failsWhenEmpty(db: Db, { id, tenant_id }: Pick<JobToEnd, 'id' | 'tenant_id'>): Promise<boolean> {
  const { rows } = await db.query<{ fails: boolean }>(
    `select coalesce(t.config ->> 'no_destination' = 'fail' and j.plan_explanation ->> 'dropped' is null, false) as fails
       from tenants t join distribution_jobs j on j.id = $2
      where t.id = $1`,
    [tenant_id, id],
  )
  return rows[0]?.fails ?? false
}
