// Cancel, retry and release: the row changes first, then the run is signalled.

import { releaseBlocked, requestCancel, requestRetry } from '../../db/distributions/commands.ts'
import { refOf } from '../../db/distributions/job-id.ts'
import { findNext } from '../../db/distributions/ordering.ts'
import { cancelRefusal, retryRefusal } from '../../db/distributions/refusals.ts'
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
const MISSING = { 404: { description: 'The tenant has no such distribution' } }
/** The audit log has the uuid of the distribution, as the procedures of the schema write it. */
const entry = (action: string, id: string, details = {}) => ({
  action,
  resource_type: 'distribution_job',
  resource_id: id,
  details,
})

export const cancel = endpoint({
  method: 'post',
  path: '/distribution/{id}/cancel',
  operation: 'cancel',
  tag,
  summary: 'Cancel a distribution',
  role: 'operator',
  params: distributionParams,
  body: cancelRequest,
  body_optional: true,
  answers: {
    202: { description: 'The cancellation is accepted; repeating the request changes nothing', schema: commandAnswer },
    409: { description: 'The distribution has already ended, and was not cancelled' },
    ...MISSING,
  },
}).handle(async (request) => {
  const { c, deps, caller, transaction, audit, params, body } = request
  const id = readId(c, params.id)
  const { tenant_id } = caller
  const asked = await transaction(async (db) => {
    const asked = await requestCancel(db, id, body.reason ?? null)
    // The audit log has the reason too, because a retry removes it from the distribution.
    const details = body.reason ? { reason: body.reason } : {}
    if (asked.outcome === 'requested') await audit(db, entry('cancel', id, details))
    return asked
  })
  if (asked.outcome === 'missing') throw notFound('distribution')
  const refusal = cancelRefusal(asked)
  if (asked.outcome === 'finished') {
    if (refusal === null) return { status: 202, body: await stateOf(request, id) }
    throw new ApiError('CONFLICT', refusal, [{ field: 'status', issue: `is ${asked.status}` }])
  }
  const ref = { tenant_id, distribution_id: params.id }
  await deps.dispatcher.tell('cancel', ref, (runs) => runs.signalCancel(ref, asked))
  return { status: 202, body: await stateOf(request, id) }
})

export const retry = endpoint({
  method: 'post',
  path: '/distribution/{id}/retry',
  operation: 'retry',
  tag,
  summary: 'Retry a distribution',
  description:
    'Without a body, retries every delivery that failed, was skipped or was cancelled. Successful deliveries are repeated only with `force`.',
  role: 'operator',
  params: distributionParams,
  body: retryRequest,
  body_optional: true,
  answers: {
    202: {
      description: 'The retry is accepted; the deliveries get new attempts and a new expiry',
      schema: retryAnswer,
    },
    409: { description: 'Nothing to retry, or the distribution is being cancelled' },
    ...MISSING,
  },
}).handle(async (request) => {
  const { c, deps, caller, transaction, audit, params, body } = request
  const id = readId(c, params.id)
  const { destinations, force, timeout_seconds } = body
  const outcome = await transaction(async (db) => {
    const outcome = await requestRetry(db, id, { destinations, force, timeout_seconds })
    if (outcome.outcome === 'reset') await audit(db, entry('retry', id, { round: outcome.round, force }))
    return outcome
  })
  if (outcome.outcome === 'missing') throw notFound('distribution')
  if (outcome.outcome === 'nothing' && outcome.unknown.length > 0)
    throw unknownNames(destinations ?? [], outcome.unknown)
  if (outcome.outcome !== 'reset') throw new ApiError('CONFLICT', retryRefusal(outcome)!)
  const ref = { tenant_id: caller.tenant_id, distribution_id: params.id }
  await deps.dispatcher.tell('retry', ref, (runs) => runs.signalRetry(ref, outcome))
  const { round, destinations: again } = outcome
  return { status: 202, body: { ...(await stateOf(request, id)), round, destinations: again } }
})

export const release = endpoint({
  method: 'post',
  path: '/distribution/{id}/release',
  operation: 'release',
  tag,
  summary: 'Release the distributions blocked by its failure',
  description:
    'For a distribution with `ordering: "block"`. It stays unchanged; a retry of it blocks the others again.',
  role: 'operator',
  params: distributionParams,
  answers: {
    200: { description: 'The blocked distributions continue', schema: releaseAnswer },
    409: { description: 'The distribution blocks no others' },
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
      throw new ApiError(
        'CONFLICT',
        'the distribution blocks no others: none of its deliveries has failed with ordering "block"',
      )
    }
    await audit(db, entry('release', id, { destinations }))
    return released
  })
  await signalNext(request, id)
  return { status: 200, body: { ...(await stateOf(request, id)), destinations } }
})

/** Signals the distributions of the same ordering key whose turn may have come. */
async function signalNext({ deps, caller: { tenant_id }, transaction }: Request, id: string): Promise<void> {
  const next = await transaction((db) => findNext(db, tenant_id, id, null))
  for (const turn of next) {
    const ref = refOf({ tenant_id, id: turn.id })
    await deps.dispatcher.tell('turn', ref, (runs) => runs.signalTurn(ref, turn.destinations))
  }
}

async function stateOf({ transaction }: Request, id: string) {
  const { distribution_id, status } = (await transaction((db) => findJobState(db, id)))!
  return { distribution_id, status, tracking_url: trackingUrl(distribution_id) }
}

function unknownNames(asked: string[], unknown: string[]): ApiError {
  return invalid(
    unknown.map((name) => ({
      field: `destinations[${asked.indexOf(name)}]`,
      issue: 'is not a destination of this distribution',
    })),
  )
}
