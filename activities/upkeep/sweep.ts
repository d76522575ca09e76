// `sweep`: a command first writes a row and then starts or signals a workflow. The sweep finds rows whose workflow was not
// started or signalled, because the process was lost in between, and does it again.
import { type BatchRefRow, dueBatches } from '../../db/batches/batches.ts'
import { deletedDestinationsInUse, endDeliveriesOf } from '../../db/destinations/deleted.ts'
import { parseDistributionId, refOf } from '../../db/distributions/job-id.ts'
import { dueTurns } from '../../db/distributions/ordering.ts'
import { bringForward, checkLater, type DueJob, dueJobs, waitingTargets } from '../../db/distributions/sweep.ts'
import { withoutTenant, withTenant } from '../../db/pool.ts'
import { dueSchedules } from '../../db/schedules/schedules.ts'
import { countFailedDeliveries, notifyEventWindows } from '../../db/webhooks/event-windows.ts'
import { webhookId } from '../../db/webhooks/webhook-id.ts'
import { checkWebhookLater, dueWebhooks, type WebhookRow } from '../../db/webhooks/webhooks.ts'
import type { Runs } from '../../workflows/client.ts'
import type { SweepInput } from '../../workflows/messages.ts'
import type { ActivityDeps } from '../deps.ts'
import { syncSchedule } from '../schedules/submit.ts'
import { tendOpenJob } from './open-jobs.ts'
import { runSteps, type Steps } from './steps.ts'
import { AT_ONCE, PAGE, type Search, sweepPages } from './sweep-pages.ts'

/** When to check again: a webhook that has a run, and a row that could not be handled. */
const RUNNING_CHECK_SECONDS = 600
const FAILED_CHECK_SECONDS = 60
/** Several sweeps, because Temporal's list of runs lags behind. */
const TERMINATED_SINCE_SECONDS = 180

/**
 * One pass over the due rows, or with `all` over all open rows, because Temporal may have lost its data.
 * `beat` is called between rows. Open jobs are swept beside the rest: many of them take a while and must not delay it.
 */
export async function sweep(deps: ActivityDeps, input: SweepInput, beat: () => void): Promise<void> {
  const runs = deps.runs()
  if (!runs) throw new Error('Temporal is not connected')
  const ended = await Promise.allSettled([
    runSteps(deps, 'sweep', openJobs(deps, runs, input, beat), beat),
    runSteps(deps, 'sweep', others(deps, runs, input, beat), beat),
  ])
  for (const part of ended) if (part.status === 'rejected') throw part.reason
}

function openJobs(deps: ActivityDeps, runs: Runs, { all }: SweepInput, beat: () => void): Steps {
  let looked = 0
  const jobs = () =>
    sweepPages(
      deps,
      {
        query: (db, limit, after: DueJob | null) => dueJobs(db, limit, all, after?.id ?? null),
        act: (job) => {
          looked += 1
          return tendOpenJob(deps, runs, job)
        },
        failure: 'the sweep could not handle a distribution; a later one tries again',
        postpone: (job) => withTenant(deps.pool, job.tenant_id, (db) => checkLater(db, job.id, FAILED_CHECK_SECONDS)),
      },
      beat,
    )
  return [
    ['terminated', () => bringTerminatedForward(deps, runs)],
    [
      'jobs',
      async () => {
        await jobs()
        if (all) deps.logger.info({ distributions: looked }, 'every open distribution was looked at')
      },
    ],
  ]
}

/** A run that was terminated tells nobody. Its row is checked in this sweep and not when its next check is due. */
async function bringTerminatedForward(deps: ActivityDeps, runs: Runs): Promise<void> {
  for (const ref of await runs.terminated(TERMINATED_SINCE_SECONDS, PAGE)) {
    const id = parseDistributionId(ref.distribution_id)
    if (id) await withTenant(deps.pool, ref.tenant_id, (db) => checkLater(db, id, 0))
  }
}

function others(deps: ActivityDeps, runs: Runs, { all }: SweepInput, beat: () => void): Steps {
  const step = <Row extends object>(name: string, search: Search<Row>): Steps[number] => [
    name,
    () => sweepPages(deps, search, beat),
  ]
  const checkWebhook = (due: WebhookRow, seconds: number) =>
    withTenant(deps.pool, due.tenant_id, (db) => checkWebhookLater(db, due, seconds))

  const always: Steps = [
    step('event_windows', {
      async query(db, limit) {
        await countFailedDeliveries(db)
        return await notifyEventWindows(db, limit)
      },
      async act(event) {
        deps.logger.warn(event, `${event.event_type}: ${event.count} since ${event.since.toISOString()}`)
      },
      failure: 'an event could not be logged',
    }),
    step('webhooks', {
      query: dueWebhooks,
      async act(due) {
        await runs.startWebhook({ tenant_id: due.tenant_id, webhook_id: webhookId(due) })
        // Thousands of webhooks that wait for one receiver would otherwise delay all later ones.
        await checkWebhook(due, RUNNING_CHECK_SECONDS)
      },
      failure: 'the sweep could not start a webhook; a later one tries again',
      postpone: (due) => checkWebhook(due, FAILED_CHECK_SECONDS),
    }),
    step('batches', {
      query: (db, limit, after: BatchRefRow | null) => dueBatches(db, limit, all, after?.id ?? null),
      act: ({ tenant_id, id: batch_id }) => runs.startBatch({ tenant_id, batch_id }),
      failure: 'the sweep could not start a batch; the next one tries again',
    }),
    step('schedules', {
      query: (db, limit, after: BatchRefRow | null) => dueSchedules(db, limit, all, after?.id ?? null),
      act: ({ tenant_id, id: schedule_id }) => syncSchedule(deps, runs, { tenant_id, schedule_id }),
      failure: 'the sweep could not update a schedule in Temporal; the next one tries again',
    }),
    step('deleted_destinations', {
      query: deletedDestinationsInUse,
      act: (destination) => endDeliveriesTo(deps, runs, destination, beat),
      failure: 'the sweep could not end the deliveries to a deleted destination; the next one tries again',
      at_once: 1,
    }),
    step('turns', {
      query: dueTurns,
      act: ({ tenant_id, distribution_job_id, destination_name }) =>
        runs.signalTurn(refOf({ tenant_id, id: distribution_job_id }), [destination_name]),
      failure: 'the sweep could not signal the next distribution of an ordering key; the next one tries again',
    }),
  ]
  if (!all) return always
  return [
    ['overdue', () => withoutTenant(deps.pool, (db) => bringForward(db))],
    ...always,
    step('waiting', {
      query: waitingTargets,
      async act({ tenant_id, target, recovers, changed_at }) {
        if (recovers) await runs.resume({ tenant_id, target })
        if (changed_at) await runs.resume({ tenant_id, target, changed_at: changed_at.toISOString() })
      },
      failure: 'the sweep could not resume the deliveries to a destination; they retry by themselves',
    }),
  ]
}

/** The process that deleted the destination may have stopped before it ended all deliveries. */
async function endDeliveriesTo(
  deps: ActivityDeps,
  runs: Runs,
  { tenant_id, destination_id }: { tenant_id: string; destination_id: string },
  beat: () => void,
): Promise<void> {
  for (;;) {
    const ended = await withTenant(deps.pool, tenant_id, (db) => endDeliveriesOf(db, destination_id, PAGE))
    if (ended.length === 0) return
    for (let from = 0; from < ended.length; from += AT_ONCE) {
      const some = ended.slice(from, from + AT_ONCE)
      await Promise.all(some.map((id) => runs.signalReread(refOf({ tenant_id, id }))))
    }
    beat()
  }
}
