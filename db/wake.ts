// Deliveries that were put off for their destination's sake, and may go on now. What waits after a failed attempt, or
// because its destination asked for it, is left alone.
import type { Db } from './pool.ts'

/** Put off until the destination can be reached, or is in service. */
const WAITING = `d.tenant_id = $1 and d.deferred_target = $2 and d.deferred_by in ('circuit', 'disabled')`
/** Those that are due by then need nobody to wake them. */
const LATER = `d.next_attempt_at > clock_timestamp() + interval '2 seconds'`
/** A circuit may open and close for weeks: each time adds to the history of the run. */
const MOST_WAKES = 1000

/** `half_open`: one of them may try. `away`: nothing goes there now. */
export type Readiness = 'ready' | 'half_open' | 'away'

export async function readiness(db: Db, tenantId: string, target: string): Promise<Readiness> {
  const { rows } = await db.query<{ readiness: Readiness }>(
    `select case when c.open_until > clock_timestamp() then 'away'
                 when exists (select from destinations r
                               where r.id = case when $2 ~ '^[0-9a-f-]{36}$' then $2::uuid end
                                 and (r.deleted_at is not null or r.status not in ('active', 'deprecated'))) then 'away'
                 when c.opened_at is not null then 'half_open'
                 else 'ready' end as readiness
       from (values (1)) as one
       left join destination_circuits c on c.tenant_id = $1 and c.target = $2`,
    [tenantId, target],
  )
  return rows[0]!.readiness
}

/** Whether it is worth while to begin. */
export async function anyWaits(db: Db, tenantId: string, target: string): Promise<boolean> {
  const { rows } = await db.query<{ waits: boolean }>(
    `select exists (select from distribution_deliveries d where ${WAITING} and ${LATER}) as waits`,
    [tenantId, target],
  )
  return rows[0]!.waits
}

/**
 * Has the oldest of them go at once; answers their distributions, whose runs are to look at their rows. One that somebody
 * holds just now is passed over: it is being asked already.
 */
export async function wakeDeliveries(db: Db, tenantId: string, target: string, limit: number): Promise<string[]> {
  const { rows } = await db.query<{ distribution_id: string }>(
    `with oldest as materialized (
       select d.distribution_job_id, d.destination_name
         from distribution_deliveries d
        where ${WAITING} and ${LATER} and d.wakes < $4
        order by d.distribution_job_id
        limit $3 for update skip locked),
     woken as (
       update distribution_deliveries d
          set deferred_by = null, wakes = wakes + 1, next_attempt_at = clock_timestamp(), updated_at = clock_timestamp()
         from oldest
        where d.distribution_job_id = oldest.distribution_job_id and d.destination_name = oldest.destination_name
       returning d.distribution_job_id)
     select distinct 'dist_' || distribution_job_id as distribution_id from woken`,
    [tenantId, target, limit, MOST_WAKES],
  )
  return rows.map(({ distribution_id }) => distribution_id)
}
