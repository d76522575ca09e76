// Ends the deliveries that wait for a deleted destination, before their next attempt is due. A send that is in progress
// ends by itself.
import type { Db } from '../pool.ts'
import { OPEN_JOB } from '../states.ts'

/**
 * Ends at most `limit` deliveries that wait for the destination; returns their distributions, whose runs must reread their
 * rows. Locks jobs before deliveries, and skips jobs that are locked: call it again until nothing is left.
 */
export async function endDeliveriesOf(db: Db, destinationId: string, limit: number): Promise<string[]> {
  const { rows } = await db.query<{ id: string }>(
    `with jobs as materialized (
       select j.id, d.destination_name
         from destinations r
         join distribution_deliveries d on d.destination_name = r.name and d.tenant_id = r.tenant_id
                                       and d.destination_id = r.id and d.status in ('pending', 'waiting')
         join distribution_jobs j on j.id = d.distribution_job_id and j.status in ${OPEN_JOB}
        where r.id = $1 and r.deleted_at is not null
        limit $2
          for no key update of j skip locked),
     ended as (
       update distribution_deliveries d
          set status = 'failed', standby = false, error_code = 'DESTINATION_DELETED',
              error_message = 'The destination was deleted', next_attempt_at = null,
              completed_at = clock_timestamp(), updated_at = clock_timestamp()
         from jobs
        where d.distribution_job_id = jobs.id and d.destination_name = jobs.destination_name
          and d.status in ('pending', 'waiting')
       returning d.distribution_job_id)
     select distinct distribution_job_id as id from ended`,
    [destinationId, limit],
  )
  return rows.map(({ id }) => id)
}

/** The deliveries of this job that ended because of a deletion: its run may still wait for their next attempt. */
export async function endedByDeletion(db: Db, id: string): Promise<string[]> {
  const { rows } = await db.query<{ destination_name: string }>(
    `select destination_name from distribution_deliveries
      where distribution_job_id = $1 and status = 'failed' and error_code = 'DESTINATION_DELETED'
      order by position`,
    [id],
  )
  return rows.map(({ destination_name }) => destination_name)
}

/** Deleted destinations of all tenants that deliveries still wait for. */
export async function deletedDestinationsInUse(
  db: Db,
  limit: number,
): Promise<{ tenant_id: string; destination_id: string }[]> {
  const { rows } = await db.query<{ tenant_id: string; destination_id: string }>(
    'select tenant_id, destination_id from deleted_destinations_in_use($1)',
    [limit],
  )
  return rows
}

/** If a destination was deleted, a retry goes to the new destination of the same name. Call it before deliveries are opened. */
export async function followNames(db: Db, id: string): Promise<void> {
  await db.query(
    `update distribution_deliveries d
        set destination_id = living.id, protocol = living.protocol, progress = null
       from destinations gone
       join destinations living on living.tenant_id = gone.tenant_id and living.name = gone.name
                               and living.deleted_at is null
      where d.distribution_job_id = $1 and d.status in ('failed', 'skipped', 'cancelled')
        and gone.id = d.destination_id and gone.deleted_at is not null`,
    [id],
  )
}
