// The order of distributions under one key: their places at acceptance, who stands in a delivery's way, who is next.
import type { NewJob } from './jobs.ts'
import type { Db } from './pool.ts'

/** Gives the jobs that have an ordering key their places, in the order given, until the end of the transaction. */
export async function orderJobs(
  db: Db,
  tenantId: string,
  jobs: (Pick<NewJob, 'ordering_key' | 'ordering_blocks'> & { id: string })[],
): Promise<void> {
  const ordered = jobs.filter((job) => typeof job.ordering_key === 'string')
  if (ordered.length === 0) return
  await db.query('select order_distributions($1, $2::uuid[], $3::text[], $4::boolean[])', [
    tenantId,
    ordered.map(({ id }) => id),
    ordered.map(({ ordering_key }) => ordering_key),
    ordered.map(({ ordering_blocks }) => ordering_blocks ?? false),
  ])
}

export interface OrderedDelivery {
  tenant_id: string
  destination: string
  ordering_key: string
  /** A 64-bit number, as text. */
  ordering_seq: string
}

// As the index has it, word for word.
const IN_THE_WAY = `(d.status in ('pending', 'processing', 'waiting') or (d.status = 'failed' and d.ordering_blocks))`

/**
 * The distribution that a delivery must wait for, or null when it may go. Until the transaction ends nobody else of this
 * key and destination gets an answer, so that two can not both find the way free: an earlier one may be opened again by
 * a retry while a later one is just being sent, and then waits for that.
 */
export async function findAhead(
  db: Db,
  delivery: OrderedDelivery,
): Promise<{ distribution_id: string; failed: boolean } | null> {
  const { tenant_id, ordering_key, destination, ordering_seq } = delivery
  await db.query(
    `select pg_advisory_xact_lock(hashtextextended(concat_ws(' ', 'turn', $1::text, $2::text, $3::text), 0))`,
    [tenant_id, destination, ordering_key],
  )
  const { rows } = await db.query<{ distribution_id: string; failed: boolean }>(
    `(select 'dist_' || d.distribution_job_id as distribution_id, d.status = 'failed' as failed
        from distribution_deliveries d
       where d.tenant_id = $1 and d.ordering_key = $2 and d.destination_name = $3 and ${IN_THE_WAY}
         and d.ordering_seq < $4
       order by d.ordering_seq limit 1)
     union all
     (select j.distribution_id, false
        from distribution_jobs j
       where j.tenant_id = $1 and j.ordering_key = $2 and j.planned_at is null
         and j.status in ('pending', 'processing') and j.ordering_seq < $4
       order by j.ordering_seq limit 1)
     union all
     (select 'dist_' || d.distribution_job_id, false
        from distribution_deliveries d
       where d.tenant_id = $1 and d.ordering_key = $2 and d.destination_name = $3 and d.status = 'processing'
         and d.ordering_seq > $4
       limit 1)
     limit 1`,
    [tenant_id, ordering_key, destination, ordering_seq],
  )
  return rows[0] ?? null
}

/** A delivery that waits for others of its key: no attempt, no time; the reason is visible in the status. */
export async function holdDelivery(db: Db, id: string, destination: string, message: string): Promise<void> {
  await db.query(
    `update distribution_deliveries
        set status = 'waiting', error_code = null, error_message = $3, next_attempt_at = null,
            updated_at = clock_timestamp()
      where distribution_job_id = $1 and destination_name = $2 and status in ('pending', 'processing', 'waiting')`,
    [id, destination, message],
  )
}

/**
 * Who is next after something of job `id` has ended: the first open one of its key at the destination, or at each of
 * them. Nobody where that one is being sent already, or where the job has no key.
 */
export async function findNext(db: Db, tenantId: string, id: string, destination: string | null): Promise<string[]> {
  const { rows } = await db.query<{ distribution_id: string; status: string }>(
    `select distinct on (d.destination_name) 'dist_' || d.distribution_job_id as distribution_id, d.status
       from distribution_deliveries d
      where d.tenant_id = $1
        and d.ordering_key = (select ordering_key from distribution_jobs where id = $2)
        and ($3::text is null or d.destination_name = $3)
        and d.status in ('pending', 'processing', 'waiting')
      order by d.destination_name, d.ordering_seq`,
    [tenantId, id, destination],
  )
  const next = rows.filter(({ status }) => status !== 'processing').map(({ distribution_id }) => distribution_id)
  return [...new Set(next)].filter((distributionId) => distributionId !== `dist_${id}`)
}
