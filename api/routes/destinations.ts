// Registered destinations: register, change, show, test, take out of service.
import { z } from 'zod'
import { configSchema, PROTOCOLS } from '../../activities/destinations/registry.ts'
import { shapeConfig } from '../../activities/shaping/config.ts'
import { circuitStates, halfOpen, resetCircuit } from '../../db/destinations/circuits.ts'
import { endDeliveriesOf } from '../../db/destinations/deleted.ts'
import {
  type DestinationRow,
  deleteDestination,
  findDestination,
  insertDestination,
  listDestinations,
  newDestinationId,
  setDestinationStatus,
  updateDestination,
} from '../../db/destinations/destinations.ts'
import { type Db, withTenant } from '../../db/pool.ts'
import { findNaming } from '../../db/rules/rule-lookups.ts'
import { writeAudit } from '../../db/tenants/audit.ts'
import { DispatcherUnavailable } from '../../workflows/client.ts'
import { bindCredentials, keepHosts } from '../destinations/credential-hosts.ts'
import { checkContent, keepSecrets, separateSecrets, shownDestination } from '../destinations/registration.ts'
import { requireOwnTenant } from '../http/auth.ts'
import type { AppDeps, Caller } from '../http/context.ts'
import { type Endpoint, endpoint, type Request } from '../http/endpoint.ts'
import { ApiError, type Detail, invalid, notFound } from '../http/errors.ts'
import { refuseOneTooMany } from '../http/object-limits.ts'
import {
  destination,
  destinationList,
  destinationListQuery,
  destinationParams,
  destinationTypes,
  namedDestination,
  probeAnswer,
  registration,
  replacement,
} from '../schemas/destinations.ts'

const tag = 'Destinations'
const PROBE_MS = 15_000
const MISSING = { 404: { description: 'No such destination of this tenant' } }
const ONE = { 200: { description: 'The destination, secrets masked', schema: destination } }

type C = Request<unknown, unknown, unknown>['c']

