// The distributions of a batch: their states, and what is left to do. They are ordinary distributions.
import type { Db } from '../pool.ts'
import { type BatchItemStatus, OPEN_JOB, type Priority } from '../states.ts'

/** Adds the distributions of a batch in this order; `started`: it runs already, and the batch does not start it. */
export async function insertBatchItems(
  db: Db,
  tenantId: string,
  batchId: string,
  items: { job_id: string; started: boolean }[],
): Promise<void> {
  await db.query(
    `insert into batch_items (batch_id, position, tenant_id, distribution_job_id, state)
     select $1, i.position, $2, i.job_id, case when i.started then 'started' else 'waiting' end
       from unnest($3::uuid[], $4::boolean[]) with ordinality as i (job_id, started, position)`,
    [batchId, tenantId, items.map(({ job_id }) => job_id), items.map(({ started }) => started)],
  )
}

/** The public ids of a batch's distributions, in the order of the request. */
export async function batchDistributionIds(db: Db, id: string): Promise<string[]> {
  const { rows } = await db.query<{ distribution_id: string }>(
    `select 'dist_' || distribution_job_id as distribution_id from batch_items where batch_id = $1 order by position`,
    [id],
  )
  return rows.map((row) => row.distribution_id)
}

// An item that was not started counts as pending: in a retry its distribution still has its old final state.
const ITEM_STATUS = `case i.state when 'started' then coalesce(j.status, 'failed') when 'skipped' then 'skipped' else 'pending' end`

export interface BatchProgress {
  total: number
  /** Not started yet. */
  waiting: number
  counts: Record<BatchItemStatus, number>
  /** The end of the distribution that ended last. */
  completed_at: Date | null
}

export async function batchProgress(db: Db, id: string): Promise<BatchProgress> {
  const { rows } = await db.query<{
    status: BatchItemStatus
    count: number
    waiting: number
    completed_at: Date | null
  }>(
    `select ${ITEM_STATUS} as status, count(*)::int as count, count(*) filter (where i.state = 'waiting')::int as waiting,
            max(j.completed_at) as completed_at
       from batch_items i
       left join distribution_jobs j on j.id = i.distribution_job_id
      where i.batch_id = $1
      group by 1`,
    [id],
  )
  const counts = { pending: 0, processing: 0, completed: 0, failed: 0, cancelled: 0, skipped: 0 }
  for (const row of rows) counts[row.status] = row.count
  const ends = rows.flatMap(({ completed_at }) => (completed_at ? [completed_at.getTime()] : []))
  return {
    total: rows.reduce((sum, { count }) => sum + count, 0),
    waiting: rows.reduce((sum, { waiting }) => sum + waiting, 0),
    counts,
    completed_at: ends.length > 0 ? new Date(Math.max(...ends)) : null,
  }
}

export interface BatchItem {
  position: number
  distribution_id: string
  status: BatchItemStatus
  error_code: string | null
  /** Why there was nothing to retry. */
  reason: string | null
  completed_at: Date | null
}

/** One page of a batch's distributions, after the position `after`, in the order of the request. */
export async function listBatchItems(
  db: Db,
  id: string,
  page: { after: number; limit: number; status: BatchItemStatus | null },
): Promise<BatchItem[]> {
  const { rows } = await db.query<BatchItem>(
    `select i.position, 'dist_' || i.distribution_job_id as distribution_id, ${ITEM_STATUS} as status,
            case i.state when 'started' then j.error_code end as error_code, i.reason,
            case i.state when 'started' then j.completed_at end as completed_at
       from batch_items i
       left join distribution_jobs j on j.id = i.distribution_job_id
      where i.batch_id = $1 and i.position > $2 and ($4::text is null or ${ITEM_STATUS} = $4)
      order by i.position limit $3`,
    [id, page.after, page.limit, page.status],
  )
  return rows
}

export interface ReleasedJob {
  position: number
  id: string
  data_type: string
  priority: Priority
}

export interface Released {
  taken: number
  released: ReleasedJob[]
}

/**
 * Releases the next distributions of a submitted batch, `limit` at most, in order; from now on the sweep finds those that
 * were not started. Their timeout counts from now, otherwise the last of ten thousand would expire while they wait. `taken`
 * also counts distributions that were cancelled while they waited. With `position` only that one is released.
 */
