// How many deliveries are open, over all tenants; for the metrics.
import type { Db } from '../pool.ts'

/** Open deliveries by state (`pending`, `processing`, `waiting`). */
export async function queueDepths(db: Db): Promise<Record<string, number>> {
  const { rows } = await db.query<{ queue_name: string; depth: number }>(
    'select queue_name, depth::float8 as depth from queue_depths()',
  )
  return Object.fromEntries(rows.map(({ queue_name, depth }) => [queue_name, depth]))
}
