// Many distributions in one request.
import { countAccepted } from '../../activities/metrics.ts'
import { publicBatchId } from '../../db/batches/batches.ts'
import { endpoint, type RequestBody } from '../http/endpoint.ts'
import { ApiError, invalid } from '../http/errors.ts'
import { MAX_DEPTH } from '../http/json.ts'
import { bulkAccepted, bulkEnvelope, bulkSubmission, MAX_ITEMS } from '../schemas/batches.ts'
import { submitBulk } from '../submission/bulk-submit.ts'
import { callbackIssues } from '../submission/check.ts'
import { keyHeader, keyOf, REPLAYED } from '../submission/idempotency.ts'
import { trackingUrl } from './batches.ts'

export const submit = endpoint({
  method: 'post',
  path: '/distribution/bulk-submit',
  operation: 'submitMany',
  tag: 'Batches',
  summary: 'Submit many distributions',
  description:
    'Accepts the valid distributions in one transaction, and lists the rejected ones. A repeat with the same idempotency key and body returns the first response. Each distribution may also have an idempotency key of its own.',
  role: 'operator',
  headers: keyHeader,
  body: bulkEnvelope,
  body_documentation: bulkSubmission,
  body_example: {
    distributions: [
      { data_type: 'aggregated_report', payload: { report_id: 'R-7' }, destinations: ['ms09-reporter'] },
      { data_type: 'aggregated_report', payload: { report_id: 'R-8' }, destinations: ['ms09-reporter'] },
    ],
    options: { parallel_execution: true, fail_fast: false },
  },
  // Each item is parsed separately, with its own limit of depth.
  body_form: { opaque: 'distributions', max_depth: 2 * MAX_DEPTH, max_elements: MAX_ITEMS },
  max_body_bytes: Number.POSITIVE_INFINITY,
  answers: {
    202: { description: 'At least one distribution was accepted', schema: bulkAccepted },
    409: { description: 'The idempotency key was used before with a different body' },
  },
}).handle(async ({ c, deps, caller, request_id, body: { options }, raw }) => {
  const { tenant_id } = caller
  const items = itemsOf(raw)
  const issues = callbackIssues(options.callback_url, deps.egress)
  const key = keyOf(c.req.header('idempotency-key'), options.idempotency_key, 'options.idempotency_key', issues)
  if (issues.length > 0) throw invalid(issues)
  const request = { caller, key, request_id, items, options, bytes: raw.bytes }
  const done = await deps.bulkQueue.run(tenant_id, raw.bytes.length, () => submitBulk(deps, request))
  for (const data_type of done.created) countAccepted(deps.metrics, tenant_id, data_type)
  // Also for a repeat: the process may have died after the first request was stored and before the start.
  const ref = { tenant_id, batch_id: done.batch_id }
  await deps.dispatcher.tell('batch', ref, (runs) => runs.startBatch(ref))
  const tracking_url = trackingUrl(done.batch_id)
  return {
    status: 202,
    headers: { Location: tracking_url, ...(done.replayed && REPLAYED) },
    body: {
      batch_id: publicBatchId(done.batch_id),
      total_distributions: done.total,
      accepted_distributions: done.distribution_ids.length,
      distribution_ids: done.distribution_ids,
      status: 'processing',
      tracking_url,
      rejected: done.rejected,
    },
  }
})

/** The text of each distribution. An invalid one does not make the request invalid. */
function itemsOf({ elements: { count, first } }: RequestBody): Buffer[] {
  if (count === 0) throw invalid([{ field: 'distributions', issue: 'must contain at least one distribution' }])
  if (count > MAX_ITEMS) {
    throw new ApiError('PAYLOAD_TOO_LARGE', `a request has at most ${MAX_ITEMS} distributions`, [
      { field: 'distributions', issue: `has ${count} entries, at most ${MAX_ITEMS} are allowed` },
    ])
  }
  return first
}
