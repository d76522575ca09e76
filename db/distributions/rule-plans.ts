// What planning with rules reads from the job, and what it writes besides the deliveries.
import type { Db } from '../pool.ts'
import { OPEN_DELIVERY, type Priority, type Protocol } from '../states.ts'

export interface JobFacts {
  priority: Priority
  /** JSON text: numbers keep their digits. */
  metadata: string
  /** The payload may not appear in explanations. */
  sealed: boolean
  /** Null when it was not requested, or is erased. */
  payload_bytes: Buffer | null
}

/** What rules read of a job. The payload is read only when a rule needs it, because it may have megabytes. */
export async function readJobFacts(db: Db, id: string, options: { payload: boolean }): Promise<JobFacts> {
  const { rows } = await db.query<JobFacts>(
    `select priority, metadata::text as metadata,
            coalesce((options ->> 'encryption_required')::boolean, false) as sealed,
            case when $2 then payload_bytes end as payload_bytes
       from distribution_jobs where id = $1`,
    [id, options.payload],
  )
  return rows[0]!
}

export interface RuleMark {
  destination_name: string
  shape: Record<string, unknown> | null
  failover_group: number | null
  standby: boolean
  required: boolean
}

/** Stores what the rules decided for single deliveries. Call it right after their rows were written. */
export async function markDeliveries(db: Db, id: string, marks: RuleMark[]): Promise<void> {
  if (marks.length === 0) return
  await db.query(
    `update distribution_deliveries d
        set shape = m.shape, failover_group = m.failover_group, standby = m.standby, required = m.required
       from jsonb_to_recordset($2::jsonb) as m (
            destination_name text, shape jsonb, failover_group int, standby boolean, required boolean)
      where d.distribution_job_id = $1 and d.destination_name = m.destination_name`,
    [id, JSON.stringify(marks)],
  )
}

export interface RuledJob {
  priority: Priority | null
  expires_in_seconds: number | null
  explanation: object
}

/**
 * Stores what the rules decided for the job as a whole, and their explanation. An expiry counts from the submission or
 * `deliver_at`, or from the retry or batch that causes this planning, and it limits manual retries too. Returns the
 * milliseconds until the expiry.
 */
export async function markJob(db: Db, id: string, ruled: RuledJob): Promise<number> {
  const { rows } = await db.query<{ expires_in_ms: number }>(
    `update distribution_jobs
        set plan_explanation = $4::jsonb,
            submitted_priority = case when $2::text <> priority then priority else submitted_priority end,
            priority = coalesce($2, priority),
            timeout_seconds = coalesce($3, timeout_seconds),
            expires_at = coalesce(greatest(created_at, deliver_at, case when round > 1 or batch_id is not null then clock_timestamp() end)
                                    + $3 * interval '1 second', expires_at),
            updated_at = clock_timestamp()
      where id = $1
      returning greatest(0, ceil(extract(epoch from expires_at - clock_timestamp()) * 1000))::float8 as expires_in_ms`,
    [id, ruled.priority, ruled.expires_in_seconds, JSON.stringify(ruled.explanation)],
  )
  return rows[0]!.expires_in_ms
}

export interface OpenDelivery {
  name: string
  protocol: Protocol
  round: number
  resumes: number
  standby: boolean
  /** Other deliveries of its failover group are standbys for it. */
  has_standby: boolean
}

/** The deliveries that are not final, in the order of the plan, and the job's priority if a rule changed it. */
export async function openDeliveries(
  db: Db,
  id: string,
): Promise<{ deliveries: OpenDelivery[]; changed_priority: Priority | null }> {
  const { rows } = await db.query<OpenDelivery & { changed_priority: Priority | null }>(
    `select d.destination_name as name, d.protocol, d.round, d.resumes, d.standby,
            d.failover_group is not null and not d.standby
              and bool_or(d.standby) over (partition by d.failover_group) as has_standby,
            case when j.submitted_priority is not null then j.priority end as changed_priority
       from distribution_deliveries d
       join distribution_jobs j on j.id = d.distribution_job_id
      where d.distribution_job_id = $1 and d.status in ${OPEN_DELIVERY}
      order by d.position`,
    [id],
  )
  return {
    deliveries: rows.map(({ changed_priority: _, ...delivery }) => delivery),
    changed_priority: rows[0]?.changed_priority ?? null,
  }
}

/** Why a distribution has its destinations; `explanation` is null when no rule was evaluated. */
export async function findExplanation(
  db: Db,
  id: string,
): Promise<{ planned_at: Date | null; explanation: Record<string, unknown> | null } | null> {
  const { rows } = await db.query<{ planned_at: Date | null; explanation: Record<string, unknown> | null }>(
    'select planned_at, plan_explanation as explanation from distribution_jobs where id = $1',
    [id],
  )
  return rows[0] ?? null
}
