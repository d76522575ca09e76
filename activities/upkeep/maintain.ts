// `maintain`: maintenance of the database, every hour and at start.
import { forgetLimits } from '../../db/destinations/circuits.ts'
import { type Db, withoutTenant } from '../../db/pool.ts'
import { ensurePartitions } from '../../db/upkeep/partitions.ts'
import { refreshView, VIEWS } from '../../db/upkeep/views.ts'
import type { ActivityDeps } from '../deps.ts'
import { runSteps } from './steps.ts'

/** A long timeout, because the refresh reads whole tables and no request waits for it. */
const TIMEOUT = { statementTimeoutMs: 10 * 60_000 }

export async function maintain(deps: ActivityDeps, beat: () => void): Promise<void> {
  const run = (work: (db: Db) => Promise<unknown>) => async () => {
    await withoutTenant(deps.pool, work, TIMEOUT)
  }
  await runSteps(
    deps,
    'maintain',
    [
      ['partitions', run((db) => ensurePartitions(db))],
      ...VIEWS.map((view): [string, () => Promise<void>] => [view, run((db) => refreshView(db, view))]),
      ['forget_limits', run((db) => forgetLimits(db))],
    ],
    beat,
  )
}
