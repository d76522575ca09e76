// `finish`: the last look at the row. What it ended is counted here, once, for a repeat ends nothing.
import { finishDistribution } from '../../db/distributions/finish.ts'
import { jobId } from '../../db/distributions/job-id.ts'
import { withTenant } from '../../db/pool.ts'
import type { FinishInput, FinishResult } from '../../workflows/messages.ts'
import { passTurn } from '../delivery/turns.ts'
import type { ActivityDeps } from '../deps.ts'
import { countEnd } from '../metrics.ts'

/** Null when there is no such job. */
export async function finish(deps: ActivityDeps, input: FinishInput): Promise<FinishResult | null> {
  const finished = await withTenant(
    deps.pool,
    input.tenant_id,
    (db) => finishDistribution(db, jobId(input.distribution_id), { round: input.round, cause: input.cause }),
    { statementTimeoutMs: 2000 },
  )
  if (finished.outcome === 'missing') return null
  if (finished.outcome === 'again') return { again: true, status: 'processing', notify: false }
  countEnd(deps.metrics, input.tenant_id, finished)
  // What its deliveries ended they have told themselves.
  const untold = finished.status !== 'completed' || finished.grouped
  if (finished.ordered && untold) await passTurn(deps, input, null)
  return { again: false, status: finished.status, notify: finished.notify }
}
