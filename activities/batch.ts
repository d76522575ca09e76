// `batchStep`: one step of a batch. What is left to do is read from the rows and each part of it done once, by guarded
// changes, so that a step that is repeated, or taken twice at once, changes nothing a second time.
import { setTimeout as sleep } from 'node:timers/promises'
import { writeAudit } from '../db/audit.ts'
import {
  type BatchProgress,
  type BatchRow,
  batchProgress,
  batchStatusOf,
  checkBatchLater,
  closeBatch,
  closeItem,
  expiredItems,
  findBatch,
  firstFailed,
  itemWaits,
  markBatchCancelled,
  openItems,
  peekJob,
  publicBatchId,
  type ReleasedJob,
  releaseBatchPage,
  requestBatchCancel,
  type WaitingItem,
  waitingItems,
} from '../db/batches.ts'
import { requestCancel, requestRetry } from '../db/commands.ts'
import { type FinishRequest, finishDistribution } from '../db/finish.ts'
import { lockJob } from '../db/plan.ts'
import { type Db, withTenant } from '../db/pool.ts'
import type { BatchStatus } from '../db/states.ts'
import { countEnd } from '../temporal-config/metrics.ts'
import type { About, Runs } from '../temporal-config/runs.ts'
import type { BatchRef, BatchStep } from '../workflows/messages.ts'
import type { SweepDeps } from './sweep.ts'
import { passTurn } from './turns.ts'

/** Distributions that one step of a parallel batch lets go. */
const PAGE = 100
/** So many calls to Temporal, or transactions, at once. */
const AT_ONCE = 10
/** A step of a batch that goes one after another gives its slot up after this time. */
const STEP_MS = 5000
/** It waits in its slot for one of them that ends soon; for another it comes again. */
const SOON_MS = 1000
const LONGEST_WAIT_MS = 30_000
/** With fail_fast, others are being sent until the failure of one has been seen. */
const FAST_MS = 3000
/** The sweep looks for the run of a batch that has said nothing for so long. */
const SILENT_SECONDS = 120

export async function batchStep(deps: SweepDeps, ref: BatchRef, beat: () => void): Promise<BatchStep> {
  const place = deps.backgroundShares.place()
  const taken = place.take(ref.tenant_id, `${ref.tenant_id} batches`)
  if (!taken.taken) return { done: false, wait_ms: taken.delay_ms }
  try {
    return await takeStep(deps, ref, beat)
  } finally {
    place.end()
  }
}

async function takeStep(deps: SweepDeps, ref: BatchRef, beat: () => void): Promise<BatchStep> {
  const runs = deps.runs()
  if (!runs) throw new Error('Temporal is not connected')
  const step = {
    deps,
    runs,
    ref,
    beat,
    as: <T>(work: (db: Db) => Promise<T>) => withTenant(deps.pool, ref.tenant_id, work),
  }
  if (ref.cancelled) await step.as((db) => requestBatchCancel(db, ref.batch_id, 'cancelled in Temporal'))
  const batch = await step.as((db) => findBatch(db, ref.batch_id))
  if (!batch) return { done: true, callback: false }
  if (batch.status !== 'processing') return { done: true, callback: batch.callback_status === 'pending' }
  await step.as((db) => checkBatchLater(db, batch.id, SILENT_SECONDS))
  const begun = await go(step, batch)
  if (begun === 'all') return await look(step, batch)
  // There is more to begin: no need to count ten thousand rows in between.
  return { done: false, wait_ms: begun === 'more' ? 0 : begun.wait_ms }
}

interface Step {
  deps: SweepDeps
  runs: Runs
  ref: BatchRef
  /** Between units of work: a heartbeat, which throws when the worker stops. */
  beat: () => void
  as<T>(work: (db: Db) => Promise<T>): Promise<T>
}

type Begun = 'more' | 'all' | { wait_ms: number }

/** The next page, after as long as this one took: whoever starts thousands leaves half of the servers' time to others. */
function nextPage(began: number): Begun {
  return { wait_ms: Math.min(LONGEST_WAIT_MS, Math.ceil(performance.now() - began)) }
}

/** Does the next part of what is left to do; `more` when there may be another right behind it, or only after a time. */
async function go(step: Step, batch: BatchRow): Promise<Begun> {
  if (batch.cancel_reason !== null || (batch.options.fail_fast && (await failsNow(step, batch)))) {
    await cancelRest(step, batch)
    return 'all'
  }
  if (batch.kind === 'retry') return await retryPage(step, batch)
  return await (batch.options.parallel_execution === false ? startOneByOne : startPage)(step, batch)
}

