// Submit, watch, cancel, retry.
import { z } from '@hono/zod-openapi'
import { listAttempts } from '../../db/attempt-history.ts'
import { writeAudit } from '../../db/audit.ts'
import { requestCancel, requestRetry } from '../../db/commands.ts'
import { countDistributions, listDistributions } from '../../db/distribution-list.ts'
import {
  distributionMetrics,
  findJobState,
  type JobState,
  listDeliveryStates,
  progressPercentage,
} from '../../db/distribution-status.ts'
import { finishDistribution } from '../../db/finish.ts'
import { parseDistributionId } from '../../db/job-id.ts'
import { type Db, withTenant } from '../../db/pool.ts'
import { type Endpoint, endpoint, type Request } from '../endpoint.ts'
import type { AppDeps, Caller } from '../env.ts'
import { ApiError, invalid, notFound } from '../errors.ts'
import { requireOwnTenant } from '../middleware/auth.ts'
import { cursorOf, readCursor, readRange, UUID_CURSOR } from '../pages.ts'
import {
  attempts,
  attemptsQuery,
  cancelRequest,
  commandAnswer,
  distributionList,
  distributionParams,
  distributionStatus,
  listQuery,
  retryAnswer,
  retryRequest,
} from '../schemas/distributions.ts'
import { characters } from '../schemas/fields.ts'
import { accepted, submission } from '../schemas/submission.ts'
import { acceptedAnswer, dataTypeLabel, submit, trackingUrl } from '../submit.ts'

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
      const { limit = 50, offset = 0, cursor, from_date, to_date, ...rest } = query
      if (cursor !== undefined && query.offset !== undefined) {
        throw invalid([{ field: 'offset', issue: 'cannot be given beside cursor' }])
      }
      const filter = { ...rest, ...readRange({ from_date, to_date }) }
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

  const cancel = endpoint({
    method: 'post',
    path: '/distribution/{id}/cancel',
    tag,
    summary: 'Cancel what is not delivered yet',
    role: 'operator',
    params: distributionParams,
    body: cancelRequest,
    body_optional: true,
    answers: {
      202: { description: 'Will be cancelled; asking again changes nothing', schema: commandAnswer },
      409: { description: 'It is finished already' },
      ...MISSING,
    },
    async handle({ c, caller, params, body }) {
      requireOwnTenant(caller, body.tenant_id)
      const id = readId(c, params.id)
      const { tenant_id } = caller
      const asked = await withTenant(pool, tenant_id, async (db) => {
        const asked = await requestCancel(db, id, body.reason ?? null)
        if (asked.outcome === 'requested') await audit(db, c, caller, 'cancel', id)
        return asked
      })
      if (asked.outcome === 'missing') throw notFound('distribution')
      if (asked.outcome === 'finished') {
        throw new ApiError('CONFLICT', `the distribution is ${asked.status} already`, [
          { field: 'status', issue: `is ${asked.status}` },
        ])
      }
      // A run that Temporal does not know cannot be told: the row alone ends it.
      if ((await dispatcher.cancel({ tenant_id, distribution_id: params.id })) === 'no_workflow') {
        await withTenant(pool, tenant_id, (db) => finishDistribution(db, id, { round: null, cause: 'cancelled' }))
      }
      return c.json(await commandAnswerOf(caller, id), 202)
    },
  })

  const retry = endpoint({
    method: 'post',
    path: '/distribution/{id}/retry',
    tag,
    summary: 'Send again what was not delivered',
    role: 'operator',
    params: distributionParams,
    body: retryRequest,
    body_optional: true,
    answers: {
      202: { description: 'Will be sent again, with a new budget of attempts and a new expiry', schema: retryAnswer },
      409: { description: 'Nothing to retry, or a cancel is under way' },
      ...MISSING,
    },
    async handle({ c, caller, params, body }) {
      requireOwnTenant(caller, body.tenant_id)
      const id = readId(c, params.id)
      const { destinations, force, timeout_seconds } = body
      const outcome = await withTenant(pool, caller.tenant_id, async (db) => {
        const outcome = await requestRetry(db, id, { destinations, force, timeout_seconds })
        if (outcome.outcome === 'reset') await audit(db, c, caller, 'retry', id, { round: outcome.round, force })
        return outcome
      })
      if (outcome.outcome === 'missing') throw notFound('distribution')
      if (outcome.outcome === 'cancelling') throw new ApiError('CONFLICT', 'a cancel is under way')
      if (outcome.outcome === 'nothing') throw nothingToRetry(destinations ?? [], outcome)
      await dispatcher.retry({ tenant_id: caller.tenant_id, distribution_id: params.id }, outcome)
      const { round, destinations: again } = outcome
      return c.json({ ...(await commandAnswerOf(caller, id)), round, destinations: again }, 202)
    },
  })

  async function commandAnswerOf(caller: Caller, id: string) {
    const job = (await withTenant(pool, caller.tenant_id, (db) => findJobState(db, id))) as JobState
    const { distribution_id, status } = job
    return { distribution_id, status, tracking_url: trackingUrl(distribution_id) }
  }

  return [submitted, list, status, attemptList, cancel, retry]
}

/** The job's own events name it by its uuid, as the schema's procedures do. */
function audit(
  db: Db,
  c: Request<unknown, unknown, unknown>['c'],
  { tenant_id, actor }: Caller,
  action: string,
  id: string,
  details: Record<string, unknown> = {},
): Promise<void> {
  const request_id = c.get('request_id')
  const resource = { resource_type: 'distribution_job', resource_id: id }
  return writeAudit(db, { tenant_id, actor, action, ...resource, details, request_id })
}

/** The row's uuid; what cannot be one is as absent as what is not there. */
function readId(c: Request<unknown, unknown, unknown>['c'], distributionId: string): string {
  const id = parseDistributionId(distributionId)
  if (!id) throw notFound('distribution')
  c.set('distribution_id', distributionId)
  return id
}

function nothingToRetry(asked: string[], { status, unknown }: { status: string; unknown: string[] }): ApiError {
  if (unknown.length === 0) {
    const hint = 'it has no destination of those asked for that failed, was skipped or cancelled'
    return new ApiError('CONFLICT', `nothing to retry: the distribution is ${status}, and ${hint}`)
  }
  return invalid(
    unknown.map((name) => ({
      field: `destinations[${asked.indexOf(name)}]`,
      issue: 'is not a destination of this distribution',
    })),
  )
}
