// Ends a distribution: counts it once, logs its open attempts, and signals the next distribution of its ordering key.
import { type Ended, type EndRequest, endDistribution } from '../../db/distributions/end.ts'
import { type JobRef, refOf } from '../../db/distributions/job-id.ts'
import { type TransactionOptions, withTenant } from '../../db/pool.ts'
import type { Runs } from '../../workflows/client.ts'
import { passTurn } from '../delivery/turns.ts'
import type { ActivityDeps } from '../deps.ts'
import { countAttempt, countEnd } from '../metrics.ts'

export async function end(
  deps: ActivityDeps,
  job: JobRef,
  request: EndRequest,
  options?: TransactionOptions,
): Promise<Ended> {
  const ended = await withTenant(deps.pool, job.tenant_id, (db) => endDistribution(db, job.id, request), {
    ...options,
    planOnce: true,
  })
  if (ended.outcome !== 'final') return ended
  countEnd(deps.metrics, job.tenant_id, ended)
  for (const { protocol, registered, ...attempt } of ended.ended?.attempts ?? []) {
    const { code } = ended.ended!
    const { destination } = attempt
    const { tenant_id } = job
    countAttempt(deps.metrics, { tenant_id, destination, registered, protocol, status: 'cancelled', code })
    deps.logger.info({ ...refOf(job), ...attempt, status: 'cancelled', code }, 'attempt closed: its distribution ended')
  }
  if (ended.unblocks) await passTurn(deps, job, null)
  return ended
}

/** The same, but also starts the callback, for a distribution without a run that would send it. */
export async function endWithoutRun(
  deps: ActivityDeps,
  runs: Pick<Runs, 'startWebhook'>,
  job: JobRef,
  request: EndRequest,
): Promise<Ended> {
  const ended = await end(deps, job, request)
  if (ended.outcome === 'final' && ended.webhook_id) {
    await runs.startWebhook({ tenant_id: job.tenant_id, webhook_id: ended.webhook_id })
  }
  return ended
}
