// The materialized views behind distribution_summary and destination_health.
import type { Db } from '../pool.ts'

export const VIEWS = ['distribution_summary_mv', 'destination_health_mv'] as const

/** Refreshes one view for all tenants, without blocking readers. A view that was never filled is filled. */
export async function refreshView(db: Db, view: (typeof VIEWS)[number]): Promise<void> {
  await db.query('select refresh_view($1)', [view])
}
