// What is done with a destination: try its connection, take it in and out of service; and which protocols there are.
import { z } from 'zod'
import { configSchema, PROTOCOLS } from '../../activities/destinations/registry.ts'
import { shapeConfig } from '../../activities/shaping/config.ts'
import { resetCircuit } from '../../db/destinations/circuits.ts'
import { setDestinationStatus } from '../../db/destinations/destinations.ts'
import { deed, find, shown } from '../destinations/found.ts'
import { endpoint } from '../http/endpoint.ts'
import { ApiError } from '../http/errors.ts'
import { destination, destinationParams, destinationTypes, probeAnswer } from '../schemas/destinations.ts'

const tag = 'Destinations'
const PROBE_MS = 15_000
const MISSING = { 404: { description: 'No such destination of this tenant' } }
const ONE = { 200: { description: 'The destination, secrets masked', schema: destination } }

export const test = endpoint({
  method: 'post',
  path: '/destinations/{id}/test',
  tag,
  summary: 'Try the connection now',
  description: 'A worker connects and authenticates, without delivering anything; 503 when none answers within 15 s.',
  role: 'operator',
  params: destinationParams,
  answers: { 200: { description: 'What the probe found', schema: probeAnswer }, ...MISSING },
}).handle(async ({ deps, caller: { tenant_id }, transaction, params }) => {
  const { id, name } = await transaction((db) => find(db, params.id))
  const ref = { tenant_id, destination_id: id }
  const found = await deps.dispatcher.ask('probe', ref, (runs) => runs.probe(ref), PROBE_MS)
  if (found === null) throw new ApiError('SERVICE_UNAVAILABLE', 'no worker answered in time')
  const { healthy, code, message, response_time_ms, busy_ms } = found
  if (busy_ms !== undefined) throw tooManyTests(busy_ms)
  const body = { destination: name, healthy, error_code: code, error_message: message, response_time_ms }
  return { status: 200, body }
})

export const enable = endpoint({
  method: 'post',
  path: '/destinations/{id}/enable',
  tag,
  summary: 'Take a destination into service',
  description: 'Deliveries that wait for it go on by themselves.',
  role: 'admin',
  params: destinationParams,
  answers: { ...ONE, ...MISSING },
}).handle(async (request) => {
  const { deps, caller, transaction, audit, params } = request
  const { tenant_id } = caller
  const row = await transaction(async (db) => {
    // The circuit before the destination, as a failing attempt locks them. Enabled, it begins anew.
    await resetCircuit(db, tenant_id, (await find(db, params.id)).id)
    const present = await find(db, params.id, { forUpdate: true })
    const changed = await setDestinationStatus(db, present.id, 'active')
    await audit(db, deed('enable', changed))
    return changed
  })
  const ref = { tenant_id, target: row.id }
  await deps.dispatcher.tell('resume', ref, (runs) => runs.resume(ref))
  return { status: 200, body: await shown(request, row) }
})

export const disable = endpoint({
  method: 'post',
  path: '/destinations/{id}/disable',
  tag,
  summary: 'Take a destination out of service',
  description: 'Deliveries wait until it is enabled or they expire; new submissions may not name it.',
  role: 'admin',
  params: destinationParams,
  answers: { ...ONE, ...MISSING },
}).handle(async (request) => {
  const { transaction, audit, params } = request
  const row = await transaction(async (db) => {
    const present = await find(db, params.id, { forUpdate: true })
    const changed = await setDestinationStatus(db, present.id, 'inactive')
    await audit(db, deed('disable', changed))
    return changed
  })
  return { status: 200, body: await shown(request, row) }
})

export const types = endpoint({
  method: 'get',
  path: '/destination-types',
  tag,
  summary: 'The protocols and the JSON schema of their configuration',
  role: 'viewer',
  answers: { 200: { description: 'Protocols that are served', schema: destinationTypes } },
}).handle(async () => {
  const destination_types = PROTOCOLS.map((protocol) => ({ protocol, config_schema: configSchema(protocol) }))
  return { status: 200, body: { destination_types, transform_schema: z.toJSONSchema(shapeConfig, { io: 'input' }) } }
})

function tooManyTests(waitMs: number): ApiError {
  const retryAfterSeconds = Math.ceil(waitMs / 1000)
  return new ApiError('RATE_LIMIT_EXCEEDED', 'several destinations are being tested already, try again soon', [], {
    retryAfterSeconds,
  })
}
