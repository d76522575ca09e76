// Many at once: submit, send again, and watch.

import { createHash } from 'node:crypto'
import { z } from '@hono/zod-openapi'
import {
  type BatchRow,
  batchStatusOf,
  findBatch,
  insertBatch,
  newBatchId,
  parseBatchId,
  publicBatchId,
  requestBatchCancel,
} from '../../db/batches/batches.ts'
import { type BatchProgress, batchProgress, listBatchItems } from '../../db/batches/items.ts'
import { claimIdempotencyKey } from '../../db/distributions/idempotency.ts'
import { countSendable, type Matched, selectIntoBatch } from '../../db/distributions/list.ts'
import { type Db, withTenant } from '../../db/pool.ts'
import { writeAudit } from '../../db/tenants/audit.ts'
import { requireOwnTenant } from '../http/auth.ts'
import type { AppDeps } from '../http/context.ts'
import { type Endpoint, endpoint, type RequestBody } from '../http/endpoint.ts'
import { ApiError, type Detail, invalid, notFound } from '../http/errors.ts'
import { MAX_DEPTH } from '../http/json.ts'
import { cursorOf, NUMBER_CURSOR, readCursor, readFilter } from '../http/pages.ts'
import {
  batchCancelAnswer,
  batchParams,
  batchQuery,
  batchStatus,
  bulkAccepted,
  bulkEnvelope,
  bulkRetryAnswer,
  bulkRetryRequest,
  bulkSubmission,
  MAX_ITEMS,
} from '../schemas/batches.ts'
import { cancelRequest } from '../schemas/distributions.ts'
import { characters } from '../schemas/fields.ts'
import { parse } from '../schemas/issues.ts'
import { submitBulk } from '../submission/bulk-submit.ts'
import { createBulkTurns } from '../submission/bulk-turns.ts'
import { callbackIssues } from '../submission/check.ts'

const tag = 'Batches'
const keyHeader = z.object({ 'Idempotency-Key': characters(1, 255).optional() })

