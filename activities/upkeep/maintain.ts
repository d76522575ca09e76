// `maintain`: maintenance of the database, every hour and at start.
import { forgetLimits } from '../../db/destinations/circuits.ts'
import { type Db, withoutTenant } from '../../db/pool.ts'
import { ensurePartitions } from '../../db/upkeep/partitions.ts'
import { refreshView, VIEWS } from '../../db/upkeep/views.ts'
import type { ActivityDeps } from '../deps.ts'
import type { Metrics } from '../metrics.ts'
import { runSteps, type Steps } from './steps.ts'

/** A long timeout, because the refresh reads whole tables and no request waits for it. */
const TIMEOUT = { statementTimeoutMs: 10 * 60_000 }

const STEPS: [name: string, work: (db: Db) => Promise<unknown>][] = [
  ['partitions', (db) => ensurePartitions(db)],
  ...VIEWS.map((view): (typeof STEPS)[number] => [view, (db) => refreshView(db, view)]),
  ['forget_limits', (db) => forgetLimits(db)],
]

export async function maintain(deps: ActivityDeps, beat: () => void): Promise<void> {
  const steps = STEPS.map(([name, work]): Steps[number] => [
    name,
    async () => void (await withoutTenant(deps.pool, work, TIMEOUT)),
  ])
  await runSteps(deps, 'maintain', steps, beat)
}

/** Every worker shows the steps from its start, although the maintenance runs hourly and on one of them. */
export function announceMaintenance(metrics: Pick<Metrics, 'failedSteps'>): void {
  for (const [step] of STEPS) metrics.failedSteps.inc({ job: 'maintain', step }, 0)
}
