// Pages of lists: cursors that say nothing, and days that mean the whole day.
import { parseBatchId } from '../../db/batches/batches.ts'
import type { DistributionFilter } from '../../db/distributions/list.ts'
import { invalid } from './errors.ts'

/** A cursor for «after this row»: opaque to callers, so that its inside may change. */
function cursorOf(id: string): string {
  return Buffer.from(id).toString('base64url')
}

/** The row that a cursor stands for; a 400 when it is not one of ours. */
export function readCursor(cursor: string | undefined, form: RegExp): string | null {
  if (cursor === undefined) return null
  const id = Buffer.from(cursor, 'base64url').toString('latin1')
  if (!form.test(id)) throw invalid([{ field: 'cursor', issue: 'is not a cursor of this list' }])
  return id
}

/**
 * What an answer shows of rows of which one more than `limit` was asked for.
 * @param idOf what a cursor for «after this row» holds
 */
export function pageOf<T>(rows: readonly T[], limit: number, idOf: (row: T) => string) {
  const page = rows.slice(0, limit)
  const last = page.at(-1)
  const has_more = rows.length > limit
  return { page, pagination: { limit, has_more, next_cursor: has_more && last ? cursorOf(idOf(last)) : null } }
}

/** The same of a page that was asked for by its offset, of `total` rows in all. */
export function offsetPagination(limit: number, offset: number, rows: readonly unknown[], total: number) {
  return { limit, offset, total, has_more: offset + rows.length < total }
}

export const UUID_CURSOR = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/
export const NUMBER_CURSOR = /^\d{1,18}$/

interface GivenFilter extends Omit<DistributionFilter, 'statuses' | 'batch' | 'from' | 'until'> {
  batch_id?: string | undefined
  from_date?: string | undefined
  to_date?: string | undefined
}

/** The filter of a list and of a bulk retry, all but the status: one reading, so that neither leaves out a field. */
export function readFilter({ batch_id, from_date, to_date, ...rest }: GivenFilter): DistributionFilter {
  return { ...rest, batch: readBatchId(batch_id), ...readRange({ from_date, to_date }) }
}

/** The row's uuid of a filter's `batch_id`; a 400 when it cannot be one. */
function readBatchId(given: string | undefined): string | undefined {
  if (given === undefined) return undefined
  const id = parseBatchId(given)
  if (!id) throw invalid([{ field: 'batch_id', issue: 'must be the id of a batch, such as batch_019bc0de-…' }])
  return id
}

const DAY_MS = 86_400_000

/** `from_date` inclusive and `to_date` inclusive, as the instants that a query compares with (`until` exclusive). */
export function readRange(query: { from_date?: string | undefined; to_date?: string | undefined }) {
  const from = query.from_date === undefined ? undefined : sinceEpoch(Date.parse(query.from_date))
  const until = query.to_date === undefined ? undefined : sinceEpoch(endOf(query.to_date))
  if (from && until && from > until) throw invalid([{ field: 'to_date', issue: 'is before from_date' }])
  return { from, until }
}

/** A day ends where the next one begins; an instant counts to its last millisecond, the precision of our ids. */
function endOf(text: string): number {
  return Date.parse(text) + (/^\d{4}-\d{2}-\d{2}$/.test(text) ? DAY_MS : 1)
}

/** Ids hold milliseconds since 1970 and nothing before. */
function sinceEpoch(milliseconds: number): Date {
  return new Date(Math.max(0, milliseconds))
}
