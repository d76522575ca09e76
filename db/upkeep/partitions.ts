// Monthly partitions, created ahead of time and dropped whole. The SQL functions run as the owner of the tables, so
// that the application can call them without owning anything (0014_months.sql).
import type { Db } from '../pool.ts'

/** How many months beyond the current one should exist. */
export const MONTHS_AHEAD = 3

/**
 * Creates the current month and `monthsAhead` more where they are missing; returns how many it created. Safe to repeat.
 */
export async function ensurePartitions(db: Db, monthsAhead = MONTHS_AHEAD): Promise<number> {
  const { rows } = await db.query('select ensure_partitions($1) as made', [monthsAhead])
  return rows[0].made
}

/** Months ahead that exist without a gap: 0 with only the current one, -1 when even that is missing. */
export async function partitionsAhead(db: Db): Promise<number> {
  const { rows } = await db.query('select partitions_ahead() as months')
  return rows[0].months
}

/**
 * Drops the month that holds `month` (`2026-01-01`) with all its distributions and their idempotency keys; false when
 * there is none. Throws (SQLSTATE 55006) when the month is not over or a distribution of it is still open.
 */
export async function dropMonth(db: Db, month: string): Promise<boolean> {
  const { rows } = await db.query('select drop_month($1::date) as dropped', [month])
  return rows[0].dropped
}
