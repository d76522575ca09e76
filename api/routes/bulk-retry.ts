// Retries many distributions, chosen by a filter.
import { findBatch, insertBatch, newBatchId, publicBatchId } from '../../db/batches/batches.ts'
import { countSendable, type Matched, selectIntoBatch } from '../../db/distributions/list.ts'
import { endpoint } from '../http/endpoint.ts'
import { invalid } from '../http/errors.ts'
import { readFilter } from '../http/pages.ts'
import { bulkRetryAnswer, bulkRetryRequest } from '../schemas/batches.ts'
import { callbackIssues } from '../submission/check.ts'
import { claimKey, keyHeader, keyOf, noLongerKept, REPLAYED } from '../submission/idempotency.ts'
import { trackingUrl } from './batches.ts'

export const retry = endpoint({
  method: 'post',
  path: '/distribution/retry',
  operation: 'retryMany',
  tag: 'Batches',
  summary: 'Retry all distributions that match a filter',
  description:
    'Creates a batch of the distributions that match the filter now and have something to retry. Each is retried once; one that another request retries first is skipped. With `dry_run` they are only counted. A repeat with the same idempotency key and body returns the first response.',
  role: 'operator',
  headers: keyHeader,
  body: bulkRetryRequest,
  answers: {
    200: { description: 'The count, for `dry_run`', schema: bulkRetryAnswer },
    202: { description: 'The batch that retries them', schema: bulkRetryAnswer },
    409: { description: 'The idempotency key was used before with a different body' },
  },
}).handle(async ({ c, deps, caller, request_id, transaction, audit, body, raw }) => {
  const { tenant_id, actor } = caller
  const issues = callbackIssues(body.callback_url, deps.egress, 'callback_url')
  const key = keyOf(c.req.header('idempotency-key'), body.idempotency_key, 'idempotency_key', issues)
  if (issues.length > 0) throw invalid(issues)
  const { tenant_id: _tenant, dry_run, force, timeout_seconds, callback_url, idempotency_key, ...given } = body
  const { status = force ? undefined : ('failed' as const), ...filters } = given
  const statuses = typeof status === 'string' ? [status] : status
  const filter = { ...readFilter(filters), statuses }
  if (dry_run) {
    const counted = await transaction((db) => countSendable(db, filter, force))
    return { status: 200, body: answerOf(null, counted) }
  }
  const { destination } = filters
  const shownFilter = { status, ...filters }
  const make = () =>
    transaction(async (db) => {
      const claim = key === undefined ? null : await claimKey(db, tenant_id, key, raw.bytes)
      if (claim && !claim.claimed) {
        const first = await findBatch(db, claim.job_id)
        if (!first) throw noLongerKept('batch')
        const sendable = first.total_distributions
        return { id: first.id, matched: first.options.matched ?? sendable, sendable, replayed: true }
      }
      const id = claim?.job_id ?? (await newBatchId(db))
      const chosen = await selectIntoBatch(db, filter, { id, tenant_id, force })
      const { matched, sendable } = chosen
      await insertBatch(db, {
        id,
        tenant_id,
        kind: 'retry',
        total_distributions: sendable,
        options: {
          retry: { ...(destination === undefined ? {} : { destinations: [destination] }), force, timeout_seconds },
          filter: shownFilter,
          matched,
        },
        callback_url: callback_url ?? null,
        rejected: [],
        request_id,
        actor,
      })
      const details = { ...shownFilter, force, total: sendable }
      await audit(db, { action: 'bulk_retry', resource_type: 'batch', resource_id: id, details })
      return { id, ...chosen, replayed: false }
    })
  const made = await deps.bulkQueue.run(tenant_id, raw.bytes.length, make)
  const ref = { tenant_id, batch_id: made.id }
  await deps.dispatcher.tell('bulk retry', ref, (runs) => runs.startBatch(ref))
  return {
    status: 202,
    headers: { Location: trackingUrl(made.id), ...(made.replayed && REPLAYED) },
    body: answerOf(made.id, made),
  }
})

/** `id`: the batch; null for `dry_run`. */
function answerOf(id: string | null, { matched, sendable }: Matched) {
  return {
    dry_run: id === null,
    matched_distributions: matched,
    batch_id: id && publicBatchId(id),
    total_distributions: sendable,
    status: id === null ? ('counted' as const) : ('processing' as const),
    tracking_url: id && trackingUrl(id),
  }
}
