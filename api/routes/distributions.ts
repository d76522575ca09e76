// Submit and watch.
import { z } from '@hono/zod-openapi'
import { listAttempts } from '../../db/distributions/attempt-history.ts'
import { parseDistributionId } from '../../db/distributions/job-id.ts'
import { countDistributions, listDistributions } from '../../db/distributions/list.ts'
import {
  distributionMetrics,
  findJobState,
  listDeliveryStates,
  progressPercentage,
} from '../../db/distributions/status.ts'
import { withTenant } from '../../db/pool.ts'
import type { AppDeps } from '../http/context.ts'
import { type Endpoint, endpoint, type Request } from '../http/endpoint.ts'
import { invalid, notFound } from '../http/errors.ts'
import { cursorOf, readCursor, readFilter, UUID_CURSOR } from '../http/pages.ts'
import {
  attempts,
  attemptsQuery,
  distributionList,
  distributionParams,
  distributionStatus,
  listQuery,
} from '../schemas/distributions.ts'
import { characters } from '../schemas/fields.ts'
import { accepted, submission } from '../schemas/submission.ts'
import { acceptedAnswer, dataTypeLabel, submit } from '../submission/submit.ts'

const tag = 'Distributions'
const MISSING = { 404: { description: 'No such distribution of this tenant' } }

export function distributionEndpoints(deps: AppDeps): Endpoint[] {
  const { pool, dispatcher } = deps

  const submitted = endpoint({
    method: 'post',
    path: '/distribution/submit',
    tag,
    summary: 'Submit a distribution',
    description:
      'Answers once the distribution is durable. The same idempotency key with the same body gets the first answer.',
    role: 'operator',
    headers: z.object({ 'Idempotency-Key': characters(1, 255).optional() }),
    body: submission,
    body_example: {
      data_type: 'aggregated_report',
      payload: { report_id: 'R-7', total: 12.5 },
      destinations: ['ms09-reporter', { name: 'ad-hoc', protocol: 'REST', endpoint: 'https://receiver.example/in' }],
    },
    body_checked_by_handler: true,
    max_body_bytes: Number.POSITIVE_INFINITY,
    answers: {
      202: { description: 'Accepted', schema: accepted },
      409: { description: 'The idempotency key was used with another body' },
    },
    async handle({ c, caller, raw }) {
      const request_id = c.get('request_id')
      const done = await submit(deps, { caller, body: raw, key: c.req.header('idempotency-key'), request_id })
      const { job, created } = done
      c.set('distribution_id', job.distribution_id)
      if (created) {
        const labels = { tenant_id: caller.tenant_id, data_type: dataTypeLabel(done), status: 'accepted' }
        deps.metrics.requests.inc(labels)
      }
      // Also for a repeat: its first request may have died between row and start.
      if (job.status === 'pending') {
        const { tenant_id } = caller
        await dispatcher.start({ tenant_id, distribution_id: job.distribution_id }, job)
      }
      const answer = acceptedAnswer(job)
      c.header('Location', answer.tracking_url)
      return c.json(answer, 202)
    },
  })

  const status = endpoint({
    method: 'get',
    path: '/distribution/{id}/status',
    tag,
    summary: 'How a distribution stands',
    role: 'viewer',
    params: distributionParams,
    answers: { 200: { description: 'Its state, destination by destination', schema: distributionStatus }, ...MISSING },
    async handle({ c, caller, params }) {
      const id = readId(c, params.id)
      const found = await withTenant(pool, caller.tenant_id, async (db) => {
        const job = await findJobState(db, id)
        return job && { job, deliveries: await listDeliveryStates(db, id) }
      })
      if (!found) throw notFound('distribution')
      const { job, deliveries } = found
      const { error_message, ...shown } = job
      return c.json({
        ...shown,
        progress_percentage: progressPercentage(job.status, deliveries),
        destinations: deliveries,
        metrics: distributionMetrics(job, deliveries),
        errors: [
          ...(job.error_code || error_message
            ? [{ destination: null, error_code: job.error_code, error_message }]
            : []),
          ...deliveries
            .filter((delivery) => delivery.status === 'failed')
            .map(({ name, error_code, error_message }) => ({ destination: name, error_code, error_message })),
        ],
      })
    },
  })

  const attemptList = endpoint({
    method: 'get',
    path: '/distribution/{id}/attempts',
    tag,
    summary: 'Every attempt, oldest first',
    role: 'viewer',
    params: distributionParams,
    query: attemptsQuery,
    answers: { 200: { description: 'Attempts of all destinations', schema: attempts }, ...MISSING },
    async handle({ c, caller, params, query }) {
      const id = readId(c, params.id)
      const limit = query.limit ?? 1000
      const after = readCursor(query.cursor, UUID_CURSOR)
      const rows = await withTenant(pool, caller.tenant_id, async (db) => {
        const job = await findJobState(db, id)
        return job && listAttempts(db, id, { after, limit: limit + 1 })
      })
      if (!rows) throw notFound('distribution')
      const page = rows.slice(0, limit)
      const has_more = rows.length > limit
      const next_cursor = has_more ? cursorOf(page[page.length - 1]!.id) : null
      return c.json({ distribution_id: params.id, attempts: page, pagination: { limit, has_more, next_cursor } })
    },
  })

  const list = endpoint({
    method: 'get',
    path: '/distribution/list',
    tag,
    summary: 'Distributions by filter, newest first',
    role: 'viewer',
    query: listQuery,
    answers: { 200: { description: 'One page, and counts over the whole filter', schema: distributionList } },
    async handle({ c, caller, query }) {
      const { limit = 50, offset = 0, cursor, status, ...filters } = query
      if (cursor !== undefined && query.offset !== undefined) {
        throw invalid([{ field: 'offset', issue: 'cannot be given beside cursor' }])
      }
      const filter = { ...readFilter(filters), statuses: status && [status] }
      const before = readCursor(cursor, UUID_CURSOR)
      const { rows, counts } = await withTenant(pool, caller.tenant_id, async (db) => ({
        rows: await listDistributions(db, filter, { limit: limit + 1, offset, before }),
        counts: await countDistributions(db, filter),
      }))
      const page = rows.slice(0, limit)
      const has_more = rows.length > limit
      const total = Object.values(counts).reduce((sum, one) => sum + one, 0)
      return c.json({
        distributions: page.map(({ id: _, ...shown }) => shown),
        pagination: {
          limit,
          offset,
          total,
          has_more,
          next_cursor: has_more ? cursorOf(page[page.length - 1]!.id) : null,
        },
        summary: { total, pending: 0, processing: 0, completed: 0, failed: 0, cancelled: 0, ...counts },
      })
    },
  })

  return [submitted, list, status, attemptList]
}

/** The row's uuid; what cannot be one is as absent as what is not there. */
export function readId(c: Request<unknown, unknown, unknown>['c'], distributionId: string): string {
  const id = parseDistributionId(distributionId)
  if (!id) throw notFound('distribution')
  c.set('distribution_id', distributionId)
  return id
}
