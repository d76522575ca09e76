// Distributions: submit, list, status and attempts.
import { z } from '@hono/zod-openapi'
import { countAccepted } from '../../activities/metrics.ts'
import { listAttempts } from '../../db/distributions/attempt-history.ts'
import { parseDistributionId } from '../../db/distributions/job-id.ts'
import { countDistributions, listDistributions } from '../../db/distributions/list.ts'
import {
  distributionMetrics,
  findJobState,
  listDeliveryStates,
  progressPercentage,
} from '../../db/distributions/status.ts'
import { endpoint, type Request } from '../http/endpoint.ts'
import { notFound } from '../http/errors.ts'
import { pageOf, readFilter, readPage, UUID_KEY } from '../http/pages.ts'
import {
  attempts,
  attemptsQuery,
  distributionList,
  distributionParams,
  distributionStatus,
  listQuery,
} from '../schemas/distributions.ts'
import { accepted, submission } from '../schemas/submission.ts'
import { keyHeader, REPLAYED } from '../submission/idempotency.ts'
import { acceptedAnswer, dataTypeLabel, submit as store } from '../submission/submit.ts'

const tag = 'Distributions'
const MISSING = { 404: { description: 'The tenant has no such distribution' } }

export const submit = endpoint({
  method: 'post',
  path: '/distribution/submit',
  operation: 'submit',
  tag,
  summary: 'Submit a distribution',
  description:
    'Responds once the distribution is stored durably. A repeat with the same idempotency key and body returns the first response.',
  role: 'operator',
  headers: keyHeader,
  // The handler lists all problems at once, including those that only the database shows.
  body: z.unknown(),
  body_documentation: submission,
  body_example: {
    data_type: 'aggregated_report',
    payload: { report_id: 'R-7', total: 12.5 },
    destinations: ['ms09-reporter', { name: 'ad-hoc', protocol: 'REST', endpoint: 'https://receiver.example/in' }],
  },
  max_body_bytes: Number.POSITIVE_INFINITY,
  answers: {
    202: { description: 'Accepted', schema: accepted },
    409: { description: 'The idempotency key was used before with a different body' },
  },
}).handle(async ({ c, deps, caller, request_id, raw }) => {
  const { tenant_id } = caller
  const done = await store(deps, { caller, body: raw, key: c.req.header('idempotency-key'), request_id })
  const { job, created } = done
  c.set('distribution_id', job.distribution_id)
  if (created) countAccepted(deps.metrics, tenant_id, dataTypeLabel(done))
  // Also for a repeat: the process may have died after the first request was stored and before the start.
  if (job.status === 'pending') {
    const ref = { tenant_id, distribution_id: job.distribution_id }
    await deps.dispatcher.tell('start', ref, (runs) => runs.start(ref, job))
  }
  const body = acceptedAnswer(job)
  return { status: 202, headers: { Location: body.tracking_url, ...(!created && REPLAYED) }, body }
})

export const list = endpoint({
  method: 'get',
  path: '/distribution/list',
  operation: 'listDistributions',
  tag,
  summary: 'List distributions, newest first',
  role: 'viewer',
  query: listQuery,
  answers: {
    200: { description: 'One page, and counts for all distributions that match the filter', schema: distributionList },
  },
}).handle(async ({ transaction, query }) => {
  const { limit, offset, after, filter: given } = readPage(query, UUID_KEY)
  const { status, tenant_id: _own, ...rest } = given
  const filter = { ...readFilter(rest), statuses: status && [status] }
  const { rows, counts } = await transaction(async (db) => ({
    rows: await listDistributions(db, filter, { limit: limit + 1, offset, before: after }),
    counts: await countDistributions(db, filter),
  }))
  const { page, pagination } = pageOf(rows, limit, ({ id }) => id)
  const total = Object.values(counts).reduce((sum, one) => sum + one, 0)
  return {
    status: 200,
    body: {
      distributions: page.map(({ id: _, ...shown }) => shown),
      pagination: { ...pagination, offset, total },
      summary: { total, pending: 0, processing: 0, completed: 0, failed: 0, cancelled: 0, ...counts },
    },
  }
})

export const status = endpoint({
  method: 'get',
  path: '/distribution/{id}/status',
  operation: 'getStatus',
  tag,
  summary: 'Get the status of a distribution',
  role: 'viewer',
  params: distributionParams,
  answers: {
    200: { description: 'The status of the distribution and of each of its deliveries', schema: distributionStatus },
    ...MISSING,
  },
}).handle(async ({ c, transaction, params }) => {
  const id = readId(c, params.id)
  const found = await transaction(async (db) => {
    const job = await findJobState(db, id)
    return job && { job, deliveries: await listDeliveryStates(db, id) }
  })
  if (!found) throw notFound('distribution')
  const { deliveries, job } = found
  const { error_message, ...shown } = job
  const { error_code } = job
  const own = error_code || error_message ? [{ destination: null, error_code, error_message }] : []
  const failed = deliveries
    .filter((delivery) => delivery.status === 'failed')
    .map(({ name, error_code, error_message }) => ({ destination: name, error_code, error_message }))
  return {
    status: 200,
    body: {
      ...shown,
      progress_percentage: progressPercentage(job.status, deliveries),
      destinations: deliveries,
      metrics: distributionMetrics(job, deliveries),
      errors: [...own, ...failed],
    },
  }
})

export const attemptList = endpoint({
  method: 'get',
  path: '/distribution/{id}/attempts',
  operation: 'listAttempts',
  tag,
  summary: 'List the delivery attempts of a distribution, oldest first',
  role: 'viewer',
  params: distributionParams,
  query: attemptsQuery,
  answers: { 200: { description: 'One page of attempts, for all destinations', schema: attempts }, ...MISSING },
}).handle(async ({ c, transaction, params, query }) => {
  const id = readId(c, params.id)
  const { limit, after } = readPage({ limit: 1000, ...query }, UUID_KEY)
  const rows = await transaction(async (db) => {
    const job = await findJobState(db, id)
    return job && listAttempts(db, id, { after, limit: limit + 1 })
  })
  if (!rows) throw notFound('distribution')
  const { page, pagination } = pageOf(rows, limit, (row) => row.id)
  return { status: 200, body: { distribution_id: params.id, attempts: page, pagination } }
})

/** The uuid of the row. An id in another form is a 404, like one that does not exist. */
export function readId(c: Request['c'], distributionId: string): string {
  const id = parseDistributionId(distributionId)
  if (!id) throw notFound('distribution')
  c.set('distribution_id', distributionId)
  return id
}
