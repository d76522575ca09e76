// The materialized views behind distribution_summary and destination_health.
import type { Db } from '../pool.ts'

export const VIEWS = ['distribution_summary_mv', 'destination_health_mv'] as const

/** Brings one view up to date for all tenants; readers go on reading meanwhile. An empty one is filled. */
export async function refreshView(db: Db, view: (typeof VIEWS)[number]): Promise<void> {
  await db.query('select refresh_view($1)', [view])
}
