// Pagination of lists, and their filters by date.
import { z } from 'zod'
import { parseBatchId } from '../../db/batches/batches.ts'
import type { DistributionFilter } from '../../db/distributions/list.ts'
import { invalid } from './errors.ts'

interface PageQuery {
  limit?: number | undefined
  offset?: number | undefined
  cursor?: string | undefined
}

/** The id of a row, by which most lists are ordered. */
export const UUID_KEY = z.uuid()

/**
 * The requested page: `limit` rows after the row with the key `after`. `filter` has the other fields of the query.
 * @param key the schema of the values in a cursor, by which the list is ordered
 */
export function readPage<Query extends PageQuery, Key>(query: Query, key: z.ZodType<Key>) {
  const { limit = 50, offset, cursor, ...filter } = query
  if (cursor !== undefined && offset !== undefined) {
    throw invalid([{ field: 'offset', issue: 'cannot be combined with cursor' }])
  }
  return { limit, offset: offset ?? 0, after: cursor === undefined ? null : readCursor(cursor, key), filter }
}

/** Cursors are opaque to clients, so that their content may change. */
function readCursor<Key>(cursor: string, key: z.ZodType<Key>): Key {
  try {
    return key.parse(JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8')))
  } catch {
    throw invalid([{ field: 'cursor', issue: 'is not a cursor of this list' }])
  }
}

/**
 * The page of a response. `rows` has up to `limit` + 1 rows, so that it shows whether there are more.
 * @param keyOf the values that `readPage` reads from the cursor of the next page
 */
export function pageOf<Row>(rows: readonly Row[], limit: number, keyOf: (row: Row) => unknown) {
  const page = rows.slice(0, limit)
  const last = page.at(-1)
  const has_more = rows.length > limit
  const next_cursor = has_more && last ? Buffer.from(JSON.stringify(keyOf(last))).toString('base64url') : null
  return { page, pagination: { limit, has_more, next_cursor } }
}

interface GivenFilter extends Omit<DistributionFilter, 'statuses' | 'batch' | 'from' | 'until' | 'failed'> {
  failed_from?: string | undefined
  failed_to?: string | undefined
  batch_id?: string | undefined
  from_date?: string | undefined
  to_date?: string | undefined
}

/** The filter of a list or a bulk retry, except the status. Both use this function, so that neither forgets a field. */
export function readFilter(given: GivenFilter): DistributionFilter {
  const { batch_id, from_date, to_date, failed_from, failed_to, ...rest } = given
  const failed = readRange(failed_from, failed_to, ['failed_from', 'failed_to'])
  return { ...rest, batch: readBatchId(batch_id), ...readRange(from_date, to_date), failed }
}

/** The uuid of `batch_id`; a 400 if it is not the id of a batch. */
function readBatchId(given: string | undefined): string | undefined {
  if (given === undefined) return undefined
  const id = parseBatchId(given)
  if (!id) throw invalid([{ field: 'batch_id', issue: 'must be the id of a batch, such as batch_019bc0de-…' }])
  return id
}

const DAY_MS = 86_400_000

/** Two fields such as `from_date` and `to_date`, both inclusive, as the times that a query compares with (`until` exclusive). */
export function readRange(
  first: string | undefined,
  last: string | undefined,
  [from_field, to_field] = ['from_date', 'to_date'],
) {
  const from = first === undefined ? undefined : sinceEpoch(Date.parse(first))
  const until = last === undefined ? undefined : sinceEpoch(endOf(last))
  if (from && until && from > until) throw invalid([{ field: to_field!, issue: `is before ${from_field}` }])
  return { from, until }
}

/** A date includes its whole day; a time includes its millisecond, which is the precision of the ids. */
function endOf(text: string): number {
  return Date.parse(text) + (/^\d{4}-\d{2}-\d{2}$/.test(text) ? DAY_MS : 1)
}

/** Ids contain milliseconds since 1970 and no earlier time. */
function sinceEpoch(milliseconds: number): Date {
  return new Date(Math.max(0, milliseconds))
}
