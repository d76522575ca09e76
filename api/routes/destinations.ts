// Registered destinations: create, read, replace, delete.

import { circuitStates, halfOpen } from '../../db/destinations/circuits.ts'
import { endDeliveriesOf } from '../../db/destinations/deleted.ts'
import {
  type DestinationRow,
  deleteDestination,
  insertDestination,
  listDestinations,
  newDestinationId,
  updateDestination,
} from '../../db/destinations/destinations.ts'
import { refOf } from '../../db/distributions/job-id.ts'
import { withTenant } from '../../db/pool.ts'
import { findNaming } from '../../db/rules/rule-lookups.ts'
import { bindCredentials, keepHosts } from '../destinations/credential-hosts.ts'
import { entry, find, shown } from '../destinations/found.ts'
import { checkContent, keepSecrets, separateSecrets, shownDestination } from '../destinations/registration.ts'
import type { AppDeps } from '../http/context.ts'
import { endpoint } from '../http/endpoint.ts'
import { type Detail, invalid, nameTaken } from '../http/errors.ts'
import { refuseOneTooMany } from '../http/object-limits.ts'
import { pageOf, readPage } from '../http/pages.ts'
import {
  destination,
  destinationList,
  destinationListQuery,
  destinationParams,
  namedDestination,
  registration,
  replacement,
  writtenDestination,
} from '../schemas/destinations.ts'
import { nameField } from '../schemas/fields.ts'

const tag = 'Destinations'
const MISSING = { 404: { description: 'The tenant has no such destination' } }
const ONE = { 200: { description: 'The destination, with secrets masked', schema: destination } }

export const register = endpoint({
  method: 'post',
  path: '/destinations/register',
  operation: 'registerDestination',
  tag,
  summary: 'Register a destination',
  description:
    'Submissions, rules and schedules can then use its name. The configuration is validated, but no connection is opened; use `POST /destinations/{id}/test` for that.',
  role: 'admin',
  body: registration,
  answers: {
    201: { description: 'Registered; secrets are shown as `***`', schema: writtenDestination },
    409: { description: 'The name is taken, or the tenant has reached its limit' },
  },
}).handle(async (request) => {
  const { deps, caller, transaction, audit, body } = request
  const { sealer, dispatcher } = deps
  const { name, protocol } = body
  const { tenant_id } = caller
  await checkContent(deps, tenant_id, protocol, body)
  const { row, warned } = await transaction(async (db) => {
    const id = await newDestinationId(db)
    const own = { tenant_id, destination_id: id, protocol }
    const { content, fields } = await separateSecrets(db, sealer, own, body)
    const warned = await bindCredentials(db, { protocol, configuration: content.configuration })
    const made = await insertDestination(db, { id, tenant_id, name, protocol, ...content }, caller.actor)
    if (!made) throw nameTaken('destination', name, 'name', '/destinations/{id}')
    await refuseOneTooMany(db, tenant_id, 'destinations')
    if (hasHealthCheck(made)) await refuseOneTooMany(db, tenant_id, 'health_checks')
    await keepSecrets(db, sealer, own, fields, false)
    await audit(db, entry('register', made, { protocol }))
    return { row: made, warned }
  })
  const check = healthCheckOf(tenant_id, row)
  if (check.interval_seconds !== null) {
    await dispatcher.tell('health check', check, (runs) => runs.healthCheck(check))
  }
  return { status: 201, body: { ...(await shown(request, row)), ...warned } }
})

export const list = endpoint({
  method: 'get',
  path: '/destinations/list',
  operation: 'listDestinations',
  tag,
  summary: 'List registered destinations, ordered by name',
  role: 'viewer',
  query: destinationListQuery,
  answers: { 200: { description: 'One page', schema: destinationList } },
}).handle(async ({ transaction, query }) => {
  const { limit, offset, after, filter } = readPage(query, nameField)
  const { page, pagination, total, circuit } = await transaction(async (db) => {
    const { destinations, total } = await listDestinations(db, filter, { limit: limit + 1, offset, after })
    const found = pageOf(destinations, limit, ({ name }) => name)
    const ids = found.page.map(({ id }) => id)
    return { ...found, total, circuit: await circuitStates(db, ids) }
  })
  const destinations = page.map((row) => shownDestination(row, circuit(row.id)))
  return { status: 200, body: { destinations, pagination: { ...pagination, offset, total } } }
})

export const show = endpoint({
  method: 'get',
  path: '/destinations/{id}',
  operation: 'getDestination',
  tag,
  summary: 'Get a destination',
  role: 'viewer',
  params: destinationParams,
  answers: { ...ONE, ...MISSING },
}).handle(async (request) => {
  const row = await request.transaction((db) => find(db, request.params.id))
  return { status: 200, body: await shown(request, row) }
})

