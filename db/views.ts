// The materialized views behind distribution_summary and destination_health.
import type { Db } from './pool.ts'

/** Brings both up to date for all tenants; readers go on reading meanwhile. The seed wants it hourly. */
export async function refreshViews(db: Db): Promise<void> {
  await db.query('select refresh_views()')
}