export function destinationEndpoints(deps: AppDeps): Endpoint[] {
  const { pool, sealer, dispatcher } = deps
  const shown = async (tenantId: string, row: DestinationRow) => {
    const circuit = await withTenant(pool, tenantId, (db) => circuitStates(db, [row.id]))
    return shownDestination(row, circuit(row.id))
  }

  const register = endpoint({
    method: 'post',
    path: '/destinations/register',
    tag,
    summary: 'Register a destination',
    description:
      'Submissions, rules and schedules name it from then on. Its configuration is checked, its connection is not: `POST /destinations/{id}/test` tries that.',
    role: 'admin',
    body: registration,
    answers: {
      201: { description: 'Registered; secrets come back as `***`', schema: destination },
      409: { description: 'The name is taken, or there are as many as a tenant may have' },
    },
    async handle({ c, caller, body }) {
      requireOwnTenant(caller, body.tenant_id)
      const { name, protocol } = body
      const { tenant_id } = caller
      await checkContent(deps, tenant_id, protocol, body)
      const row = await withTenant(pool, tenant_id, async (db) => {
        const id = await newDestinationId(db)
        const own = { tenant_id, destination_id: id, protocol }
        const { content, fields } = await separateSecrets(db, sealer, own, body)
        await bindCredentials(db, { protocol, configuration: content.configuration })
        const made = await insertDestination(db, { id, tenant_id, name, protocol, ...content }, caller.actor)
        if (!made) throw nameTaken(name)
        await refuseOneTooMany(db, tenant_id, 'destinations')
        if (hasHealthCheck(made)) await refuseOneTooMany(db, tenant_id, 'health_checks')
        await keepSecrets(db, sealer, own, fields, false)
        await audit(db, c, caller, 'register', made, { protocol })
        return made
      })
      const check = healthCheckOf(tenant_id, row)
      if (check.interval_seconds !== null) dispatcher.healthCheck(check)
      return c.json(await shown(tenant_id, row), 201)
    },
  })

  const replace = endpoint({
    method: 'put',
    path: '/destinations/{id}',
    tag,
    summary: 'Replace the content of a destination',
    description:
      'Takes effect with the next attempt, also of deliveries that wait. What changes nothing makes no new version.',
    role: 'admin',
    params: destinationParams,
    body: replacement,
    answers: { ...ONE, ...MISSING },
    async handle({ c, caller, params, body }) {
      requireOwnTenant(caller, body.tenant_id)
      const { tenant_id } = caller
      const known = await withTenant(pool, tenant_id, (db) => find(db, params.id))
      refuseChange(known, body)
      await checkContent(deps, tenant_id, known.protocol, body)
      const { row, is_change, limits_changed } = await withTenant(pool, tenant_id, async (db) => {
        // By its id: the name may be another one's by now, of another protocol.
        const present = await find(db, known.id, { forUpdate: true })
        const { id, protocol } = present
        const own = { tenant_id, destination_id: id, protocol }
        const { content, fields, changed: isChange } = await separateSecrets(db, sealer, own, body, present)
        // As it is stored: a mask may stand for a reference.
        await bindCredentials(db, { protocol, configuration: content.configuration })
        if (!isChange) return { row: present, is_change: false, limits_changed: false }
        const changed = await updateDestination(db, tenant_id, id, content, caller.actor)
        if (hasHealthCheck(changed) && !hasHealthCheck(present)) {
          await refuseOneTooMany(db, tenant_id, 'health_checks')
        }
        await keepSecrets(db, sealer, own, fields, true)
        await audit(db, c, caller, 'update', changed, { version: changed.version })
        return { row: changed, is_change: true, limits_changed: limitsOf(present) !== limitsOf(changed) }
      })
      // What was changed may well be what was wrong: one delivery may find out at once. Afterwards, for whoever fails locks
      // the circuit before the destination.
      if (is_change && (await withTenant(pool, tenant_id, (db) => halfOpen(db, tenant_id, row.id)))) {
        await dispatcher.wake({ tenant_id, target: row.id })
      }
      dispatcher.healthCheck(healthCheckOf(tenant_id, row))
      if (limits_changed) {
        await dispatcher.wake({ tenant_id, target: row.id, changed_at: row.updated_at.toISOString() })
      }
      return c.json(await shown(tenant_id, row))
    },
  })

  const show = endpoint({
    method: 'get',
    path: '/destinations/{id}',
    tag,
    summary: 'One destination',
    role: 'viewer',
    params: destinationParams,
    answers: { ...ONE, ...MISSING },
    async handle({ c, caller, params }) {
      const row = await withTenant(pool, caller.tenant_id, (db) => find(db, params.id))
      return c.json(await shown(caller.tenant_id, row))
    },
  })

  const list = endpoint({
    method: 'get',
    path: '/destinations/list',
    tag,
    summary: 'Registered destinations by name',
    role: 'viewer',
    query: destinationListQuery,
    answers: { 200: { description: 'One page', schema: destinationList } },
    async handle({ c, caller, query }) {
      const { limit = 50, offset = 0, ...filter } = query
      const { destinations, total, circuit } = await withTenant(pool, caller.tenant_id, async (db) => {
        const found = await listDestinations(db, filter, { limit, offset })
        return {
          ...found,
          circuit: await circuitStates(
            db,
            found.destinations.map(({ id }) => id),
          ),
        }
      })
      return c.json({
        destinations: destinations.map((row) => shownDestination(row, circuit(row.id))),
        pagination: { limit, offset, total, has_more: offset + destinations.length < total },
      })
    },
  })

  const remove = endpoint({
    method: 'delete',
    path: '/destinations/{id}',
    tag,
    summary: 'Delete a destination',
    description:
      'Deliveries that wait for it end as `DESTINATION_DELETED` at once; one that is being sent just now is let finish. The name is free again; a retry goes to what is registered under it by then. Where rules or the default route name it the answer says which.',
    role: 'admin',
    params: destinationParams,
    answers: {
      200: { description: 'Deleted, although rules or the default route name it', schema: namedDestination },
      204: { description: 'Deleted' },
      ...MISSING,
    },
    async handle({ c, caller, params }) {
      const { tenant_id } = caller
      const { id, name, naming } = await withTenant(pool, tenant_id, async (db) => {
        const present = await find(db, params.id, { forUpdate: true })
        await keepHosts(db, present)
        await deleteDestination(db, present.id)
        const naming = await findNaming(db, tenant_id, present.name)
        await audit(db, c, caller, 'delete', present, naming)
        return { id: present.id, name: present.name, naming }
      })
      dispatcher.healthCheck({ tenant_id, destination_id: id, interval_seconds: null })
      await endWaiting(deps, tenant_id, id)
      const isNamed = naming.named_by_rules.length > 0 || naming.in_default_route
      return isNamed ? c.json({ name, ...naming }) : c.body(null, 204)
    },
  })

  const test = endpoint({
    method: 'post',
    path: '/destinations/{id}/test',
    tag,
    summary: 'Try the connection now',
    description: 'A worker connects and authenticates, without delivering anything; 503 when none answers within 15 s.',
    role: 'operator',
    params: destinationParams,
    answers: { 200: { description: 'What the probe found', schema: probeAnswer }, ...MISSING },
    async handle({ c, caller, params }) {
      const { tenant_id } = caller
      const { id, name } = await withTenant(pool, tenant_id, (db) => find(db, params.id))
      try {
        const found = await dispatcher.probe({ tenant_id, destination_id: id }, PROBE_MS)
        const { healthy, code, message, response_time_ms, busy_ms } = found
        if (busy_ms !== undefined) throw tooManyTests(busy_ms)
        return c.json({ destination: name, healthy, error_code: code, error_message: message, response_time_ms })
      } catch (error) {
        if (!(error instanceof DispatcherUnavailable)) throw error
        throw new ApiError('SERVICE_UNAVAILABLE', 'no worker answered in time', [], { cause: error })
      }
    },
  })

  const switches = (['enable', 'disable'] as const).map((verb) =>
    endpoint({
      method: 'post',
      path: `/destinations/{id}/${verb}`,
      tag,
      summary: verb === 'enable' ? 'Take a destination into service' : 'Take a destination out of service',
      description:
        verb === 'enable'
          ? 'Deliveries that wait for it go on by themselves.'
          : 'Deliveries wait until it is enabled or they expire; new submissions may not name it.',
      role: 'admin',
      params: destinationParams,
      answers: { ...ONE, ...MISSING },
      async handle({ c, caller, params }) {
        const row = await withTenant(pool, caller.tenant_id, async (db) => {
          // The circuit before the destination, as a failing attempt locks them. Enabled, it begins anew.
          if (verb === 'enable') await resetCircuit(db, caller.tenant_id, (await find(db, params.id)).id)
          const present = await find(db, params.id, { forUpdate: true })
          const changed = await setDestinationStatus(db, present.id, verb === 'enable' ? 'active' : 'inactive')
          await audit(db, c, caller, verb, changed)
          return changed
        })
        if (verb === 'enable') await dispatcher.wake({ tenant_id: caller.tenant_id, target: row.id })
        return c.json(await shown(caller.tenant_id, row))
      },
    }),
  )

  const types = endpoint({
    method: 'get',
    path: '/destination-types',
    tag,
    summary: 'The protocols and the JSON schema of their configuration',
    role: 'viewer',
    answers: { 200: { description: 'Protocols that are served', schema: destinationTypes } },
    async handle({ c }) {
      const served = PROTOCOLS.map((protocol) => ({ protocol, config_schema: configSchema(protocol) }))
      return c.json({ destination_types: served, transform_schema: z.toJSONSchema(shapeConfig, { io: 'input' }) })
    },
  })

  // `list` before `{id}`, or a destination called "list" would hide it.
  return [register, list, show, replace, remove, test, ...switches, types]
}

