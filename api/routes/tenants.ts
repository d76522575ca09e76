// Tenants, for the role `platform`.
import { withoutTenant, withTenant } from '../../db/pool.ts'
import { objectLimits } from '../../db/tenants/object-limits.ts'
import { findTenant, insertTenant, listTenants, type TenantRow, updateTenant } from '../../db/tenants/tenants.ts'
import { shownRateLimit } from '../destinations/registration.ts'
import type { AppDeps } from '../http/context.ts'
import { endpoint } from '../http/endpoint.ts'
import { invalid, nameTaken, notFound } from '../http/errors.ts'
import { newTenant, tenant, tenantChange, tenantList, tenantParams } from '../schemas/administration.ts'
import { callbackIssues } from '../submission/check.ts'
import { lockedOut, requirePlatformKey } from './api-keys.ts'

const tag = 'Administration'
const MISSING = { 404: { description: 'No such tenant' } }

const entry = (action: string, tenant_id: string, details = {}) => ({
  tenant_id,
  action,
  resource_type: 'tenant',
  resource_id: tenant_id,
  details,
})

export const add = endpoint({
  method: 'post',
  path: '/tenants',
  operation: 'createTenant',
  tag,
  summary: 'Create a tenant',
  role: 'platform',
  body: newTenant,
  answers: {
    201: { description: 'Created; it has no API key yet', schema: tenant },
    409: { description: 'The id is taken' },
  },
}).handle(async ({ deps: { pool, sealer, egress }, audit, body }) => {
  const { id, name = id, description = null, callback_secret = null, ...limits } = body
  checkEventUrl(limits.event_url, egress)
  const row = await withTenant(pool, id, async (db) => {
    const inserted = await insertTenant(db, sealer, { id, name, description, callback_secret })
    const made = inserted && (await updateTenant(db, id, limits))
    if (!made) throw nameTaken('tenant', id, 'id')
    await audit(db, entry('create', id))
    return made
  })
  return { status: 201, body: shown(row) }
})

export const list = endpoint({
  method: 'get',
  path: '/tenants',
  operation: 'listTenants',
  tag,
  summary: 'List all tenants',
  role: 'platform',
  answers: { 200: { description: 'All tenants, ordered by id', schema: tenantList } },
}).handle(async ({ deps }) => {
  return { status: 200, body: { tenants: (await withoutTenant(deps.pool, listTenants)).map(shown) } }
})

export const show = endpoint({
  method: 'get',
  path: '/tenants/{id}',
  operation: 'getTenant',
  tag,
  summary: 'Get a tenant',
  role: 'platform',
  params: tenantParams,
  answers: { 200: { description: 'The tenant', schema: tenant }, ...MISSING },
}).handle(async ({ deps, params: { id } }) => {
  const row = await withTenant(deps.pool, id, (db) => findTenant(db, id))
  if (!row) throw notFound('tenant')
  return { status: 200, body: shown(row) }
})

export const change = endpoint({
  method: 'put',
  path: '/tenants/{id}',
  operation: 'changeTenant',
  tag,
  summary: 'Change or suspend a tenant',
  description:
    'Absent fields stay unchanged. If the status is not `active`, requests with keys of the tenant get 403, and nothing is delivered for it until it is active again.',
  role: 'platform',
  params: tenantParams,
  body: tenantChange,
  answers: {
    200: { description: 'The tenant', schema: tenant },
    ...MISSING,
    409: { description: 'The key belongs to this tenant and would lock itself out' },
  },
}).handle(async ({ deps: { pool, egress, keys, dispatcher }, caller, audit, params: { id }, body }) => {
  checkEventUrl(body.event_url, egress)
  const stops = body.status !== undefined && body.status !== 'active'
  if (stops && id === caller.tenant_id) {
    throw lockedOut(`this key belongs to ${id}; use a platform key of another tenant`, 'status')
  }
  const row = await withTenant(pool, id, async (db) => {
    const changed = await updateTenant(db, id, body)
    if (!changed) throw notFound('tenant')
    if (stops) await requirePlatformKey(db)
    await audit(db, entry('update', id, { fields: Object.keys(body) }))
    return changed
  })
  keys.forget()
  if (body.delivery_rate_limit !== undefined) {
    const ref = { tenant_id: id, target: null, changed_at: row.updated_at.toISOString() }
    await dispatcher.tell('resume', ref, (runs) => runs.resume(ref))
  }
  if (body.status === 'active') {
    const ref = { tenant_id: id, target: null }
    await dispatcher.tell('resume', ref, (runs) => runs.resume(ref))
  }
  return { status: 200, body: shown(row) }
})

/** With the limits in effect, defaults included. */
function shown(row: TenantRow) {
  const { object_limits: _, ...config } = isObject(row.config) ? row.config : {}
  const delivery_rate_limit = shownRateLimit(row.delivery_rate_limit)
  return { ...row, config, delivery_rate_limit, object_limits: objectLimits(row.config) }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function checkEventUrl(url: string | null | undefined, egress: AppDeps['egress']): void {
  const issues = callbackIssues(url, egress, 'event_url')
  if (issues.length > 0) throw invalid(issues)
}
