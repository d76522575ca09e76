// `sweep`: the second half of every command, repeated for whoever could not finish it. It finds open jobs that nobody
// works at by their row, and brings run and row together again.
import { isDeepStrictEqual } from 'node:util'
import { type BatchRefRow, dueBatches } from '../../db/batches/batches.ts'
import { deletedDestinationsInUse, endDeliveriesOf } from '../../db/destinations/deleted.ts'
import { jobId } from '../../db/distributions/job-id.ts'
import { type DueTurn, dueTurns } from '../../db/distributions/ordering.ts'
import {
  bringForward,
  changedAfter,
  checkLater,
  countSweepStart,
  type DueCallbackRef,
  type DueJob,
  dueCallbacks,
  dueJobs,
  hasUntakenRetry,
  waitingTargets,
} from '../../db/distributions/sweep.ts'
import { withoutTenant, withTenant } from '../../db/pool.ts'
import { dueRecurring } from '../../db/schedules/schedules.ts'
import { checkCallbackLater } from '../../db/webhooks/callbacks.ts'
import { countFailedDeliveries, tellEventWindows } from '../../db/webhooks/event-windows.ts'
import { dueEvents } from '../../db/webhooks/operator-events.ts'
import type { Runs } from '../../workflows/client.ts'
import type { SweepInput } from '../../workflows/messages.ts'
import type { ActivityDeps } from '../deps.ts'
import { endWithoutRun } from '../distribution/end.ts'
import { syncRecurring } from '../schedules/fire.ts'
import { runSteps, type Steps } from './steps.ts'

/** What looks after others' work needs no more than they do. */
export type SweepDeps = ActivityDeps

const PAGE = 500
/** So many looks at Temporal at once. */
const AT_ONCE = 20
/** More starts in one round than this do not help: the job ends as failed, and an operator hears of it. */
const MOST_STARTS = 5
const RUNNING_CHECK_SECONDS = 600
const CANCELLING_CHECK_SECONDS = 60
const FAILED_CHECK_SECONDS = 60

/**
 * One pass over what is due, or with `all` over everything that is open. `beat` is called between pages. Many open jobs
 * hold up nothing else: after a loss of Temporal's data they take a while.
 */
export async function sweep(deps: SweepDeps, input: SweepInput, beat: () => void): Promise<void> {
  const runs = deps.runs()
  if (!runs) throw new Error('Temporal is not connected')
  const ended = await Promise.allSettled([
    runSteps(deps, 'sweep', [['jobs', () => sweepJobs(deps, runs, input, beat)]], beat),
    sweepOthers(deps, runs, input, beat),
  ])
  for (const part of ended) if (part.status === 'rejected') throw part.reason
}

async function sweepJobs(deps: SweepDeps, runs: Runs, input: SweepInput, beat: () => void): Promise<void> {
  let after: string | null = null
  let oldest: string | undefined
  for (;;) {
    const page: DueJob[] = await withoutTenant(deps.pool, (db) => dueJobs(db, PAGE, input.all, after))
    // The same again: nothing can be written about it, and the next pass comes.
    if (page[0]?.id === oldest) return
    oldest = page[0]?.id
    for (let from = 0; from < page.length; from += AT_ONCE) {
      await Promise.all(page.slice(from, from + AT_ONCE).map((job) => tend(deps, runs, job)))
      beat()
    }
    if (page.length < PAGE) return
    after = page.at(-1)!.id
  }
}

/** Each by itself: one that fails hides none behind it. */
async function sweepOthers(deps: SweepDeps, runs: Runs, input: SweepInput, beat: () => void): Promise<void> {
  const first: Steps = [['overdue', () => withoutTenant(deps.pool, (db) => bringForward(db))]]
  const last: Steps = [['waiting', () => sweepWaiting(deps, runs, beat)]]
  await runSteps(
    deps,
    'sweep',
    [
      ...(input.all ? first : []),
      ['callbacks', () => sweepCallbacks(deps, runs, beat)],
      ['batches', () => sweepBatches(deps, runs, input, beat)],
      ['schedules', () => sweepRecurring(deps, runs, input, beat)],
      ['event_windows', () => sweepEventWindows(deps)],
      ['events', () => sweepEvents(deps, runs, beat)],
      ['deleted_destinations', () => sweepDeletedDestinations(deps, runs, beat)],
      ['turns', () => sweepTurns(deps, runs, beat)],
      ...(input.all ? last : []),
    ],
    beat,
  )
}

