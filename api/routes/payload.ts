// The payload of a distribution, byte by byte as it was accepted.
import { z } from '@hono/zod-openapi'
import { payloadOf } from '../../db/distributions/status.ts'
import { endpoint } from '../http/endpoint.ts'
import { ApiError, notFound } from '../http/errors.ts'
import { distributionParams } from '../schemas/distributions.ts'
import { readId } from './distributions.ts'

const MAX_SHOWN_BYTES = 1_048_576

export const payload = endpoint({
  method: 'get',
  path: '/distribution/{id}/payload',
  operation: 'getPayload',
  tag: 'Distributions',
  summary: 'Get the payload of a distribution',
  description: 'The bytes that were accepted. Each request is in the audit log.',
  role: 'operator',
  params: distributionParams,
  answers: {
    200: { description: 'The payload', schema: z.unknown(), media_type: 'application/json' },
    404: { description: 'The tenant has no such distribution, or its payload is no longer stored' },
    413: { description: 'The payload is larger than 1 MiB' },
  },
}).handle(async ({ c, transaction, audit, params }) => {
  const id = readId(c, params.id)
  const found = await transaction(async (db) => {
    const found = await payloadOf(db, id, MAX_SHOWN_BYTES)
    if (found?.bytes) await audit(db, { action: 'payload.read', resource_type: 'distribution_job', resource_id: id })
    return found
  })
  if (!found) throw notFound('distribution')
  if (found.size === null) throw new ApiError('NOT_FOUND', 'the payload is no longer stored')
  if (!found.bytes) {
    throw new ApiError('PAYLOAD_TOO_LARGE', `the payload has ${found.size} bytes; at most ${MAX_SHOWN_BYTES} are shown`)
  }
  return { status: 200, body: found.bytes.toString('utf8') }
})
