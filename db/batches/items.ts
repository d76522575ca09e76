// The distributions of a batch: how they stand, and what is left to do with them. They are ordinary ones.
import type { Db } from '../pool.ts'
import { type BatchItemStatus, OPEN_JOB, type Priority } from '../states.ts'

/** The distributions of a batch in the order given; `started` is one that goes its own way already. */
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

/** Public names of a batch's distributions, in the order of the request. */
export async function batchDistributionIds(db: Db, id: string): Promise<string[]> {
  const { rows } = await db.query<{ distribution_id: string }>(
    `select 'dist_' || distribution_job_id as distribution_id from batch_items where batch_id = $1 order by position`,
    [id],
  )
  return rows.map((row) => row.distribution_id)
}

// What has not been started counts as pending whatever its row says: a retry's still has the state that it failed with.
const ITEM_STATUS = `case i.state when 'started' then coalesce(j.status, 'failed') when 'skipped' then 'skipped' else 'pending' end`

export interface BatchProgress {
  total: number
  /** Not started yet. */
  waiting: number
  counts: Record<BatchItemStatus, number>
  /** The latest end among them. */
  completed_at: Date | null
}

/** How the distributions of a batch stand, by state. */
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

/** One page of a batch's distributions, behind `after`, in the order of the request. */
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
  looked: number
  released: ReleasedJob[]
}

/**
 * Lets the next distributions of a submitted batch go, `limit` at most, in order: from here on the sweep finds those that
 * nobody starts. Their time begins now, for they have been waiting for their turn: of ten thousand the last would otherwise
 * have lost theirs. `looked` counts those that were cancelled while they waited as well. With `position` that one alone.
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
  return { looked: rows.length, released: rows.filter((row) => row.released) }
}

export interface WaitingItem {
  position: number
  job_id: string
  /** Of a retry: the round that was chosen. */
  round: number | null
  ordering_key: string | null
}

/** Items that wait, in order. */
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

/** Items that wait although the end that their submission gave them has come; their timeout counts from their turn on. */
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

/** Whether an item still waits. Its job is locked by the caller, so that nobody else takes it. */
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
 * The distributions of a batch that have been started and are open, oldest first; with `toCancel` those that nobody has
 * asked to cancel yet, also when they wait for another batch. One that stands in a batch twice, or in two, counts as
 * started where it came second, and is not before the other place has come to it: nobody may wait for that.
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

/** The first distribution of the batch that has failed, or null. */
export async function firstFailed(db: Db, id: string): Promise<string | null> {
  const { rows } = await db.query<{ distribution_id: string }>(
    `select j.distribution_id from batch_items i join distribution_jobs j on j.id = i.distribution_job_id
      where i.batch_id = $1 and i.state = 'started' and j.status = 'failed' order by i.position limit 1`,
    [id],
  )
  return rows[0]?.distribution_id ?? null
}