export function batchEndpoints(deps: AppDeps): Endpoint[] {
  const { pool, dispatcher, egress } = deps
  const turns = createBulkTurns(deps.limits.max_body_bytes)

  const submit = endpoint({
    method: 'post',
    path: '/distribution/bulk-submit',
    tag,
    summary: 'Submit many distributions',
    description:
      'Accepts the valid ones, all at once or none, and lists the others. A repeat with the same idempotency key and body gets the first answer; without one, keys of the single distributions tell repeats.',
    role: 'operator',
    headers: keyHeader,
    body: bulkSubmission,
    body_example: {
      distributions: [
        { data_type: 'aggregated_report', payload: { report_id: 'R-7' }, destinations: ['ms09-reporter'] },
        { data_type: 'aggregated_report', payload: { report_id: 'R-8' }, destinations: ['ms09-reporter'] },
      ],
      options: { parallel_execution: true, fail_fast: false },
    },
    body_checked_by_handler: true,
    // Each item is read by itself, and refused by itself when it is too deep.
    body_form: { opaque: 'distributions', max_depth: 2 * MAX_DEPTH, max_elements: MAX_ITEMS },
    max_body_bytes: Number.POSITIVE_INFINITY,
    answers: {
      202: { description: 'Accepted, at least one of them', schema: bulkAccepted },
      409: { description: 'The idempotency key was used with another body' },
    },
    async handle({ c, caller, raw }) {
      const { tenant_id } = caller
      const { items, options } = readBulk(raw)
      const issues = callbackIssues(options.callback_url, egress)
      const given = (raw.value as { tenant_id?: string }).tenant_id
      requireOwnTenant(caller, given)
      const key = keyOf(c.req.header('idempotency-key'), options.idempotency_key, 'options.idempotency_key', issues)
      if (issues.length > 0) throw invalid(issues)
      const request_id = c.get('request_id')
      const request = { caller, key, request_id, items, options, bytes: raw.bytes }
      const done = await turns.run(tenant_id, raw.bytes.length, () => submitBulk(deps, request))
      for (const data_type of done.created) deps.metrics.requests.inc({ tenant_id, data_type, status: 'accepted' })
      // Also for a repeat: its first request may have died between row and start.
      await dispatcher.startBatch({ tenant_id, batch_id: done.batch_id })
      const tracking_url = trackingUrl(done.batch_id)
      c.header('Location', tracking_url)
      return c.json(
        {
          batch_id: publicBatchId(done.batch_id),
          total_distributions: done.total,
          accepted_distributions: done.distribution_ids.length,
          distribution_ids: done.distribution_ids,
          status: 'processing',
          tracking_url,
          rejected: done.rejected,
        },
        202,
      )
    },
  })

  const status = endpoint({
    method: 'get',
    path: '/distribution/batch/{batch_id}/status',
    tag,
    summary: 'How a batch stands',
    role: 'viewer',
    params: batchParams,
    query: batchQuery,
    answers: {
      200: { description: 'Counts over all of it, and its distributions', schema: batchStatus },
      404: { description: 'No such batch of this tenant' },
    },
    async handle({ c, caller, params, query }) {
      const id = parseBatchId(params.batch_id)
      if (!id) throw notFound('batch')
      const limit = query.limit ?? MAX_ITEMS
      const after = Number(readCursor(query.cursor, NUMBER_CURSOR) ?? 0)
      const found = await withTenant(pool, caller.tenant_id, async (db) => {
        const batch = await findBatch(db, id)
        if (!batch) return null
        const page = { after, limit: limit + 1, status: query.status ?? null }
        return { batch, progress: await batchProgress(db, id), items: await listBatchItems(db, id, page) }
      })
      if (!found) throw notFound('batch')
      const { batch, progress, items } = found
      const page = items.slice(0, limit)
      const has_more = items.length > limit
      return c.json({
        ...shownBatch(batch, progress),
        distributions: page.map(({ position: _, ...shown }) => shown),
        pagination: {
          limit,
          has_more,
          next_cursor: has_more && page.length > 0 ? cursorOf(String(page[page.length - 1]!.position)) : null,
        },
        rejected: batch.rejected,
      })
    },
  })

  const retry = endpoint({
    method: 'post',
    path: '/distribution/retry',
    tag,
    summary: 'Send again what a filter matches',
    description:
      'Everything that the filter matches at this moment and that has something to send again, each exactly once: what is sent again by somebody else before its turn is skipped. `dry_run` only counts. A repeat with the same idempotency key and body gets the first answer.',
    role: 'operator',
    headers: keyHeader,
    body: bulkRetryRequest,
    answers: {
      200: { description: 'Only counted', schema: bulkRetryAnswer },
      202: { description: 'A batch that sends them again', schema: bulkRetryAnswer },
      409: { description: 'The idempotency key was used with another body' },
    },
    async handle({ c, caller, body, raw }) {
      requireOwnTenant(caller, body.tenant_id)
      const { tenant_id } = caller
      const issues = callbackIssues(body.callback_url, egress, 'callback_url')
      const key = keyOf(c.req.header('idempotency-key'), body.idempotency_key, 'idempotency_key', issues)
      if (issues.length > 0) throw invalid(issues)
      const { tenant_id: _tenant, dry_run, force, timeout_seconds, callback_url, idempotency_key, ...given } = body
      const { status = force ? undefined : ('failed' as const), ...filters } = given
      const statuses = typeof status === 'string' ? [status] : status
      const filter = { ...readFilter(filters), statuses }
      const { destination } = filters
      if (dry_run) {
        const counted = await withTenant(pool, tenant_id, (db) => countSendable(db, filter, force))
        return c.json(retryAnswer(null, counted, true))
      }
      const batch = {
        tenant_id,
        kind: 'retry' as const,
        options: {
          retry: { ...(destination === undefined ? {} : { destinations: [destination] }), force, timeout_seconds },
          filter: { status, ...filters },
        },
        callback_url: body.callback_url ?? null,
        rejected: [],
        request_id: c.get('request_id'),
        actor: caller.actor,
      }
      const make = async (db: Db) => {
        const claim = key === undefined ? null : await claimKey(db, tenant_id, key, raw)
        if (claim && !claim.claimed) {
          const first = await findBatch(db, claim.job_id)
          if (!first) throw new ApiError('CONFLICT', 'the batch of this idempotency key is no longer kept')
          const sendable = first.total_distributions
          return { id: first.id, matched: first.options.matched ?? sendable, sendable }
        }
        const id = claim?.job_id ?? (await newBatchId(db))
        const chosen = await selectIntoBatch(db, filter, { id, tenant_id, force })
        const { matched, sendable } = chosen
        const options = { ...batch.options, matched }
        await insertBatch(db, { ...batch, id, options, total_distributions: sendable })
        await writeAudit(db, {
          tenant_id,
          actor: caller.actor,
          action: 'bulk_retry',
          resource_type: 'batch',
          resource_id: id,
          details: { ...batch.options.filter, force, total: sendable },
          request_id: batch.request_id,
        })
        return { id, ...chosen }
      }
      const made = await turns.run(tenant_id, raw.bytes.length, () => withTenant(pool, tenant_id, make))
      await dispatcher.startBatch({ tenant_id, batch_id: made.id })
      const answer = retryAnswer(made.id, made, false)
      c.header('Location', answer.tracking_url ?? '')
      return c.json(answer, 202)
    },
  })

  const cancel = endpoint({
    method: 'post',
    path: '/distribution/batch/{batch_id}/cancel',
    tag,
    summary: 'Cancel what a batch has not finished',
    description:
      'Of its distributions those that are not final; of a retry also those that it has not come to, which stay as they are and count as skipped.',
    role: 'operator',
    params: batchParams,
    body: cancelRequest,
    body_optional: true,
    answers: {
      202: { description: 'Will be cancelled; asking again changes nothing', schema: batchCancelAnswer },
      404: { description: 'No such batch of this tenant' },
      409: { description: 'It has ended already' },
    },
    async handle({ c, caller, params, body }) {
      requireOwnTenant(caller, body.tenant_id)
      const id = parseBatchId(params.batch_id)
      if (!id) throw notFound('batch')
      const { tenant_id, actor } = caller
      const asked = await withTenant(pool, tenant_id, async (db) => {
        const asked = await requestBatchCancel(db, id, body.reason || 'cancelled on request')
        const resource = { resource_type: 'batch', resource_id: id, details: {} }
        if (asked.outcome === 'requested') {
          await writeAudit(db, { tenant_id, actor, action: 'cancel', ...resource, request_id: c.get('request_id') })
        }
        return asked
      })
      if (asked.outcome === 'missing') throw notFound('batch')
      if (asked.outcome === 'finished') {
        // The answer to an earlier request may have been lost: what was carried out is never refused.
        if (asked.asked && asked.status === 'cancelled') {
          return c.json({ batch_id: params.batch_id, status: asked.status, tracking_url: trackingUrl(id) }, 202)
        }
        const issue = `ended as ${asked.status}; what was sent again since is cancelled by itself`
        throw new ApiError('CONFLICT', `the batch has ended already, as ${asked.status}`, [{ field: 'status', issue }])
      }
      await dispatcher.startBatch({ tenant_id, batch_id: id })
      return c.json({ batch_id: params.batch_id, status: 'processing', tracking_url: trackingUrl(id) }, 202)
    },
  })

  return [submit, status, retry, cancel]
}