export async function releaseBatchPage(
  db: Db,
  id: string,
  limit: number,
  position: number | null = null,
): Promise<Released> {
  const { rows } = await db.query<ReleasedJob & { released: boolean }>(
    `with page as (
       select position, distribution_job_id from batch_items
        where batch_id = $1 and state = 'waiting' and ($3::int is null or position = $3) order by position limit $2),
     released as (
       update distribution_jobs j
          set check_at = clock_timestamp() + interval '60 seconds', updated_at = clock_timestamp(),
              expires_at = least((j.options ->> 'expires_at')::timestamptz,
                                 greatest(clock_timestamp(), j.deliver_at) + j.timeout_seconds * interval '1 second')
         from page
        where j.id = page.distribution_job_id and j.check_at = 'infinity' and j.status = 'pending'
       returning j.id, j.data_type, j.priority),
     marked as (
       update batch_items i set state = 'started' from page
        where i.batch_id = $1 and i.position = page.position and i.state = 'waiting')
     select page.position, r.id, r.data_type, r.priority, r.id is not null as released
       from page left join released r on r.id = page.distribution_job_id
      order by page.position`,
    [id, limit, position],
  )
  return { taken: rows.length, released: rows.filter((row) => row.released) }
}

export interface WaitingItem {
  position: number
  job_id: string
  /** For a retry: the round that the filter matched. */
  round: number | null
  ordering_key: string | null
}

export async function waitingItems(db: Db, id: string, limit: number): Promise<WaitingItem[]> {
  const { rows } = await db.query<WaitingItem>(
    `select i.position, i.distribution_job_id as job_id, i.round, j.ordering_key
       from (select position, distribution_job_id, round from batch_items
              where batch_id = $1 and state = 'waiting' order by position limit $2) i
       left join distribution_jobs j on j.id = i.distribution_job_id
      order by i.position`,
    [id, limit],
  )
  return rows
}

/** Waiting items whose submitted `expires_at` has passed; a timeout counts only from the release. */
export async function expiredItems(
  db: Db,
  id: string,
  limit: number,
): Promise<Pick<WaitingItem, 'position' | 'job_id'>[]> {
  const { rows } = await db.query<Pick<WaitingItem, 'position' | 'job_id'>>(
    `select i.position, j.id as job_id
       from batch_items i join distribution_jobs j on j.id = i.distribution_job_id
      where i.batch_id = $1 and i.state = 'waiting' and j.check_at = 'infinity'
        and (j.options ->> 'expires_at')::timestamptz <= clock_timestamp()
      order by i.position limit $2`,
    [id, limit],
  )
  return rows
}

/** Whether an item still waits. The caller must have locked its job, so that no other step takes it. */
export async function itemWaits(db: Db, id: string, position: number): Promise<boolean> {
  const { rowCount } = await db.query(
    `select from batch_items where batch_id = $1 and position = $2 and state = 'waiting'`,
    [id, position],
  )
  return rowCount === 1
}

export async function closeItem(
  db: Db,
  id: string,
  position: number,
  state: 'started' | 'skipped',
  reason: string | null = null,
): Promise<void> {
  await db.query(
    `update batch_items set state = $3, reason = $4 where batch_id = $1 and position = $2 and state = 'waiting'`,
    [id, position, state, reason],
  )
}

/**
 * The started and open distributions of a batch, oldest first; with `toCancel` those without a cancel request, also when
 * they wait for another batch. If a distribution is in two batches, or twice in one, its second item counts as started
 * although the first still waits. Such distributions are left out: a batch that waited for them might never end.
 */
export async function openItems(
  db: Db,
  id: string,
  limit: number,
  toCancel = false,
): Promise<{ job_id: string; round: number }[]> {
  const { rows } = await db.query<{ job_id: string; round: number }>(
    `select distinct j.id as job_id, j.round
       from batch_items i join distribution_jobs j on j.id = i.distribution_job_id
      where i.batch_id = $1 and i.state = 'started' and j.status in ${OPEN_JOB}
        and case when $3 then j.cancel_requested_at is null else j.check_at is distinct from 'infinity' end
      order by j.id limit $2`,
    [id, limit, toCancel],
  )
  return rows
}

export async function firstFailed(db: Db, id: string): Promise<string | null> {
  const { rows } = await db.query<{ distribution_id: string }>(
    `select j.distribution_id from batch_items i join distribution_jobs j on j.id = i.distribution_job_id
      where i.batch_id = $1 and i.state = 'started' and j.status = 'failed' order by i.position limit 1`,
    [id],
  )
  return rows[0]?.distribution_id ?? null
}
