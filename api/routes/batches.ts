// Batches: status and cancel.
import { z } from 'zod'
import {
  type BatchRow,
  batchStatusOf,
  findBatch,
  parseBatchId,
  publicBatchId,
  requestBatchCancel,
} from '../../db/batches/batches.ts'
import { type BatchProgress, batchProgress, listBatchItems } from '../../db/batches/items.ts'
import { endpoint } from '../http/endpoint.ts'
import { ApiError, notFound } from '../http/errors.ts'
import { pageOf, readPage } from '../http/pages.ts'
import { batchCancelAnswer, batchParams, batchQuery, batchStatus, MAX_ITEMS } from '../schemas/batches.ts'
import { cancelRequest } from '../schemas/distributions.ts'

const tag = 'Batches'
const MISSING = { 404: { description: 'The tenant has no such batch' } }

export const status = endpoint({
  method: 'get',
  path: '/distribution/batch/{batch_id}/status',
  operation: 'getBatch',
  tag,
  summary: 'Get the status of a batch',
  role: 'viewer',
  params: batchParams,
  query: batchQuery,
  answers: {
    200: { description: 'Counts for the whole batch, and one page of its distributions', schema: batchStatus },
    ...MISSING,
  },
}).handle(async ({ transaction, params, query }) => {
  const id = readBatchId(params.batch_id)
  const { limit, after } = readPage({ limit: MAX_ITEMS, ...query }, z.int())
  const found = await transaction(async (db) => {
    const batch = await findBatch(db, id)
    if (!batch) return null
    const page = { after: after ?? 0, limit: limit + 1, status: query.status ?? null }
    return { batch, progress: await batchProgress(db, id), items: await listBatchItems(db, id, page) }
  })
  if (!found) throw notFound('batch')
  const { batch, progress, items } = found
  const { page, pagination } = pageOf(items, limit, ({ position }) => position)
  const distributions = page.map(({ position: _, ...shown }) => shown)
  return {
    status: 200,
    body: { ...shownBatch(batch, progress), distributions, pagination, rejected: batch.rejected },
  }
})

export const cancel = endpoint({
  method: 'post',
  path: '/distribution/batch/{batch_id}/cancel',
  operation: 'cancelBatch',
  tag,
  summary: 'Cancel a batch',
  description:
    'Cancels its distributions that are not final. If the batch is a retry, the distributions that it has not reached yet stay unchanged and count as skipped.',
  role: 'operator',
  params: batchParams,
  body: cancelRequest,
  body_optional: true,
  answers: {
    202: {
      description: 'The cancellation is accepted; repeating the request changes nothing',
      schema: batchCancelAnswer,
    },
    ...MISSING,
    409: { description: 'The batch has already ended' },
  },
}).handle(async ({ deps, caller, transaction, audit, params: { batch_id }, body }) => {
  const id = readBatchId(batch_id)
  const asked = await transaction(async (db) => {
    const asked = await requestBatchCancel(db, id, body.reason || 'cancelled on request')
    if (asked.outcome === 'requested') {
      const details = body.reason ? { reason: body.reason } : {}
      await audit(db, { action: 'cancel', resource_type: 'batch', resource_id: id, details })
    }
    return asked
  })
  if (asked.outcome === 'missing') throw notFound('batch')
  const tracking_url = trackingUrl(id)
  if (asked.outcome === 'finished') {
    // The response to an earlier cancel may have been lost, so a repeat is accepted.
    if (asked.asked && asked.status === 'cancelled') {
      return { status: 202, body: { batch_id, status: 'cancelled', tracking_url } }
    }
    const issue = `is ${asked.status}; cancel the distributions that were retried since one by one`
    throw new ApiError('CONFLICT', `the batch has already ended with the status ${asked.status}`, [
      { field: 'status', issue },
    ])
  }
  const ref = { tenant_id: caller.tenant_id, batch_id: id }
  await deps.dispatcher.tell('cancel', ref, (runs) => runs.startBatch(ref))
  return { status: 202, body: { batch_id, status: 'processing', tracking_url } }
})

export function trackingUrl(id: string): string {
  return `/api/v1/distribution/batch/${publicBatchId(id)}/status`
}

/** The uuid of the row. An id in another form is a 404, like one that does not exist. */
function readBatchId(batchId: string): string {
  const id = parseBatchId(batchId)
  if (!id) throw notFound('batch')
  return id
}

/** Computed from the present state of its distributions: after a retry of one, the batch is processing again. */
function shownBatch(batch: BatchRow, progress: BatchProgress) {
  const { total, waiting, counts, completed_at } = progress
  const open = counts.pending + counts.processing
  return {
    batch_id: publicBatchId(batch.id),
    kind: batch.kind,
    status: batchStatusOf(batch, progress),
    total_distributions: batch.total_distributions,
    completed_distributions: counts.completed,
    failed_distributions: counts.failed,
    progress_percentage: total === 0 ? 100 : Math.floor(((total - open) / total) * 100),
    submitted_at: batch.created_at,
    completed_at: open > 0 ? null : (completed_at ?? batch.completed_at),
    cancel_reason: batch.cancel_reason,
    summary: { accepted: total, rejected: batch.rejected.length, waiting, ...counts },
  }
}