/** Resumes what waits for destinations that may have recovered, or whose limits changed: who was doing that may be lost. */
async function sweepWaiting(deps: SweepDeps, runs: Runs, beat: () => void): Promise<void> {
  for (const { tenant_id, target, recovers, changed_at } of await withoutTenant(deps.pool, (db) =>
    waitingTargets(db, PAGE),
  )) {
    const refs = [
      ...(recovers ? [{ tenant_id, target }] : []),
      ...(changed_at ? [{ tenant_id, target, changed_at: changed_at.toISOString() }] : []),
    ]
    for (const ref of refs) {
      await runs.wake(ref).catch((error: unknown) => {
        deps.logger.warn({ err: error, ...ref }, 'what waits for a destination was not resumed; it goes on by itself')
      })
    }
    beat()
  }
}

/** Tells those whose turn it is, should the word of those before them have been lost: they ask nobody by themselves. */
async function sweepTurns(deps: SweepDeps, runs: Runs, beat: () => void): Promise<void> {
  let after: DueTurn | null = null
  for (;;) {
    const page: DueTurn[] = await withoutTenant(deps.pool, (db) => dueTurns(db, PAGE, after))
    for (let from = 0; from < page.length; from += AT_ONCE) {
      await Promise.all(
        page.slice(from, from + AT_ONCE).map(async ({ tenant_id, distribution_job_id, destination_name }) => {
          const ref = { tenant_id, distribution_id: `dist_${distribution_job_id}` }
          await runs.signalTurn(ref, [destination_name]).catch((error: unknown) => {
            deps.logger.warn(
              { err: error, ...ref },
              'one was not told that it is its turn; the next sweep will tell it',
            )
          })
        }),
      )
      beat()
    }
    if (page.length < PAGE) return
    after = page.at(-1)!
  }
}

/** Ends what waits for deleted destinations, should the API that deleted them not have come to it. */
async function sweepDeletedDestinations(deps: SweepDeps, runs: Runs, beat: () => void): Promise<void> {
  for (const due of await withoutTenant(deps.pool, (db) => deletedDestinationsInUse(db, PAGE))) {
    const { tenant_id, destination_id } = due
    for (let ended: string[] = []; ; beat()) {
      ended = await withTenant(deps.pool, tenant_id, (db) => endDeliveriesOf(db, destination_id, PAGE))
      if (ended.length === 0) break
      for (let from = 0; from < ended.length; from += AT_ONCE) {
        const some = ended.slice(from, from + AT_ONCE)
        await Promise.all(some.map((distribution_id) => runs.signalLook({ tenant_id, distribution_id })))
      }
    }
  }
}

/** Callbacks without a sender. Each gives its place up: thousands that wait for a receiver would hide all that come later. */
async function sweepCallbacks(deps: SweepDeps, runs: Runs, beat: () => void): Promise<void> {
  for (let page: DueCallbackRef[] = []; ; ) {
    const oldest = page[0]
    page = await withoutTenant(deps.pool, (db) => dueCallbacks(db, PAGE))
    // The same again: nothing can be written about it, and the next pass comes.
    if (oldest && isDeepStrictEqual(page[0], oldest)) return
    for (let from = 0; from < page.length; from += AT_ONCE) {
      await Promise.all(
        page.slice(from, from + AT_ONCE).map(async (due) => {
          const { tenant_id, distribution_id, round } = due
          const seconds = await runs.notify(due).then(
            () => RUNNING_CHECK_SECONDS,
            (error: unknown) => {
              deps.logger.warn({ err: error, ...due }, 'the sweep could not start a callback; a later one will')
              return FAILED_CHECK_SECONDS
            },
          )
          await withTenant(deps.pool, tenant_id, (db) =>
            checkCallbackLater(db, jobId(distribution_id), round, seconds),
          ).catch(() => {})
        }),
      )
      beat()
    }
    if (page.length < PAGE) return
  }
}

/** Counts failed deliveries, and makes one event of many. */
async function sweepEventWindows(deps: SweepDeps): Promise<void> {
  await withoutTenant(deps.pool, (db) => countFailedDeliveries(db))
  for (const told of await withoutTenant(deps.pool, (db) => tellEventWindows(db, PAGE))) {
    deps.logger.warn(told, `${told.event_type}: ${told.count} since ${told.since.toISOString()}`)
  }
}

/** Events that nobody has sent yet: the sweep is what starts their sending. */
async function sweepEvents(deps: SweepDeps, runs: Runs, beat: () => void): Promise<void> {
  for (const due of await withoutTenant(deps.pool, (db) => dueEvents(db, PAGE))) {
    await runs.announce(due).catch((error: unknown) => {
      deps.logger.warn({ err: error, ...due }, 'the sweep could not start an event; the next one will')
    })
    beat()
  }
}

