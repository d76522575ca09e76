// `batchStep`: one step of a batch. The rows say what is left to do. Guarded updates do each part once, so that a step that is
// repeated, or runs twice at the same time, changes nothing a second time.

import {
  type BatchRow,
  batchStatusOf,
  checkBatchLater,
  closeBatch,
  findBatch,
  markBatchCancelled,
  publicBatchId,
  requestBatchCancel,
} from '../../db/batches/batches.ts'
import { type BatchProgress, batchProgress, firstFailed } from '../../db/batches/items.ts'
import { now, nowDate } from '../../db/clock.ts'
import { type Db, withTenant } from '../../db/pool.ts'
import type { BatchStatus } from '../../db/states.ts'
import { writeAudit } from '../../db/tenants/audit.ts'
import { tenantIsActive } from '../../db/tenants/tenants.ts'
import { webhookId } from '../../db/webhooks/webhook-id.ts'
import type { BatchRef, BatchStep } from '../../workflows/messages.ts'
import type { ActivityDeps } from '../deps.ts'
import { cancelRest } from './cancel.ts'
import { retryPage } from './resend.ts'
import { startOneByOne, startPage } from './start.ts'
import { type Begun, type Step, waitFor } from './step.ts'

/** The longest wait between two checks with fail_fast, because other items are sent until a failure is noticed. */
const FAIL_FAST_MS = 3000
/** How often the batch of a suspended tenant is checked; shorter than the time below, so the sweep does not start it. */
const SUSPENDED_MS = 60_000
/** If a batch makes no step for this long, the sweep starts its run again. */
const SILENT_SECONDS = 120

export async function batchStep(deps: ActivityDeps, ref: BatchRef, beat: () => void, attempt = 1): Promise<BatchStep> {
  const slot = deps.backgroundSlots.slot()
  const taken = slot.take(ref.tenant_id, `${ref.tenant_id} batches`)
  if (!taken.taken) return { done: false, wait_ms: taken.delay_ms }
  try {
    return await takeStep(deps, ref, beat, attempt)
  } finally {
    slot.end()
  }
}

async function takeStep(deps: ActivityDeps, ref: BatchRef, beat: () => void, attempt: number): Promise<BatchStep> {
  const runs = deps.runs()
  if (!runs) throw new Error('Temporal is not connected')
  const step: Step = {
    deps,
    runs,
    ref,
    beat,
    as: <T>(work: (db: Db) => Promise<T>) => withTenant(deps.pool, ref.tenant_id, work, { planOnce: true }),
    attempt,
  }
  if (ref.cancelled) await step.as((db) => requestBatchCancel(db, ref.batch_id, 'cancelled in Temporal'))
  const batch = await step.as((db) => findBatch(db, ref.batch_id))
  if (batch?.status !== 'processing') return { done: true }
  await step.as((db) => checkBatchLater(db, batch.id, SILENT_SECONDS))
  const ends = batch.cancel_reason !== null
  if (!ends && !(await step.as((db) => tenantIsActive(db, batch.tenant_id))))
    return { done: false, wait_ms: SUSPENDED_MS }
  const begun = await startNext(step, batch)
  if (begun === 'all') return await endIfDone(step, batch)
  // Some items are not started yet, so the batch cannot have ended: the rows need not be counted.
  return { done: false, wait_ms: begun === 'more' ? 0 : begun.wait_ms }
}

/** Starts the next items, or cancels the rest; `all` if none is left. */
async function startNext(step: Step, batch: BatchRow): Promise<Begun> {
  if (batch.cancel_reason !== null || (batch.options.fail_fast && (await failsNow(step, batch)))) {
    await cancelRest(step, batch)
    return 'all'
  }
  if (batch.kind === 'retry') return await retryPage(step, batch)
  return await (batch.options.parallel_execution === false ? startOneByOne : startPage)(step, batch)
}

/** Ends the batch when all items are final; otherwise says when to check again. */
async function endIfDone(step: Step, batch: BatchRow): Promise<BatchStep> {
  const progress = await step.as((db) => batchProgress(db, batch.id))
  if (progress.counts.pending + progress.counts.processing > 0) {
    // A fraction of its age: a young batch is checked soon, and one that waits for days seldom.
    const wait_ms = waitFor((now() - batch.created_at.getTime()) / 10)
    return { done: false, wait_ms: batch.options.fail_fast ? Math.min(FAIL_FAST_MS, wait_ms) : wait_ms }
  }
  const status = batchStatusOf(batch, progress)
  const body = callbackBody(batch, status, progress)
  const closed = await step.as(async (db) => {
    const closed = await closeBatch(db, batch.id, status, body)
    if (closed) await audit(db, batch, 'batch.completed', { status, ...progress.counts })
    return closed
  })
  if (closed) step.deps.logger.info({ ...step.ref, status, ...progress.counts }, 'batch ended')
  if (closed && batch.callback_url !== null) {
    const webhook_id = webhookId({ kind: 'batch', subject_id: batch.id, round: 1 })
    await step.runs.startWebhook({ tenant_id: batch.tenant_id, webhook_id })
  }
  return { done: true }
}

function callbackBody(batch: BatchRow, status: BatchStatus, { counts, total, completed_at }: BatchProgress): string {
  return JSON.stringify({
    event_type: 'batch.completed',
    batch_id: publicBatchId(batch.id),
    tenant_id: batch.tenant_id,
    kind: batch.kind,
    status,
    submitted_at: batch.created_at,
    completed_at: completed_at ?? nowDate(),
    total_distributions: batch.total_distributions,
    accepted_distributions: total,
    completed_distributions: counts.completed,
    failed_distributions: counts.failed,
    cancelled_distributions: counts.cancelled,
    skipped_distributions: counts.skipped,
  })
}

async function failsNow(step: Step, batch: BatchRow): Promise<boolean> {
  const failed = await step.as((db) => firstFailed(db, batch.id))
  if (failed === null) return false
  batch.cancel_reason = `fail_fast: ${failed} has failed`
  const reason = batch.cancel_reason
  await step.as((db) => markBatchCancelled(db, batch.id, reason))
  return true
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