/** Ends the batch when all is final; otherwise says when to come again. */
async function look(step: Step, batch: BatchRow): Promise<BatchStep> {
  const progress = await step.as((db) => batchProgress(db, batch.id))
  if (progress.counts.pending + progress.counts.processing > 0) {
    // A fraction of its age: soon for a short one, and few looks at one that waits for days.
    const wait_ms = waitFor((Date.now() - batch.created_at.getTime()) / 10)
    return { done: false, wait_ms: batch.options.fail_fast ? Math.min(FAST_MS, wait_ms) : wait_ms }
  }
  const status = batchStatusOf(batch, progress)
  const body = callbackBody(batch, status, progress)
  const closed = await step.as(async (db) => {
    const closed = await closeBatch(db, batch.id, status, body)
    if (closed) await audit(db, batch, 'batch.completed', { status, ...progress.counts })
    return closed
  })
  if (closed) step.deps.logger.info({ ...step.ref, status, ...progress.counts }, 'batch ended')
  return { done: true, callback: batch.callback_url !== null }
}

function callbackBody(batch: BatchRow, status: BatchStatus, { counts, total, completed_at }: BatchProgress): string {
  return JSON.stringify({
    event_type: 'batch.completed',
    batch_id: publicBatchId(batch.id),
    tenant_id: batch.tenant_id,
    kind: batch.kind,
    status,
    submitted_at: batch.created_at,
    completed_at: completed_at ?? new Date(),
    total_distributions: batch.total_distributions,
    accepted_distributions: total,
    completed_distributions: counts.completed,
    failed_distributions: counts.failed,
    cancelled_distributions: counts.cancelled,
    skipped_distributions: counts.skipped,
  })
}

/** A few at a time, and as long a pause as they took: others' distributions come in between, and have half of the time. */
async function startPage(step: Step, batch: BatchRow): Promise<Begun> {
  for (let begun = 0; begun < PAGE; begun += AT_ONCE) {
    const began = performance.now()
    const { looked, released } = await step.as((db) => releaseBatchPage(db, batch.id, AT_ONCE))
    await startRuns(step, released)
    if (looked < AT_ONCE) return 'all'
    step.beat()
    await sleep(Math.min(SOON_MS, performance.now() - began))
  }
  return 'more'
}

/**
 * Starts a few that have just been let go, with no end in between: what is not started now, the sweep finds after a minute.
 * So it is with one that Temporal does not take.
 */
async function startRuns({ runs, deps, ref }: Step, jobs: ReleasedJob[]): Promise<void> {
  await Promise.all(
    jobs.map(async ({ distribution_id, ...about }) => {
      const job = { tenant_id: ref.tenant_id, distribution_id }
      await runs.start(job, about).catch((error: unknown) => {
        deps.logger.warn({ err: error, ...job }, 'a distribution of a batch was not started; the sweep will find it')
      })
    }),
  )
}

/** One after another: the next is let go when the one before is final. */
async function startOneByOne(step: Step, batch: BatchRow): Promise<Begun> {
  const until = performance.now() + STEP_MS
  let [open] = await step.as((db) => openItems(db, batch.id, 1))
  for (let wait = 10; performance.now() < until; ) {
    step.beat()
    const job_id = open?.job_id
    const now = job_id === undefined ? null : await step.as((db) => peekJob(db, job_id))
    if (now && (now.status === 'pending' || now.status === 'processing')) {
      if (Math.abs(now.due_in_ms) > SOON_MS) {
        await endExpired(step, batch)
        // A part of what it has taken so far: whoever takes minutes is looked at every few seconds.
        return { wait_ms: waitFor(now.due_in_ms > 0 ? now.due_in_ms : -now.due_in_ms / 5) }
      }
      await sleep(wait)
      wait = Math.min(250, wait * 1.5)
      continue
    }
    if (now?.status === 'failed' && batch.options.fail_fast) return 'more'
    const { looked, released } = await step.as((db) => releaseBatchPage(db, batch.id, 1))
    if (looked === 0) return 'all'
    await startRuns(step, released)
    const [next] = released
    open = next
      ? { job_id: next.distribution_id.slice('dist_'.length), round: 1 }
      : // It was cancelled while it waited, or another step has just let it go.
        (await step.as((db) => openItems(db, batch.id, 1)))[0]
    wait = 10
  }
  return 'more'
}

/** Those behind one that takes its time end when they were to: nobody else looks at them before their turn. */
async function endExpired(step: Step, batch: BatchRow): Promise<void> {
  const items = await step.as((db) => expiredItems(db, batch.id, PAGE))
  await inTurns(items, step.beat, async ({ position, job_id }) => {
    await endByRow(step, job_id, { round: 1, cause: 'expired' })
    await step.as((db) => closeItem(db, batch.id, position, 'started'))
  })
}

function waitFor(ms: number): number {
  return Math.round(Math.min(LONGEST_WAIT_MS, Math.max(200, ms)))
}

