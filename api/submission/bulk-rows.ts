// The rows of a bulk submission: gives each item its id, and stores items page by page.
import {
  claimIdempotencyKeys,
  forgetIdempotencyKey,
  insertBatchJobs,
  type NewBatchJob,
  newJobIds,
} from '../../db/distributions/bulk.ts'
import type { Db } from '../../db/pool.ts'
import { isDataRefused } from '../../db/refused.ts'
import { ApiError } from '../http/errors.ts'
import { detailsOf, type Item, type Rejected } from './bulk-items.ts'
import { asRefusal, isRefusedByJsonb, newJob } from './submit.ts'

/** Rows and bytes per statement. */
const PAGE = 500
const PAGE_BYTES = 1_048_576

interface Placed {
  item: Item
  job_id: string
  /** False if the idempotency key belongs to an existing distribution. */
  fresh: boolean
}

/** Gives each item its id: a new one, or that of the distribution with the same idempotency key. */
export async function placeItems(db: Db, tenantId: string, items: Item[]) {
  const ids = await newJobIds(db, items.length)
  const keyed = items.flatMap(({ key, sha256 }, i) => (key === null ? [] : [{ key, sha256, job_id: ids[i]! }]))
  const taken = await claimIdempotencyKeys(db, tenantId, keyed)
  const rejected: Rejected[] = []
  const all = items.flatMap((item, i): Placed[] => {
    const owner = item.key === null ? undefined : taken.get(item.key)
    if (!owner || owner.job_id === ids[i]) return [{ item, job_id: ids[i]!, fresh: true }]
    if (owner.request_sha256.equals(item.sha256)) return [{ item, job_id: owner.job_id, fresh: false }]
    const issue = 'was used before for a submission with another body'
    rejected.push({ index: item.index, details: [{ field: 'options.idempotency_key', issue }] })
    return []
  })
  return { all, fresh: all.filter(({ fresh }) => fresh), rejected }
}

/** Splits the items into pages, in order. */
export function* pagesOf(all: readonly Placed[]): Generator<Placed[]> {
  let page: Placed[] = []
  let bytes = 0
  for (const placed of all) {
    const { length } = placed.item.request.body.bytes
    if (page.length > 0 && (page.length >= PAGE || bytes + length > PAGE_BYTES)) {
      yield page
      page = []
      bytes = 0
    }
    page.push(placed)
    bytes += length
  }
  if (page.length > 0) yield page
}

/**
 * Stores a page, in order. If the database rejects a row, each half is stored separately, down to that row: the others are
 * stored, with some twenty additional statements for a thousand rows.
 */
export async function insertPage(db: Db, batchId: string, page: Placed[], queryable = true): Promise<Rejected[]> {
  const row = ({ item, job_id }: Placed): NewBatchJob => {
    const job = newJob(item.request, item.submission, item.entries)
    // The life of each item begins when it is started, but ends at `expires_at` at the latest.
    // Store the parsed time: not every reader accepts every spelling.
    const options = job.expires_at ? { ...job.options, expires_at: job.expires_at.toISOString() } : job.options
    return { ...job, options, id: job_id, payload_queryable: queryable && item.request.body.queryable }
  }
  const refusal = await refusable(db, () => insertBatchJobs(db, batchId, page.map(row)))
  if (refusal === null) return []
  const half = page.length >> 1
  if (half > 0) {
    return [
      ...(await insertPage(db, batchId, page.slice(0, half))),
      ...(await insertPage(db, batchId, page.slice(half))),
    ]
  }
  if (queryable && isRefusedByJsonb(refusal)) return await insertPage(db, batchId, page, false)
  const { item, job_id } = page[0]!
  const { key, index, request } = item
  if (key !== null) await forgetIdempotencyKey(db, request.caller.tenant_id, key, job_id)
  const known = asRefusal(refusal)
  const field = isRefusedByJsonb(refusal) ? 'metadata' : 'body'
  const details =
    known instanceof ApiError ? detailsOf(known) : [{ field, issue: 'contains a value that cannot be stored' }]
  return [{ index, details }]
}

/** Runs `work`. Returns the error and rolls back if the database rejects the data; throws every other error. */
async function refusable(db: Db, work: () => Promise<void>): Promise<unknown> {
  await db.query('savepoint page')
  try {
    await work()
    await db.query('release savepoint page')
    return null
  } catch (error) {
    if (!isDataRefused(error)) throw error
    await db.query('rollback to savepoint page')
    await db.query('release savepoint page')
    return error
  }
}
