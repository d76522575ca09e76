// The order of distributions with the same ordering key: numbers at acceptance, what a delivery waits for, which is
// next.
import type { Db } from '../pool.ts'
import { OPEN_DELIVERY, OPEN_JOB } from '../states.ts'

/**
 * Gives the jobs that have an ordering key their sequence numbers, in the given order. Locks the keys until the
 * transaction ends.
 */
export async function orderJobs(
  db: Db,
  tenantId: string,
  jobs: readonly { id: string; ordering_key?: string | null; ordering_blocks?: boolean }[],
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

/** The distribution that a delivery waits for. */
export interface Ahead {
  distribution_id: string
  /** It has failed permanently, and blocks those behind it. */
  failed: boolean
  /** It is not planned yet. If it does not go to this destination, no signal will say so. */
  unplanned: boolean
}

/**
 * The distribution that a delivery must wait for, or null when the delivery may start. If it may start, a lock on key
 * and destination keeps all others back until the transaction ends. Otherwise two could start at once: a retry may
 * reopen an earlier one while a later one is being sent; the earlier one then waits. A delivery that must wait takes no
 * lock, so that ten thousand of one key at once do not wait for each other and occupy all connections of a worker.
 */
export async function findAhead(db: Db, delivery: OrderedDelivery): Promise<Ahead | null> {
  const { tenant_id, ordering_key, destination } = delivery
  const ahead = await lookAhead(db, delivery)
  if (ahead) return ahead
  await db.query(
    `select pg_advisory_xact_lock(hashtextextended(concat_ws(' ', 'turn', $1::text, $2::text, $3::text), 0))`,
    [tenant_id, destination, ordering_key],
  )
  return await lookAhead(db, delivery)
}

async function lookAhead(db: Db, delivery: OrderedDelivery): Promise<Ahead | null> {
  const { tenant_id, ordering_key, destination, ordering_seq } = delivery
  const { rows } = await db.query<Ahead>(
    `(select 'dist_' || d.distribution_job_id as distribution_id, d.ordering_state = 'blocking' as failed,
             false as unplanned
        from distribution_deliveries d
       where d.tenant_id = $1 and d.ordering_key = $2 and d.destination_name = $3 and d.ordering_state is not null
         and d.ordering_seq < $4
       order by d.ordering_seq limit 1)
     union all
     (select j.distribution_id, false, true
        from distribution_jobs j
       where j.tenant_id = $1 and j.ordering_key = $2 and j.planned_at is null
         and j.status in ${OPEN_JOB} and j.ordering_seq < $4
       order by j.ordering_seq limit 1)
     union all
     (select 'dist_' || d.distribution_job_id, false, false
        from distribution_deliveries d
       where d.tenant_id = $1 and d.ordering_key = $2 and d.destination_name = $3 and d.ordering_state = 'sending'
         and d.ordering_seq > $4
       order by d.ordering_seq limit 1)
     limit 1`,
    [tenant_id, ordering_key, destination, ordering_seq],
  )
  return rows[0] ?? null
}

/**
 * Lets a delivery wait for others of its key, without using an attempt and without a time. The status shows the reason.
 */
export async function holdDelivery(db: Db, id: string, destination: string, message: string): Promise<void> {
  await db.query(
    `update distribution_deliveries
        set status = 'waiting', error_code = null, error_message = $3, next_attempt_at = null, deferred_by = null,
            updated_at = clock_timestamp()
      where distribution_job_id = $1 and destination_name = $2 and status in ${OPEN_DELIVERY}`,
    [id, destination, message],
  )
}

/** A distribution whose turn it is, and at which destinations. */
export interface Turn {
  id: string
  destinations: string[]
}

/**
 * The distributions that are next after job `id` has ended at `destination`, or (null) at all destinations: the first
 * one of the ordering key at each. A destination is left out when its first delivery is being sent, waits for its next
 * attempt or blocks the others. Empty when the job has no key. Reads only the first row per destination.
 *
 * The end of a whole job returns only distributions after it: a thousand that expire behind the first one would
 * otherwise signal that one a thousand times. If one of them was being sent, the sweep continues the order.
 */
export async function findNext(db: Db, tenantId: string, id: string, destination: string | null): Promise<Turn[]> {
  const { rows } = await db.query<Turn>(
    `with recursive key as (select ordering_key, ordering_seq from distribution_jobs where id = $2),
     heads as (
       (select d.destination_name, d.distribution_job_id, d.ordering_state, d.ordering_seq, d.next_attempt_at
          from distribution_deliveries d
         where d.tenant_id = $1 and d.ordering_key = (select ordering_key from key) and d.ordering_state is not null
           and ($3::text is null or d.destination_name = $3)
         order by d.destination_name, d.ordering_seq limit 1)
       union all
       select n.*
         from heads h
        cross join lateral (
          select d.destination_name, d.distribution_job_id, d.ordering_state, d.ordering_seq, d.next_attempt_at
            from distribution_deliveries d
           where d.tenant_id = $1 and d.ordering_key = (select ordering_key from key) and d.ordering_state is not null
             and d.destination_name > h.destination_name
           order by d.destination_name, d.ordering_seq limit 1) n
        where $3::text is null)
     select distribution_job_id as id, array_agg(destination_name) as destinations
       from heads
      where ordering_state in ('open', 'held') and distribution_job_id <> $2
        and coalesce(next_attempt_at <= clock_timestamp(), true)
        and ($3::text is not null or ordering_seq > (select ordering_seq from key))
      group by distribution_job_id`,
    [tenantId, id, destination],
  )
  return rows
}

export interface DueTurn {
  tenant_id: string
  ordering_key: string
  destination_name: string
  distribution_job_id: string
}

/** Held deliveries of all tenants whose turn it is but that got no signal, starting after `after`. */
export async function dueTurns(db: Db, limit: number, after: DueTurn | null): Promise<DueTurn[]> {
  const { rows } = await db.query<DueTurn>('select * from due_turns($1, $2, $3, $4)', [
    limit,
    after?.tenant_id ?? null,
    after?.ordering_key ?? null,
    after?.destination_name ?? null,
  ])
  return rows
}
