// Batches: their rows, their status, and their end.

import type { Db } from '../pool.ts'
import type { BatchKind, BatchStatus } from '../states.ts'
import type { BatchProgress } from './items.ts'

export interface NewBatch {
  id: string
  tenant_id: string
  kind: BatchKind
  total_distributions: number
  options: Record<string, unknown>
  callback_url: string | null
  /** The distributions that were not accepted, with the reasons. */
  rejected: unknown[]
  request_id: string
  actor: string
}

const PUBLIC_ID = /^batch_([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$/

/** The uuid in `batch_…`, or null if the text is not the id of a batch. */
export function parseBatchId(text: string): string | null {
  return PUBLIC_ID.exec(text)?.[1] ?? null
}

export function publicBatchId(id: string): string {
  return `batch_${id}`
}

/** A new id, by the database's clock. */
export async function newBatchId(db: Db): Promise<string> {
  const { rows } = await db.query<{ id: string }>('select new_uuidv7() as id')
  return rows[0]!.id
}

/** Inserts a `processing` batch; the sweep looks for its run after a minute. */
export async function insertBatch(db: Db, batch: NewBatch): Promise<void> {
  await db.query(
    `insert into batches (id, tenant_id, kind, status, total_distributions, options, callback_url, rejected, request_id,
                          actor, check_at)
     values ($1, $2, $3, 'processing', $4, $5::jsonb, $6, $7::jsonb, $8, $9, clock_timestamp() + interval '60 seconds')`,
    [
      batch.id,
      batch.tenant_id,
      batch.kind,
      batch.total_distributions,
      JSON.stringify(batch.options),
      batch.callback_url,
      JSON.stringify(batch.rejected),
      batch.request_id,
      batch.actor,
    ],
  )
}

export interface BatchRow {
  id: string
  tenant_id: string
  kind: BatchKind
  status: BatchStatus
  total_distributions: number
  options: BatchOptions
  callback_url: string | null
  rejected: { index: number; details: { field: string; issue: string }[] }[]
  cancel_reason: string | null
  request_id: string | null
  actor: string
  created_at: Date
  completed_at: Date | null
}

export interface BatchOptions {
  parallel_execution?: boolean
  fail_fast?: boolean
  /** For a retry: its options, as in `RetryRequest`. */
  retry?: { destinations?: string[]; force: boolean; timeout_seconds?: number }
  /** For a retry: the filter, and how many distributions it matched. */
  filter?: Record<string, unknown>
  matched?: number
}

export async function findBatch(db: Db, id: string): Promise<BatchRow | null> {
  const { rows } = await db.query<BatchRow>(
    // These columns may have been written by hand.
    `select id, tenant_id, kind, status, total_distributions, callback_url, cancel_reason, request_id,
            case jsonb_typeof(options) when 'object' then options else '{}' end as options,
            case jsonb_typeof(rejected) when 'array' then rejected else '[]' end as rejected,
            actor, created_at, completed_at
       from batches where id = $1`,
    [id],
  )
  return rows[0] ?? null
}

export function batchStatusOf(batch: Pick<BatchRow, 'cancel_reason'>, { counts }: BatchProgress): BatchStatus {
  if (counts.pending + counts.processing > 0) return 'processing'
  if (counts.failed > 0) return 'failed'
  // A cancel of a retry skips the distributions that were not sent again yet.
  const cancelled = counts.cancelled > 0 || (batch.cancel_reason !== null && counts.skipped > 0)
  return cancelled ? 'cancelled' : 'completed'
}

/** Requests the cancel of a batch. A repeat is `requested` again, and the first reason stays. */
export async function requestBatchCancel(
  db: Db,
  id: string,
  reason: string,
): Promise<
  | { outcome: 'requested' }
  | { outcome: 'missing' }
  /** `asked`: a cancel had been requested before. */
  | { outcome: 'finished'; status: BatchStatus; asked: boolean }
> {
  await markBatchCancelled(db, id, reason)
  const batch = await findBatch(db, id)
  if (!batch) return { outcome: 'missing' }
  if (batch.status === 'processing') return { outcome: 'requested' }
  return { outcome: 'finished', status: batch.status, asked: batch.cancel_reason !== null }
}

/** Marks the batch, so that the rest of it is cancelled; guarded, so that the first reason stays. */
export async function markBatchCancelled(db: Db, id: string, reason: string): Promise<void> {
  await db.query(
    `update batches set cancel_reason = coalesce(cancel_reason, $2), updated_at = clock_timestamp()
      where id = $1 and status = 'processing'`,
    [id, reason],
  )
}

/** The sweep looks for a run of this batch so many seconds from now, unless it has ended. */
export async function checkBatchLater(db: Db, id: string, seconds: number): Promise<void> {
  await db.query(
    `update batches set check_at = clock_timestamp() + $2 * interval '1 second' where id = $1 and check_at is not null`,
    [id, seconds],
  )
}

/** Ends a batch, once, and queues its callback, if it has a URL. False if it had ended before. */
export async function closeBatch(db: Db, id: string, status: BatchStatus, callbackBody: string): Promise<boolean> {
  const { rowCount } = await db.query(
    `with ended as (
       update batches
          set status = $2, completed_at = clock_timestamp(), updated_at = clock_timestamp(), check_at = null
        where id = $1 and status = 'processing'
        returning id, tenant_id, callback_url),
     queued as (
       insert into webhooks (tenant_id, kind, subject_id, event_type, url, body, check_at)
       select tenant_id, 'batch', id, 'batch.completed', callback_url, $3, clock_timestamp() + interval '60 seconds'
         from ended where callback_url is not null)
     select from ended`,
    [id, status, callbackBody],
  )
  return rowCount === 1
}

export interface BatchRefRow {
  tenant_id: string
  id: string
}

/** Unfinished batches of all tenants whose `check_at` is due; with `all` every one; after `after`, by id. */
export async function dueBatches(db: Db, limit: number, all: boolean, after: string | null): Promise<BatchRefRow[]> {
  const { rows } = await db.query<BatchRefRow>('select tenant_id, id from due_batches($1, $2, $3)', [limit, all, after])
  return rows
}
