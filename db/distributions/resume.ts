// Resumes deliveries that were deferred because of their destination. A delivery that waits after a failed attempt, or
// because its destination asked for a delay, is left alone.

import type { Db } from '../pool.ts'
import type { DeferralReason } from '../states.ts'

export interface ResumeRef {
  tenant_id: string
  /** A registered destination's id, or what the circuit of an inline one goes by; null: all of the tenant's, which is active again
   * or has other limits. */
  target: string | null
  /** When its limits changed (ISO 8601, on the database's clock): resumes what the limits deferred before. */
  changed_at?: string
}

/** Deferred until the destination can be reached, or is in service. */
const RECOVERED: DeferralReason[] = ['circuit', 'disabled']
/** Deferred while the tenant was not active. */
const ACTIVE_AGAIN: DeferralReason[] = ['tenant']
/** Deferred by limits that have changed since. */
const CHANGED: DeferralReason[] = ['rate_limit', 'concurrency']
const WAITING = `d.tenant_id = $1 and d.deferred_target is not null and ($2::text is null or d.deferred_target = $2)
                 and d.deferred_by = any ($3)`
/** Those that are due by then need nobody to resume them. */
const LATER = `d.next_attempt_at > clock_timestamp() + interval '2 seconds'`
/** One that was resumed, until it is asked. */
const RESUMED = 'resumed'
/** A resumed delivery that has not started after this time missed its signal: it starts at its own time. */
const BELIEVED_MS = 10_000
/** A circuit may open and close for weeks: each time adds to the history of the run. */
const MOST_RESUMES = 1000

/** `half_open`: one of them may try. `away`: nothing goes there now. */
export type Readiness = 'ready' | 'half_open' | 'away'

export interface ResumeProgress {
  readiness: Readiness
  /** Its last delivery failed. */
  failing: boolean
  /** Resumed in the last seconds, and not asked yet. */
  untaken: number
  /** Started in the last seconds, and deferred again by a limit. */
  put_off: number
}

/** How a target takes what was resumed before. */
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

/** Whether it is worth while to begin. */
export async function anyWaits(db: Db, tenantId: string, target: string): Promise<boolean> {
  const { rows } = await db.query<{ waits: boolean }>(
    `select exists (select from distribution_deliveries d where ${WAITING} and ${LATER}) as waits`,
    [tenantId, target, RECOVERED],
  )
  return rows[0]!.waits
}

/**
 * Has the oldest of them go at once; answers their distributions, whose runs are to look at their rows. One that somebody
 * holds just now is passed over: it is being asked already. With `changed_at` those who were put off by limits until then,
 * each once: who is put off again was by the new ones. Without it and without a target, those whose tenant was not active.
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