function tooManyTests(waitMs: number): ApiError {
  const retryAfterSeconds = Math.ceil(waitMs / 1000)
  return new ApiError('RATE_LIMIT_EXCEEDED', 'several destinations are being tested already, try again soon', [], {
    retryAfterSeconds,
  })
}

function healthCheckOf(tenant_id: string, { id, health_check_config }: DestinationRow) {
  const { enabled, interval_seconds } = health_check_config as { enabled?: boolean; interval_seconds?: number }
  return { tenant_id, destination_id: id, interval_seconds: (enabled && interval_seconds) || null }
}

function limitsOf({ rate_limit, max_concurrency }: DestinationRow): string {
  return JSON.stringify([rate_limit, max_concurrency])
}

/** So many at once, and for so long: what is left then, the sweep ends within half a minute. */
const ENDED_AT_ONCE = 200
const ENDING_MS = 2000

/** Ends what waits for a deleted destination, and has the runs look. Never throws: the deletion stands. */
async function endWaiting({ pool, dispatcher, logger }: AppDeps, tenant_id: string, id: string): Promise<void> {
  const until = performance.now() + ENDING_MS
  try {
    for (;;) {
      const ended = await withTenant(pool, tenant_id, (db) => endDeliveriesOf(db, id, ENDED_AT_ONCE))
      await Promise.all(ended.map((distribution_id) => dispatcher.look({ tenant_id, distribution_id })))
      if (ended.length === 0 || performance.now() > until) return
    }
  } catch (error) {
    logger.warn({ err: error, tenant_id, destination_id: id }, 'the sweep ends what waits for a deleted destination')
  }
}

async function find(db: Db, idOrName: string, options?: { forUpdate: boolean }): Promise<DestinationRow> {
  const row = await findDestination(db, idOrName, options)
  if (!row) throw notFound('destination')
  return row
}

function audit(
  db: Db,
  c: C,
  caller: Caller,
  action: string,
  row: DestinationRow,
  details: Record<string, unknown> = {},
): Promise<void> {
  const { tenant_id, actor } = caller
  const request_id = c.get('request_id')
  const resource = { resource_type: 'destination', resource_id: row.id }
  return writeAudit(db, { tenant_id, actor, action, ...resource, details: { name: row.name, ...details }, request_id })
}

/** Deliveries and history know a destination by both; another one is another destination. */
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

function nameTaken(name: string): ApiError {
  const issue = `there is a destination called ${JSON.stringify(name)} already`
  return new ApiError('CONFLICT', issue, [{ field: 'name', issue }])
}
