// `sweep`: the second half of every command, repeated for whoever could not finish it. It finds open jobs that nobody
// works at by their row, and brings run and row together again.
import { writeAudit } from '../db/audit.ts'
import { finishDistribution, giveUp } from '../db/finish.ts'
import { withoutTenant, withTenant } from '../db/pool.ts'
import { changedAfter, checkLater, countSweepStart, type DueJob, dueCallbacks, dueJobs } from '../db/sweep.ts'
import type { Runs } from '../temporal-config/runs.ts'
import type { SweepInput } from '../workflows/messages.ts'
import type { ActivityDeps } from './deps.ts'

export interface SweepDeps extends ActivityDeps {
  runs: () => Runs | undefined
}

const PAGE = 500
/** So many looks at Temporal at once. */
const AT_ONCE = 20
/** More starts in one round than this do not help: the job ends as failed, and an operator hears of it. */
const MOST_STARTS = 5
const RUNNING_CHECK_SECONDS = 600
const CANCELLING_CHECK_SECONDS = 60

/** One pass over what is due, or with `all` over every open job. `beat` is called between pages. */
export async function sweep(deps: SweepDeps, input: SweepInput, beat: () => void): Promise<void> {
  const runs = deps.runs()
  if (!runs) throw new Error('Temporal is not connected')
  let after: string | null = null
  for (;;) {
    const page: DueJob[] = await withoutTenant(deps.pool, (db) => dueJobs(db, PAGE, input.all, after))
    for (let from = 0; from < page.length; from += AT_ONCE) {
      await Promise.all(page.slice(from, from + AT_ONCE).map((job) => tend(deps, runs, job)))
      beat()
    }
    if (page.length < PAGE) break
    after = page.at(-1)!.id
  }
  const callbacks = await withoutTenant(deps.pool, (db) => dueCallbacks(db, PAGE))
  for (const due of callbacks) {
    await runs.notify(due)
    beat()
  }
}

/** One job; an error is logged and leaves the others alone, for the next pass comes. */
async function tend(deps: SweepDeps, runs: Runs, job: DueJob): Promise<void> {
  try {
    const found = await runs.describe(job)
    if (found.state === 'running') {
      if (job.cancel_requested) await runs.signalCancel(job)
      const seconds = job.cancel_requested ? CANCELLING_CHECK_SECONDS : RUNNING_CHECK_SECONDS
      await withTenant(deps.pool, job.tenant_id, (db) => checkLater(db, job.id, seconds))
    } else if (found.state === 'terminated' && !(await movedOnSince(deps, job, found.closed_at))) {
      await end(deps, runs, job, 'terminated')
    } else if (job.cancel_requested) {
      await end(deps, runs, job, 'cancelled without a workflow')
    } else if (job.sweep_starts >= MOST_STARTS) {
      await abandon(deps, runs, job)
    } else {
      const open = await withTenant(deps.pool, job.tenant_id, (db) => countSweepStart(db, job.id))
      if (open) await runs.startAgain(job, job)
    }
  } catch (error) {
    deps.logger.warn(
      { err: error, tenant_id: job.tenant_id, distribution_id: job.distribution_id },
      'the sweep could not tend to a job; the next one will',
    )
  }
}

/** A manual retry after the run was terminated: the end of that run says nothing about this round. */
function movedOnSince(deps: SweepDeps, job: DueJob, closedAt: Date): Promise<boolean> {
  return withTenant(deps.pool, job.tenant_id, (db) => changedAfter(db, job.id, closedAt))
}

async function end(deps: SweepDeps, runs: Runs, job: DueJob, reason: string): Promise<void> {
  const finished = await withTenant(deps.pool, job.tenant_id, (db) =>
    finishDistribution(db, job.id, { round: job.round, cause: 'cancelled', reason }),
  )
  if (finished.outcome === 'final' && finished.notify) await runs.notify({ ...reference(job), round: finished.round })
}

async function abandon(deps: SweepDeps, runs: Runs, job: DueJob): Promise<void> {
  const message = `The distribution could not be carried out: its workflow ended ${MOST_STARTS} times without an end`
  const finished = await withTenant(deps.pool, job.tenant_id, async (db) => {
    await writeAudit(db, {
      tenant_id: job.tenant_id,
      actor: 'distributor',
      action: 'distribution.abandoned',
      resource_type: 'distribution_job',
      resource_id: job.distribution_id,
      details: { round: job.round, starts: job.sweep_starts },
    })
    return await giveUp(db, job.id, job.round, message)
  })
  deps.logger.error({ tenant_id: job.tenant_id, distribution_id: job.distribution_id }, message)
  if (finished.outcome === 'final' && finished.notify) await runs.notify({ ...reference(job), round: finished.round })
}

function reference(job: DueJob) {
  return { tenant_id: job.tenant_id, distribution_id: job.distribution_id }
}