/** Sends the next ones again. Each in a transaction that also closes its place in the batch: once, whoever repeats it. */
async function retryPage(step: Step, batch: BatchRow): Promise<Begun> {
  const began = performance.now()
  const { destinations, force = false, timeout_seconds } = batch.options.retry ?? {}
  const items = await step.as((db) => waitingItems(db, batch.id, PAGE))
  await inOrder(items, step.beat, async ({ position, job_id, round }) => {
    const retried = await step.as(async (db): Promise<About | null> => {
      const job = await lockJob(db, job_id)
      if (!job) {
        await closeItem(db, batch.id, position, 'skipped', 'the distribution is no longer kept')
        return null
      }
      if (!(await itemWaits(db, batch.id, position))) return null
      const up_to_round = round ?? undefined
      const outcome = await requestRetry(db, job_id, { destinations, force, timeout_seconds, up_to_round })
      if (outcome.outcome !== 'reset') {
        const overtaken = round !== null && job.round > round && outcome.outcome === 'nothing'
        await closeItem(db, batch.id, position, 'skipped', overtaken ? OVERTAKEN : SKIPPED[outcome.outcome])
        return null
      }
      await closeItem(db, batch.id, position, 'started')
      await writeAudit(db, {
        tenant_id: batch.tenant_id,
        actor: batch.actor,
        action: 'retry',
        resource_type: 'distribution_job',
        resource_id: job_id,
        details: { round: outcome.round, force, batch_id: batch.id },
        request_id: batch.request_id,
      })
      return outcome
    })
    if (!retried) return
    const job = { tenant_id: batch.tenant_id, distribution_id: `dist_${job_id}` }
    await step.runs.signalRetry(job, retried).catch((error: unknown) => {
      step.deps.logger.warn({ err: error, ...job }, 'a retry of a batch was not begun; the sweep will find it')
    })
  })
  return items.length === PAGE ? nextPage(began) : 'all'
}

const OVERTAKEN = 'it was sent again meanwhile'
const SKIPPED = {
  missing: 'the distribution is no longer kept',
  cancelling: 'a cancel is under way',
  nothing: 'there was nothing to retry',
}

async function failsNow(step: Step, batch: BatchRow): Promise<boolean> {
  const failed = await step.as((db) => firstFailed(db, batch.id))
  if (failed === null) return false
  batch.cancel_reason = `fail_fast: ${failed} has failed`
  const reason = batch.cancel_reason
  await step.as((db) => markBatchCancelled(db, batch.id, reason))
  return true
}

/** Cancels what has not been started by its row, and tells the runs of what is open. */
async function cancelRest(step: Step, batch: BatchRow): Promise<void> {
  const reason = batch.cancel_reason ?? 'cancelled'
  for (;;) {
    const items = await step.as((db) => waitingItems(db, batch.id, PAGE))
    if (items.length === 0) break
    await inTurns(items, step.beat, async ({ position, job_id }) => {
      if (batch.kind === 'retry') {
        await step.as((db) => closeItem(db, batch.id, position, 'skipped', 'the batch was cancelled'))
        return
      }
      await endByRow(step, job_id, { round: 1, cause: 'cancelled', reason })
      await step.as((db) => closeItem(db, batch.id, position, 'started'))
    })
  }
  for (;;) {
    const open = await step.as((db) => openItems(db, batch.id, PAGE, true))
    if (open.length === 0) break
    await inTurns(open, step.beat, async ({ job_id }) => {
      const asked = await step.as((db) => requestCancel(db, job_id, reason))
      if (asked.outcome !== 'requested') return
      const job = { tenant_id: batch.tenant_id, distribution_id: `dist_${job_id}` }
      if (await step.runs.signalCancel(job)) return
      await endByRow(step, job_id, { round: asked.round, cause: 'cancelled', reason })
    })
  }
}

async function endByRow({ deps, runs, ref, as }: Step, jobId: string, request: FinishRequest): Promise<void> {
  const finished = await as((db) => finishDistribution(db, jobId, request))
  countEnd(deps.metrics, ref.tenant_id, finished)
  if (finished.outcome !== 'final') return
  const job = { tenant_id: ref.tenant_id, distribution_id: `dist_${jobId}` }
  if (finished.ordered) await passTurn(deps, job, null)
  if (finished.notify) await runs.notify({ ...job, round: finished.round })
}

/** `work` on each, a few at once. */
async function inTurns<T>(items: T[], beat: () => void, work: (item: T) => Promise<void>): Promise<void> {
  for (let from = 0; from < items.length; from += AT_ONCE) {
    beat()
    await Promise.all(items.slice(from, from + AT_ONCE).map(work))
  }
}

/** `work` on each, a few at once, but one after another where the items have one ordering key. */
async function inOrder(
  items: WaitingItem[],
  beat: () => void,
  work: (item: WaitingItem) => Promise<void>,
): Promise<void> {
  const rows = new Map<string | number, WaitingItem[]>()
  for (const item of items) {
    const row = item.ordering_key ?? item.position
    rows.set(row, [...(rows.get(row) ?? []), item])
  }
  await inTurns([...rows.values()], beat, async (row) => {
    for (const item of row) {
      beat()
      await work(item)
    }
  })
}

function audit(db: Db, batch: BatchRow, action: string, details: Record<string, unknown>): Promise<void> {
  return writeAudit(db, {
    tenant_id: batch.tenant_id,
    actor: 'distributor',
    action,
    resource_type: 'batch',
    resource_id: batch.id,
    details,
    request_id: batch.request_id,
  })
}