export const replace = endpoint({
  method: 'put',
  path: '/destinations/{id}',
  operation: 'replaceDestination',
  tag,
  summary: 'Replace a destination',
  description:
    'Takes effect with the next attempt, including attempts of waiting deliveries. A request that changes nothing creates no new version.',
  role: 'admin',
  params: destinationParams,
  body: replacement,
  answers: {
    200: { description: 'The destination, with secrets masked', schema: writtenDestination },
    ...MISSING,
    409: { description: 'The tenant has reached its limit of health checks' },
  },
}).handle(async (request) => {
  const { deps, caller, transaction, audit, params, body } = request
  const { sealer, dispatcher } = deps
  const { tenant_id } = caller
  const known = await transaction((db) => find(db, params.id))
  refuseChange(known, body)
  await checkContent(deps, tenant_id, known.protocol, body)
  const { row, warned, is_change, limits_changed } = await transaction(async (db) => {
    // Find it by its id: another destination, with another protocol, may have the name by now.
    const present = await find(db, known.id, { forUpdate: true })
    const { id, protocol } = present
    const own = { tenant_id, destination_id: id, protocol }
    const { content, fields, changed: isChange } = await separateSecrets(db, sealer, own, body, present)
    // Use the stored form: a `***` in the request may stand for a reference.
    const warned = await bindCredentials(db, { protocol, configuration: content.configuration })
    if (!isChange) return { row: present, warned, is_change: false, limits_changed: false }
    const changed = await updateDestination(db, tenant_id, id, content, caller.actor)
    if (hasHealthCheck(changed) && !hasHealthCheck(present)) await refuseOneTooMany(db, tenant_id, 'health_checks')
    await keepSecrets(db, sealer, own, fields, true)
    await audit(db, entry('update', changed, { version: changed.version }))
    return { row: changed, warned, is_change: true, limits_changed: limitsOf(present) !== limitsOf(changed) }
  })
  // The change may have fixed the problem, so one delivery may try at once. After the transaction, because a failing attempt
  // locks the circuit before the destination.
  if (is_change && (await transaction((db) => halfOpen(db, tenant_id, row.id)))) {
    const ref = { tenant_id, target: row.id }
    await dispatcher.tell('resume', ref, (runs) => runs.resume(ref))
  }
  const check = healthCheckOf(tenant_id, row)
  await dispatcher.tell('health check', check, (runs) => runs.healthCheck(check))
  if (limits_changed) {
    const ref = { tenant_id, target: row.id, changed_at: row.updated_at.toISOString() }
    await dispatcher.tell('resume', ref, (runs) => runs.resume(ref))
  }
  return { status: 200, body: { ...(await shown(request, row)), ...warned } }
})

export const remove = endpoint({
  method: 'delete',
  path: '/destinations/{id}',
  operation: 'deleteDestination',
  tag,
  summary: 'Delete a destination',
  description:
    'Deliveries that wait for it fail with `DESTINATION_DELETED`; an attempt that is in progress may finish. The name can be registered again, and a later retry uses the new destination. If rules or the default route use the name, the response lists them.',
  role: 'admin',
  params: destinationParams,
  answers: {
    200: { description: 'Deleted; rules or the default route still use its name', schema: namedDestination },
    204: { description: 'Deleted' },
    ...MISSING,
  },
}).handle(async ({ deps, caller: { tenant_id }, transaction, audit, params }) => {
  const { id, name, naming } = await transaction(async (db) => {
    const present = await find(db, params.id, { forUpdate: true })
    await keepHosts(db, present)
    await deleteDestination(db, present.id)
    const naming = await findNaming(db, tenant_id, present.name)
    await audit(db, entry('delete', present, { ...naming }))
    return { id: present.id, name: present.name, naming }
  })
  const check = { tenant_id, destination_id: id, interval_seconds: null }
  await deps.dispatcher.tell('health check', check, (runs) => runs.healthCheck(check))
  await endWaiting(deps, tenant_id, id)
  const isNamed = naming.named_by_rules.length > 0 || naming.in_default_route
  return isNamed ? { status: 200, body: { name, ...naming } } : { status: 204 }
})

function healthCheckOf(tenant_id: string, { id, health_check_config }: DestinationRow) {
  const { enabled, interval_seconds } = health_check_config as { enabled?: boolean; interval_seconds?: number }
  return { tenant_id, destination_id: id, interval_seconds: (enabled && interval_seconds) || null }
}

function limitsOf({ rate_limit, max_concurrency }: DestinationRow): string {
  return JSON.stringify([rate_limit, max_concurrency])
}

/** Deliveries to end per transaction, and the time for all of them. The sweep ends the rest within half a minute. */
const PAGE = 200
const ENDING_MS = 2000

/** Ends deliveries that wait for a deleted destination, and notifies their runs. Never throws, because it is deleted. */
async function endWaiting({ pool, dispatcher, logger }: AppDeps, tenant_id: string, id: string): Promise<void> {
  const until = performance.now() + ENDING_MS
  try {
    for (;;) {
      const ended = await withTenant(pool, tenant_id, (db) => endDeliveriesOf(db, id, PAGE))
      const refs = ended.map((job) => refOf({ tenant_id, id: job }))
      await Promise.all(refs.map((ref) => dispatcher.tell('end', ref, (runs) => runs.signalReread(ref))))
      if (ended.length === 0 || performance.now() > until) return
    }
  } catch (error) {
    logger.warn({ err: error, tenant_id, destination_id: id }, 'the sweep will end deliveries to a deleted destination')
  }
}

/** Deliveries and history refer to a destination by name and protocol, so neither can change. */
function refuseChange(
  present: DestinationRow,
  sent: { name?: string | undefined; protocol?: string | undefined },
): void {
  const details: Detail[] = []
  if (sent.name !== undefined && sent.name !== present.name) details.push({ field: 'name', issue: 'cannot change' })
  if (sent.protocol !== undefined && sent.protocol !== present.protocol) {
    details.push({ field: 'protocol', issue: 'cannot change' })
  }
  if (details.length > 0) throw invalid(details)
}

function hasHealthCheck({ health_check_config }: DestinationRow): boolean {
  return health_check_config.enabled === true
}
