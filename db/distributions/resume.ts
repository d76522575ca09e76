// Resumes deliveries that were deferred because of their destination. A delivery that waits after a failed attempt, or
// because its destination asked for a delay, is left alone.

import type { Db } from '../pool.ts'
import type { DeferralReason } from '../states.ts'

export interface ResumeRef {
  tenant_id: string
  /**
   * The id of a registered destination, or the key of an inline destination's circuit. Null: all targets of the tenant,
   * because the tenant is active again or its limits changed.
   */
  target: string | null
  /**
   * When the limits changed (ISO 8601, database clock): resumes the deliveries that the limits deferred before then.
   */
  changed_at?: string
}

/** Deferred until the destination can be reached, or is enabled. */
const RECOVERED: DeferralReason[] = ['circuit', 'disabled']
/** Deferred while the tenant was not active. */
const ACTIVE_AGAIN: DeferralReason[] = ['tenant']
/** Deferred by limits that have changed since. */
const CHANGED: DeferralReason[] = ['rate_limit', 'concurrency']
const WAITING = `d.tenant_id = $1 and d.deferred_target is not null and ($2::text is null or d.deferred_target = $2)
                 and d.deferred_by = any ($3)`
/** A delivery that is due earlier starts by itself and need not be resumed. */
const LATER = `d.next_attempt_at > clock_timestamp() + interval '2 seconds'`
/** Marks a delivery that was resumed and has not started yet. */
const RESUMED = 'resumed'
/** A resumed delivery that has not started after this time missed its signal. It starts at its own time. */
const BELIEVED_MS = 10_000
/** Each resume adds to the history of the run, and a circuit may open and close for weeks. */
const MOST_RESUMES = 1000

/** `half_open`: one delivery may try. `away`: nothing is sent there now. */
export type Readiness = 'ready' | 'half_open' | 'away'

export interface ResumeProgress {
  readiness: Readiness
  /** The last delivery to the target failed. */
  failing: boolean
  /** Deliveries that were resumed in the last seconds and have not started yet. */
  untaken: number
  /** Deliveries that started in the last seconds and that a limit deferred again. */
  put_off: number
}

/** The state of a target, and what became of the deliveries that were resumed before. */
export async function resumeProgress(db: Db, tenantId: string, target: string | null): Promise<ResumeProgress> {
  const { rows } = await db.query<ResumeProgress>(
    `select case when exists (select from tenants t where t.id = $1 and t.status <> 'active') then 'away'
                 when c.open_until > clock_timestamp() then 'away'
                 when exists (select from destinations r
                               where r.id = case when $2 ~ '^[0-9a-f-]{36}$' then $2::uuid end
                                 and (r.deleted_at is not null or r.status not in ('active', 'deprecated'))) then 'away'
                 when c.opened_at is not null then 'half_open'
                 else 'ready' end as readiness,
            coalesce(c.failures_in_a_row, 0) > 0 as failing, recent.untaken, recent.put_off
       from (values (1)) as one
       left join destination_circuits c on c.tenant_id = $1 and c.target = $2
      cross join lateral (
        select count(*) filter (where d.deferred_by = '${RESUMED}')::int as untaken,
               count(*) filter (where d.deferred_by <> '${RESUMED}'
                                  and d.updated_at > clock_timestamp() - interval '2 seconds')::int as put_off
          from distribution_deliveries d
         where d.tenant_id = $1 and d.deferred_target is not null and ($2::text is null or d.deferred_target = $2)
           and d.deferred_by in ('${RESUMED}', 'share', 'concurrency', 'rate_limit') and d.resumes > 0
           and d.updated_at > clock_timestamp() - $3 * interval '1 millisecond') as recent`,
    [tenantId, target, BELIEVED_MS],
  )
  return rows[0]!
}

/** Whether any delivery waits for the target and can be resumed. */
export async function anyWaits(db: Db, tenantId: string, target: string): Promise<boolean> {
  const { rows } = await db.query<{ waits: boolean }>(
    `select exists (select from distribution_deliveries d where ${WAITING} and ${LATER}) as waits`,
    [tenantId, target, RECOVERED],
  )
  return rows[0]!.waits
}

/**
 * Makes the oldest waiting deliveries due now. Returns their distributions, whose runs must then be signalled to reread
 * their rows. A delivery whose row is locked is skipped: it is being started already. With `changed_at` it resumes the
 * deliveries that limits deferred until that time, each once: a later deferral is due to the new limits. Without
 * `changed_at` and without a target, it resumes the deliveries that were deferred because the tenant was not active.
 */
export async function resumeDeliveries(
  db: Db,
  { tenant_id, target, changed_at }: ResumeRef,
  limit: number,
): Promise<string[]> {
  const reasons = changed_at ? CHANGED : target === null ? ACTIVE_AGAIN : RECOVERED
  const { rows } = await db.query<{ id: string }>(
    `with oldest as materialized (
       select d.distribution_job_id, d.destination_name
         from distribution_deliveries d
        where ${WAITING} and ${LATER} and d.resumes < $5 and ($6::timestamptz is null or d.updated_at <= $6)
        order by d.distribution_job_id
        limit $4 for update skip locked),
     resumed as (
       update distribution_deliveries d
          set deferred_by = '${RESUMED}', resumes = resumes + 1, next_attempt_at = clock_timestamp(), updated_at = clock_timestamp()
         from oldest
        where d.distribution_job_id = oldest.distribution_job_id and d.destination_name = oldest.destination_name
       returning d.distribution_job_id)
     select distinct distribution_job_id as id from resumed`,
    [tenant_id, target, reasons, limit, MOST_RESUMES, changed_at],
  )
  return rows.map(({ id }) => id)
}
