// One search of the sweep: page by page, some rows at a time. A row that fails does not affect the others.
import { isDeepStrictEqual } from 'node:util'
import { type Db, withoutTenant } from '../../db/pool.ts'
import type { ActivityDeps } from '../deps.ts'

/** Rows of one page. */
export const PAGE = 500
/** Rows that are acted on at once, each with a call or two to Temporal. */
export const AT_ONCE = 20

export interface Search<Row extends object> {
  /** The oldest rows that are due, over all tenants. `after` is the last row of the page before. */
  query(db: Db, limit: number, after: Row | null): Promise<Row[]>
  act(row: Row): Promise<unknown>
  /** Logged when `act` fails. The next sweep finds the row again. */
  failure: string
  /** Makes a row due later when `act` has failed, so that it does not come first in every page. */
  postpone?(row: Row): Promise<unknown>
  at_once?: number
}

/** `beat` is called between rows; it throws when the worker stops. */
export async function sweepPages<Row extends object>(
  { pool, logger }: Pick<ActivityDeps, 'pool' | 'logger'>,
  { query, act, failure, postpone, at_once = AT_ONCE }: Search<Row>,
  beat: () => void,
): Promise<void> {
  const actOn = async (row: Row) => {
    try {
      await act(row)
    } catch (error) {
      logger.warn({ err: error, ...idsOf(row) }, failure)
      await postpone?.(row).catch(() => {})
    }
  }
  for (let oldest: Row | undefined, after: Row | null = null; ; ) {
    const page: Row[] = await withoutTenant(pool, (db) => query(db, PAGE, after))
    // The same row came again, because it could not be updated: stop, or the loop would never end.
    if (isDeepStrictEqual(page[0], oldest)) return
    for (let from = 0; from < page.length; from += at_once) {
      await Promise.all(page.slice(from, from + at_once).map(actOn))
      beat()
    }
    if (page.length < PAGE) return
    oldest = page[0]
    after = page.at(-1) ?? null
  }
}

/** The fields of a row that the log may show: its ids, never a tenant's data. */
function idsOf(row: object): object {
  return Object.fromEntries(Object.entries(row).filter(([name]) => /(?:^|_)id$|^(?:round|target)$/.test(name)))
}
