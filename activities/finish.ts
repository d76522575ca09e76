// `finish`: the last look at the row. What it ended is counted here, once, for a repeat ends nothing.
import { type Finished, finishDistribution } from '../db/finish.ts'
import { jobId } from '../db/job-id.ts'
import { withTenant } from '../db/pool.ts'
import { OTHER } from '../temporal-config/metrics.ts'
import type { FinishInput, FinishResult } from '../workflows/messages.ts'
import type { ActivityDeps } from './deps.ts'

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
  countEnd(deps, input.tenant_id, finished)
  return { again: false, status: finished.status, notify: finished.notify }
}

/** Counts an end, whoever brought it about; a repeat of one counts nothing. */
export function countEnd({ metrics }: Pick<ActivityDeps, 'metrics'>, tenantId: string, finished: Finished): void {
  if (finished.outcome !== 'final' || !finished.ended) return
  const data_type = finished.ended.catalogued ? finished.ended.data_type : OTHER
  metrics.requests.inc({ tenant_id: tenantId, data_type, status: finished.status })
  metrics.latency.observe(finished.ended.seconds)
}
