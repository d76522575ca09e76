// Checks one open distribution that is due: starts or signals its run in Temporal if its row requires that.
import { refOf } from '../../db/distributions/job-id.ts'
import {
  changedAfter,
  checkLater,
  countSweepStart,
  type DueJob,
  hasUntakenRetry,
} from '../../db/distributions/sweep.ts'
import { type Db, withTenant } from '../../db/pool.ts'
import type { Runs } from '../../workflows/client.ts'
import type { ActivityDeps } from '../deps.ts'
import { endWithoutRun } from '../distribution/end.ts'

/** After so many starts in one round a distribution whose run always ends too early is given up. */
const MOST_STARTS = 5
const RUNNING_CHECK_SECONDS = 600
const CANCELLING_CHECK_SECONDS = 60

export async function tendOpenJob(deps: ActivityDeps, runs: Runs, job: DueJob): Promise<void> {
  const as = <T>(work: (db: Db) => Promise<T>) => withTenant(deps.pool, job.tenant_id, work, { planOnce: true })
  const { round, cancel_requested } = job
  const ref = refOf(job)
  const found = await runs.describe(ref)
  if (found.state === 'running') {
    if (cancel_requested) await runs.signalCancel(ref, job)
    else if (round > 1 && (await as((db) => hasUntakenRetry(db, job.id)))) await runs.signalRetry(ref, job)
    const seconds = cancel_requested ? CANCELLING_CHECK_SECONDS : RUNNING_CHECK_SECONDS
    return await as((db) => checkLater(db, job.id, seconds))
  }
  // A run that was terminated before a retry must not end the retry.
  if (found.state === 'terminated' && !(await as((db) => changedAfter(db, job.id, found.closed_at)))) {
    await endTerminated(deps, runs, job)
  } else if (cancel_requested) {
    await endWithoutRun(deps, runs, job, { round, cause: 'cancelled' })
  } else if (job.sweep_starts >= MOST_STARTS) {
    await giveUp(deps, runs, job)
  } else {
    await runs.startAgain(ref, job).catch(async (error: unknown) => {
      // A distribution that cannot be started still expires.
      await endWithoutRun(deps, runs, job, { round, cause: 'expired' })
      throw error
    })
    // Counted after the start, because a start that Temporal rejects is not the distribution's fault.
    await as((db) => countSweepStart(db, job.id))
  }
}

async function endTerminated(deps: ActivityDeps, runs: Runs, job: DueJob): Promise<void> {
  const { round, tenant_id, distribution_id } = job
  const ended = await endWithoutRun(deps, runs, job, { round, cause: 'cancelled', reason: 'terminated' })
  if (ended.outcome !== 'final' || !ended.ended) return
  deps.logger.warn({ tenant_id, distribution_id }, 'distribution cancelled: its run was terminated in Temporal')
}

async function giveUp(deps: ActivityDeps, runs: Runs, job: DueJob): Promise<void> {
  const { round, tenant_id, distribution_id } = job
  const reason = `The distribution was given up: its workflow ended ${MOST_STARTS} times and left it open`
  const ended = await endWithoutRun(deps, runs, job, { round, cause: 'given_up', code: 'UNEXPECTED', reason })
  if (ended.outcome === 'final' && ended.ended) deps.logger.error({ tenant_id, distribution_id }, reason)
}
