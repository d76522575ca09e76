// Failover groups: deliveries of which one success is enough. The next standby is opened when those before it have
// failed permanently. Once one has succeeded, the rest are skipped.
import type { Db } from '../pool.ts'
import { OPEN_DELIVERY } from '../states.ts'

/**
 * Opens the next standby of each group that has no open delivery, and skips the standbys that are not needed. A standby
 * whose destination is disabled or deleted is skipped, with that reason. Idempotent; call it with the job locked.
 */
export async function moveFailoverOn(db: Db, id: string): Promise<void> {
  for (let passedOver = true; passedOver; ) {
    const { rows } = await db.query<{ passed_over: boolean }>(
      `with groups as (
         select failover_group, bool_or(status = 'success') as served,
                bool_or(not standby and status in ${OPEN_DELIVERY}) as under_way,
                min(position) filter (where standby and status = 'pending') as next
           from distribution_deliveries
          where distribution_job_id = $1 and failover_group is not null
          group by failover_group),
       moved as (
         select d.destination_name, g.served,
                case when g.served then 'skipped' when r.id is null and d.destination_id is not null then 'failed'
                     when r.deleted_at is not null then 'failed' when r.status = 'inactive' then 'skipped'
                     else 'pending' end as status
           from distribution_deliveries d
           join groups g on g.failover_group = d.failover_group
           left join destinations r on r.id = d.destination_id
          where d.distribution_job_id = $1 and d.standby and d.status = 'pending'
            and (g.served or (not g.under_way and d.position = g.next)))
       update distribution_deliveries d
          set standby = false, status = m.status, updated_at = clock_timestamp(),
              completed_at = case when m.status <> 'pending' then clock_timestamp() end,
              error_code = case when m.served or m.status = 'pending' then null
                                when m.status = 'skipped' then 'DESTINATION_DISABLED' else 'DESTINATION_DELETED' end,
              error_message = case when m.served then 'Not needed: another destination of its group was served'
                                   when m.status = 'skipped' then 'The destination was disabled when its turn came'
                                   when m.status = 'failed' then 'The destination was deleted before its turn came' end
         from moved m
        where d.distribution_job_id = $1 and d.destination_name = m.destination_name
       returning not m.served and m.status <> 'pending' as passed_over`,
      [id],
    )
    passedOver = rows.some(({ passed_over }) => passed_over)
  }
}

/**
 * Skips a delivery whose destination is disabled if its group has a standby whose destination is enabled. False if
 * there is no such standby. Call it with the delivery locked.
 */
export async function handTurnOn(db: Db, id: string, destination: string): Promise<boolean> {
  const { rowCount } = await db.query(
    `update distribution_deliveries d
        set status = 'skipped', error_code = 'DESTINATION_DISABLED', next_attempt_at = null,
            error_message = 'The destination is disabled; another one of its group takes over',
            completed_at = clock_timestamp(), updated_at = clock_timestamp()
      where d.distribution_job_id = $1 and d.destination_name = $2 and d.status in ${OPEN_DELIVERY}
        and exists (select from distribution_deliveries s
                      join destinations r on r.id = s.destination_id
                     where s.distribution_job_id = $1 and s.failover_group = d.failover_group and s.standby
                       and s.status = 'pending' and r.deleted_at is null and r.status in ('active', 'deprecated'))`,
    [id, destination],
  )
  return rowCount === 1
}

/**
 * Skips a delivery: after a manual retry two of a group may be open, and one success is enough. Call it with the
 * delivery locked.
 */
export async function endNeedless(db: Db, id: string, destination: string): Promise<void> {
  await db.query(
    `update distribution_deliveries
        set status = 'skipped', error_code = null, error_message = 'Not needed: another destination of its group was served',
            next_attempt_at = null, completed_at = clock_timestamp(), updated_at = clock_timestamp()
      where distribution_job_id = $1 and destination_name = $2 and status in ${OPEN_DELIVERY}`,
    [id, destination],
  )
}

/** After a manual retry: of each group only the first reopened delivery starts; the others become standbys. */
export async function lineUpAgain(db: Db, id: string, round: number): Promise<void> {
  await db.query(
    `update distribution_deliveries d
        set standby = not d.required and exists (select from distribution_deliveries e
                               where e.distribution_job_id = $1 and e.failover_group = d.failover_group
                                 and e.round = $2 and e.status = 'pending' and e.position < d.position)
      where d.distribution_job_id = $1 and d.failover_group is not null and d.round = $2 and d.status = 'pending'`,
    [id, round],
  )
}
