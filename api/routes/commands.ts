// Cancel and retry: the row changes first, then the run is told.
import { releaseBlocked, requestCancel, requestRetry } from '../../db/distributions/commands.ts'
import { findNext } from '../../db/distributions/ordering.ts'
import { findJobState } from '../../db/distributions/status.ts'
import { endpoint, type Request } from '../http/endpoint.ts'
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
/** The job's own events name it by its uuid, as the schema's procedures do. */
const deed = (action: string, id: string, details = {}) => ({
  action,
  resource_type: 'distribution_job',
  resource_id: id,
  details,
})

export const cancel = endpoint({
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
}).handle(async (request) => {
  const { c, deps, caller, transaction, audit, params, body } = request
  const id = readId(c, params.id)
  const { tenant_id } = caller
  const asked = await transaction(async (db) => {
    const asked = await requestCancel(db, id, body.reason ?? null)
    if (asked.outcome === 'requested') await audit(db, deed('cancel', id))
    return asked
  })
  if (asked.outcome === 'missing') throw notFound('distribution')
  if (asked.outcome === 'finished') {
    // The answer to an earlier request may have been lost: what was carried out is never refused.
    if (asked.asked && asked.status === 'cancelled') return { status: 202, body: await stateOf(request, id) }
    const late = asked.asked ? ': the cancel that was asked for came too late' : ''
    throw new ApiError('CONFLICT', `the distribution is ${asked.status} already${late}`, [
      { field: 'status', issue: `is ${asked.status}` },
    ])
  }
  const ref = { tenant_id, distribution_id: params.id }
  await deps.dispatcher.tell('cancel', ref, (runs) => runs.signalCancel(ref, asked))
  return { status: 202, body: await stateOf(request, id) }
})

export const retry = endpoint({
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
}).handle(async (request) => {
  const { c, deps, caller, transaction, audit, params, body } = request
  const id = readId(c, params.id)
  const { destinations, force, timeout_seconds } = body
  const outcome = await transaction(async (db) => {
    const outcome = await requestRetry(db, id, { destinations, force, timeout_seconds })
    if (outcome.outcome === 'reset') await audit(db, deed('retry', id, { round: outcome.round, force }))
    return outcome
  })
  if (outcome.outcome === 'missing') throw notFound('distribution')
  if (outcome.outcome === 'cancelling') throw new ApiError('CONFLICT', 'a cancel is under way')
  if (outcome.outcome === 'nothing') throw nothingToRetry(destinations ?? [], outcome)
  const ref = { tenant_id: caller.tenant_id, distribution_id: params.id }
  await deps.dispatcher.tell('retry', ref, (runs) => runs.signalRetry(ref, outcome))
  const { round, destinations: again } = outcome
  return { status: 202, body: { ...(await stateOf(request, id)), round, destinations: again } }
})

export const release = endpoint({
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
}).handle(async (request) => {
  const { c, transaction, audit, params } = request
  const id = readId(c, params.id)
  const { destinations } = await transaction(async (db) => {
    const released = await releaseBlocked(db, id)
    if (released.outcome === 'missing') throw notFound('distribution')
    const { destinations } = released
    if (destinations.length === 0) {
      throw new ApiError('CONFLICT', 'it holds nobody up: none of its deliveries has failed under ordering: "block"')
    }
    await audit(db, deed('release', id, { destinations }))
    return released
  })
  await tellNext(request, id)
  return { status: 200, body: { ...(await stateOf(request, id)), destinations } }
})

/** Those whose turn it may be now that something of this job has ended. */
async function tellNext({ deps, caller: { tenant_id }, transaction }: Request, id: string): Promise<void> {
  const next = await transaction((db) => findNext(db, tenant_id, id, null))
  for (const { distribution_id, destinations } of next) {
    const ref = { tenant_id, distribution_id }
    await deps.dispatcher.tell('turn', ref, (runs) => runs.signalTurn(ref, destinations))
  }
}

async function stateOf({ transaction }: Request, id: string) {
  const { distribution_id, status } = (await transaction((db) => findJobState(db, id)))!
  return { distribution_id, status, tracking_url: trackingUrl(distribution_id) }
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
