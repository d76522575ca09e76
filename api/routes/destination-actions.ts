// Actions on a destination: test, enable and disable; and the list of protocols.
import { z } from 'zod'
import { configSchema, PROTOCOLS } from '../../activities/destinations/registry.ts'
import { shapeConfig } from '../../activities/shaping/config.ts'
import { resetCircuit } from '../../db/destinations/circuits.ts'
import { setDestinationStatus } from '../../db/destinations/destinations.ts'
import { entry, find, shown } from '../destinations/found.ts'
import { endpoint } from '../http/endpoint.ts'
import { ApiError } from '../http/errors.ts'
import { destination, destinationParams, destinationTypes, probeAnswer } from '../schemas/destinations.ts'

const tag = 'Destinations'
const PROBE_MS = 15_000
const MISSING = { 404: { description: 'The tenant has no such destination' } }
const ONE = { 200: { description: 'The destination, with secrets masked', schema: destination } }

export const test = endpoint({
  method: 'post',
  path: '/destinations/{id}/test',
  operation: 'testDestination',
  tag,
  summary: 'Test the connection of a destination',
  description: 'A worker connects and logs in, but delivers nothing. 503 if no worker responds within 15 s.',
  role: 'operator',
  params: destinationParams,
  answers: { 200: { description: 'The result of the test', schema: probeAnswer }, ...MISSING },
}).handle(async ({ deps, caller: { tenant_id }, transaction, params }) => {
  const { id, name } = await transaction((db) => find(db, params.id))
  const ref = { tenant_id, destination_id: id }
  const found = await deps.dispatcher.ask('probe', ref, (runs) => runs.probe(ref), PROBE_MS)
  if (found === null) throw new ApiError('SERVICE_UNAVAILABLE', 'no worker responded in time')
  const { healthy, code, message, response_time_ms, busy_ms } = found
  if (busy_ms !== undefined) throw tooManyTests(busy_ms)
  const body = { destination: name, healthy, error_code: code, error_message: message, response_time_ms }
  return { status: 200, body }
})

export const enable = endpoint({
  method: 'post',
  path: '/destinations/{id}/enable',
  operation: 'enableDestination',
  tag,
  summary: 'Enable a destination',
  description: 'Waiting deliveries continue.',
  role: 'admin',
  params: destinationParams,
  answers: { ...ONE, ...MISSING },
}).handle(async (request) => {
  const { deps, caller, transaction, audit, params } = request
  const { tenant_id } = caller
  const row = await transaction(async (db) => {
    // Lock the circuit before the destination, as a failing attempt does. Enabling resets the circuit.
    await resetCircuit(db, tenant_id, (await find(db, params.id)).id)
    const present = await find(db, params.id, { forUpdate: true })
    const changed = await setDestinationStatus(db, present.id, 'active')
    await audit(db, entry('enable', changed))
    return changed
  })
  const ref = { tenant_id, target: row.id }
  await deps.dispatcher.tell('resume', ref, (runs) => runs.resume(ref))
  return { status: 200, body: await shown(request, row) }
})

export const disable = endpoint({
  method: 'post',
  path: '/destinations/{id}/disable',
  operation: 'disableDestination',
  tag,
  summary: 'Disable a destination',
  description: 'Its deliveries wait until it is enabled or they expire. New submissions that name it are rejected.',
  role: 'admin',
  params: destinationParams,
  answers: { ...ONE, ...MISSING },
}).handle(async (request) => {
  const { transaction, audit, params } = request
  const row = await transaction(async (db) => {
    const present = await find(db, params.id, { forUpdate: true })
    const changed = await setDestinationStatus(db, present.id, 'inactive')
    await audit(db, entry('disable', changed))
    return changed
  })
  return { status: 200, body: await shown(request, row) }
})

export const types = endpoint({
  method: 'get',
  path: '/destination-types',
  operation: 'listDestinationTypes',
  tag,
  summary: 'List the protocols, with the JSON Schema of their configuration',
  role: 'viewer',
  answers: { 200: { description: 'The supported protocols', schema: destinationTypes } },
}).handle(async () => {
  const destination_types = PROTOCOLS.map((protocol) => ({ protocol, config_schema: configSchema(protocol) }))
  return { status: 200, body: { destination_types, transform_schema: z.toJSONSchema(shapeConfig, { io: 'input' }) } }
})

function tooManyTests(waitMs: number): ApiError {
  const retryAfterSeconds = Math.ceil(waitMs / 1000)
  return new ApiError('RATE_LIMIT_EXCEEDED', 'too many destinations are being tested; try again soon', [], {
    retryAfterSeconds,
  })
}