/** Schedules that Temporal does not have as their rows say; with `all` it may have none at all. */
async function sweepRecurring(deps: SweepDeps, runs: Runs, input: SweepInput, beat: () => void): Promise<void> {
  let after: string | null = null
  for (;;) {
    const page: BatchRefRow[] = await withoutTenant(deps.pool, (db) => dueRecurring(db, PAGE, input.all, after))
    for (const { tenant_id, id: schedule_id } of page) {
      await syncRecurring(deps, runs, { tenant_id, schedule_id }).catch((error: unknown) => {
        deps.logger.warn({ err: error, tenant_id, schedule_id }, 'a schedule could not be set; the next sweep will')
      })
      beat()
    }
    if (page.length < PAGE) return
    after = page.at(-1)!.id
  }
}

/** Batches without a run; starting one that has a run changes nothing. */
async function sweepBatches(deps: SweepDeps, runs: Runs, input: SweepInput, beat: () => void): Promise<void> {
  let after: string | null = null
  for (;;) {
    const page: BatchRefRow[] = await withoutTenant(deps.pool, (db) => dueBatches(db, PAGE, input.all, after))
    for (const { tenant_id, id: batch_id } of page) {
      await runs.startBatch({ tenant_id, batch_id }).catch((error: unknown) => {
        deps.logger.warn({ err: error, tenant_id, batch_id }, 'the sweep could not start a batch; the next one will')
      })
      beat()
    }
    if (page.length < PAGE) return
    after = page.at(-1)!.id
  }
}

/**
 * One job; an error is logged and leaves the others alone, for a later pass comes. The job gives its place up until then:
 * a page of such jobs would otherwise be all that a sweep ever sees.
 */
async function tend(deps: SweepDeps, runs: Runs, job: DueJob): Promise<void> {
  try {
    const found = await runs.describe(job)
    if (found.state === 'running') {
      if (job.cancel_requested) await runs.signalCancel(job, job)
      else if (job.round > 1 && (await isUntaken(deps, job))) await runs.signalRetry(job, job)
      const seconds = job.cancel_requested ? CANCELLING_CHECK_SECONDS : RUNNING_CHECK_SECONDS
      await withTenant(deps.pool, job.tenant_id, (db) => checkLater(db, job.id, seconds))
    } else if (found.state === 'terminated' && !(await movedOnSince(deps, job, found.closed_at))) {
      await endWithoutRun(deps, runs, job, { round: job.round, cause: 'cancelled', reason: 'terminated' })
    } else if (job.cancel_requested) {
      await endWithoutRun(deps, runs, job, { round: job.round, cause: 'cancelled' })
    } else if (job.sweep_starts >= MOST_STARTS) {
      await abandon(deps, runs, job)
    } else {
      // Counted afterwards: a start that Temporal refused says nothing about the job. One too many ends at once. What can
      // not be started still expires.
      await runs.startAgain(job, job).catch(async (error: unknown) => {
        await endWithoutRun(deps, runs, job, { round: job.round, cause: 'expired' })
        throw error
      })
      await withTenant(deps.pool, job.tenant_id, (db) => countSweepStart(db, job.id))
    }
  } catch (error) {
    deps.logger.warn(
      { err: error, tenant_id: job.tenant_id, distribution_id: job.distribution_id },
      'the sweep could not tend to a job; a later one will',
    )
    await withTenant(deps.pool, job.tenant_id, (db) => checkLater(db, job.id, FAILED_CHECK_SECONDS)).catch(() => {})
  }
}

/** A manual retry of an open job whose signal never reached the run. */
function isUntaken(deps: SweepDeps, job: DueJob): Promise<boolean> {
  return withTenant(deps.pool, job.tenant_id, (db) => hasUntakenRetry(db, job.id))
}

/** A manual retry after the run was terminated: the end of that run says nothing about this round. */
function movedOnSince(deps: SweepDeps, job: DueJob, closedAt: Date): Promise<boolean> {
  return withTenant(deps.pool, job.tenant_id, (db) => changedAfter(db, job.id, closedAt))
}

async function abandon(deps: SweepDeps, runs: Runs, job: DueJob): Promise<void> {
  const { round, tenant_id, distribution_id } = job
  const reason = `The distribution was given up: its workflow ended ${MOST_STARTS} times and left it open`
  const request = { round, cause: 'given_up', code: 'UNEXPECTED', reason } as const
  const ended = await endWithoutRun(deps, runs, job, request)
  if (ended.outcome === 'final' && ended.ended) deps.logger.error({ tenant_id, distribution_id }, reason)
}