function trackingUrl(id: string): string {
  return `/api/v1/distribution/batch/${publicBatchId(id)}/status`
}

/** The request as a whole; a fault of one item is none of it. */
function readBulk(raw: RequestBody) {
  const { options } = parse(bulkEnvelope, raw.value)
  const { count, first } = raw.elements
  if (count === 0) throw invalid([{ field: 'distributions', issue: 'must hold at least one' }])
  if (count > MAX_ITEMS) {
    throw new ApiError('PAYLOAD_TOO_LARGE', `a request has at most ${MAX_ITEMS} distributions`, [
      { field: 'distributions', issue: `has ${count} entries, at most ${MAX_ITEMS} are allowed` },
    ])
  }
  return { items: first, options }
}

/** The key of header or body; what is wrong with it is added to `issues`. */
function keyOf(
  header: string | undefined,
  inBody: string | null | undefined,
  field: string,
  issues: Detail[],
): string | undefined {
  if (header !== undefined && !characters(1, 255).safeParse(header).success) {
    issues.push({ field: 'Idempotency-Key', issue: 'must have 1 to 255 characters' })
  }
  if (header !== undefined && inBody && header !== inBody) {
    issues.push({ field, issue: 'differs from the header Idempotency-Key' })
  }
  return inBody ?? header
}

async function claimKey(db: Db, tenantId: string, key: string, { bytes }: RequestBody) {
  const sha256 = createHash('sha256').update(bytes).digest()
  const claim = await claimIdempotencyKey(db, tenantId, key, sha256)
  if (claim.claimed || claim.request_sha256.equals(sha256)) return claim
  throw new ApiError('CONFLICT', 'the idempotency key was used before with another body', [
    { field: 'idempotency_key', issue: 'belongs to an earlier request' },
  ])
}

function retryAnswer(id: string | null, { matched, sendable }: Matched, dry_run: boolean) {
  return {
    dry_run,
    matched_distributions: matched,
    batch_id: id === null ? null : publicBatchId(id),
    total_distributions: sendable,
    status: id === null ? ('counted' as const) : ('processing' as const),
    tracking_url: id === null ? null : trackingUrl(id),
  }
}

/** By its distributions as they are now: a retry of one opens its batch's view again. */
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
