// Cancel and retry: the row changes first, then the run is told.

import { releaseBlocked, requestCancel, requestRetry } from '../../db/distributions/commands.ts'
import { findNext } from '../../db/distributions/ordering.ts'
import { findJobState, type JobState } from '../../db/distributions/status.ts'
import { type Db, withTenant } from '../../db/pool.ts'
import { writeAudit } from '../../db/tenants/audit.ts'
import { requireOwnTenant } from '../http/auth.ts'
import type { AppDeps, Caller } from '../http/context.ts'
import { type Endpoint, endpoint, type Request } from '../http/endpoint.ts'
import { ApiError, invalid, notFound } from '../http/errors.ts'
import {
  cancelRequest,
  commandAnswer,
  distributionParams,
  releaseAnswer,
  retryAnswer,
  retryRequest,
} from '../schemas/distributions.ts'
import { trackingUrl } from '../submission/submit.ts'
import { readId } from './distributions.ts'

const tag = 'Distributions'
const MISSING = { 404: { description: 'No such distribution of this tenant' } }

export function commandEndpoints({ pool, dispatcher }: AppDeps): Endpoint[] {
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
      409: { description: 'It is finished already, and not because of a cancel' },
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
        // The answer to an earlier request may have been lost: what was carried out is never refused.
        if (asked.asked && asked.status === 'cancelled') return c.json(await commandAnswerOf(caller, id), 202)
        const late = asked.asked ? ': the cancel that was asked for came too late' : ''
        throw new ApiError('CONFLICT', `the distribution is ${asked.status} already${late}`, [
          { field: 'status', issue: `is ${asked.status}` },
        ])
      }
      await dispatcher.cancel({ tenant_id, distribution_id: params.id }, asked)
      return c.json(await commandAnswerOf(caller, id), 202)
    },
  })

  const retry = endpoint({
    method: 'post',
    path: '/distribution/{id}/retry',
    tag,
    summary: 'Send again what was not delivered',
    description:
      'Without a body everything that failed, was skipped or was cancelled; what succeeded with `force` alone.',
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

  const release = endpoint({
    method: 'post',
    path: '/distribution/{id}/release',
    tag,
    summary: 'Let those go on that wait behind its failure',
    description: 'Of one with `ordering: "block"`. It stays as it is, and a retry of it holds them up again.',
    role: 'operator',
    params: distributionParams,
    answers: {
      200: { description: 'They go on', schema: releaseAnswer },
      409: { description: 'It holds nobody up' },
      ...MISSING,
    },
    async handle({ c, caller, params }) {
      const id = readId(c, params.id)
      const { tenant_id } = caller
      const released = await withTenant(pool, tenant_id, async (db) => {
        const released = await releaseBlocked(db, id)
        if (released.outcome === 'missing') throw notFound('distribution')
        if (released.destinations.length === 0) {
          throw new ApiError(
            'CONFLICT',
            'it holds nobody up: none of its deliveries has failed under ordering: "block"',
          )
        }
        await audit(db, c, caller, 'release', id, { destinations: released.destinations })
        return released
      })
      await tellNext(tenant_id, id)
      return c.json({ ...(await commandAnswerOf(caller, id)), destinations: released.destinations }, 200)
    },
  })

  /** Those whose turn it may be now that something of this job has ended. */
  async function tellNext(tenant_id: string, id: string): Promise<void> {
    const next = await withTenant(pool, tenant_id, (db) => findNext(db, tenant_id, id, null))
    for (const { distribution_id, destinations } of next) {
      await dispatcher.turn({ tenant_id, distribution_id }, destinations)
    }
  }

  async function commandAnswerOf(caller: Caller, id: string) {
    const job = (await withTenant(pool, caller.tenant_id, (db) => findJobState(db, id))) as JobState
    const { distribution_id, status } = job
    return { distribution_id, status, tracking_url: trackingUrl(distribution_id) }
  }

  return [cancel, retry, release]
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

function nothingToRetry(
  asked: string[],
  { status, unknown, needs_force }: { status: string; unknown: string[]; needs_force?: boolean },
): ApiError {
  if (unknown.length === 0) {
    const hint = needs_force
      ? 'no destination was chosen for it; with "force": true the rules are asked again'
      : 'it has no destination of those asked for that failed, was skipped or cancelled'
    return new ApiError('CONFLICT', `nothing to retry: the distribution is ${status}, and ${hint}`)
  }
  return invalid(
    unknown.map((name) => ({
      field: `destinations[${asked.indexOf(name)}]`,
      issue: 'is not a destination of this distribution',
    })),
  )
}
