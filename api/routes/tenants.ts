// Tenants and their keys, for the role `platform`.

import { randomBytes } from 'node:crypto'
import { now } from '../../db/clock.ts'
import { type Db, withoutTenant, withTenant } from '../../db/pool.ts'
import { insertApiKey, isPlatformKeyLeft, listApiKeys, revokeApiKey } from '../../db/tenants/api-keys.ts'
import { writeAudit } from '../../db/tenants/audit.ts'
import { objectLimits } from '../../db/tenants/object-limits.ts'
import {
  findTenant,
  insertTenant,
  keyPrefix,
  listTenants,
  type TenantRow,
  updateTenant,
} from '../../db/tenants/tenants.ts'
import { hashKey } from '../http/auth.ts'
import type { AppDeps, Caller } from '../http/context.ts'
import { type Endpoint, endpoint, type Request } from '../http/endpoint.ts'
import { ApiError, invalid, notFound } from '../http/errors.ts'
import { refuseOneTooMany } from '../http/object-limits.ts'
import {
  keyList,
  keyParams,
  madeKey,
  newKey,
  newTenant,
  tenant,
  tenantChange,
  tenantList,
  tenantParams,
} from '../schemas/administration.ts'
import { callbackIssues } from '../submission/check.ts'

const tag = 'Administration'
const MISSING = { 404: { description: 'No such tenant' } }

/** `keysChanged` is called whenever a remembered key may no longer be right. */
export function tenantEndpoints({ pool, sealer, egress, dispatcher }: AppDeps, keysChanged: () => void): Endpoint[] {
  const addTenant = endpoint({
    method: 'post',
    path: '/tenants',
    tag,
    summary: 'Add a tenant',
    role: 'platform',
    body: newTenant,
    answers: {
      201: { description: 'Added, without a key yet', schema: tenant },
      409: { description: 'The id is taken' },
    },
    async handle({ c, caller, body }) {
      const { id, name = id, description = null, callback_secret = null, ...limits } = body
      checkEventUrl(limits.event_url, egress)
      const row = await withTenant(pool, id, async (db) => {
        const inserted = await insertTenant(db, sealer, { id, name, description, callback_secret })
        const made = inserted && (await updateTenant(db, id, limits))
        if (!made) throw new ApiError('CONFLICT', 'there is a tenant of this id already')
        await audit(db, c, caller, id, 'create', 'tenant', id)
        return made
      })
      return c.json(shown(row), 201)
    },
  })

  const tenants = endpoint({
    method: 'get',
    path: '/tenants',
    tag,
    summary: 'All tenants',
    role: 'platform',
    answers: { 200: { description: 'By id', schema: tenantList } },
    async handle({ c }) {
      return c.json({ tenants: (await withoutTenant(pool, listTenants)).map(shown) })
    },
  })

  const oneTenant = endpoint({
    method: 'get',
    path: '/tenants/{id}',
    tag,
    summary: 'One tenant',
    role: 'platform',
    params: tenantParams,
    answers: { 200: { description: 'The tenant', schema: tenant }, ...MISSING },
    async handle({ c, params }) {
      const row = await withTenant(pool, params.id, (db) => findTenant(db, params.id))
      if (!row) throw notFound('tenant')
      return c.json(shown(row))
    },
  })

  const changeTenant = endpoint({
    method: 'put',
    path: '/tenants/{id}',
    tag,
    summary: 'Change or suspend a tenant',
    description:
      'What is absent stays. Keys of a tenant that is not `active` get 403, and nothing is sent for it until it is active again.',
    role: 'platform',
    params: tenantParams,
    body: tenantChange,
    answers: {
      200: { description: 'The tenant', schema: tenant },
      ...MISSING,
      409: { description: 'It is the own tenant of the key, which would lock itself out' },
    },
    async handle({ c, caller, params, body }) {
      checkEventUrl(body.event_url, egress)
      const stops = body.status !== undefined && body.status !== 'active'
      if (stops && params.id === caller.tenant_id) {
        throw lockedOut(`this key belongs to ${params.id}; use a platform key of another tenant`, 'status')
      }
      const row = await withTenant(pool, params.id, async (db) => {
        const changed = await updateTenant(db, params.id, body)
        if (!changed) throw notFound('tenant')
        if (stops) await requirePlatformKey(db)
        await audit(db, c, caller, params.id, 'update', 'tenant', params.id, { fields: Object.keys(body) })
        return changed
      })
      keysChanged()
      if (body.delivery_rate_limit !== undefined) {
        await dispatcher.wake({ tenant_id: row.id, target: null, changed_at: row.updated_at.toISOString() })
      }
      if (body.status === 'active') await dispatcher.wake({ tenant_id: row.id, target: null })
      return c.json(shown(row))
    },
  })

  const addKey = endpoint({
    method: 'post',
    path: '/tenants/{id}/api-keys',
    tag,
    summary: 'Make an API key',
    description: 'The key is in this answer and nowhere else: only its hash is kept.',
    role: 'platform',
    params: tenantParams,
    body: newKey,
    answers: {
      201: { description: 'The key', schema: madeKey },
      ...MISSING,
      409: { description: 'There are as many usable keys as the tenant may have' },
    },
    async handle({ c, caller, params, body }) {
      const key = `dk_${randomBytes(32).toString('base64url')}`
      const expires_at = body.expires_at ? new Date(body.expires_at) : null
      if (expires_at && expires_at.getTime() <= now()) {
        throw invalid([{ field: 'expires_at', issue: 'is in the past' }])
      }
      const row = await withTenant(pool, params.id, async (db) => {
        if (!(await findTenant(db, params.id))) throw notFound('tenant')
        const { name, role } = body
        const values = {
          tenant_id: params.id,
          name,
          role,
          expires_at,
          rate_limit_requests: body.rate_limit_requests ?? null,
          key_sha256: hashKey(key),
          prefix: keyPrefix(key),
        }
        const made = (await insertApiKey(db, values))!
        await refuseOneTooMany(db, params.id, 'api_keys')
        await audit(db, c, caller, params.id, 'create', 'api_key', made.id, { name, role })
        return made
      })
      c.header('Cache-Control', 'no-store')
      return c.json({ ...row, key }, 201)
    },
  })

  const keys = endpoint({
    method: 'get',
    path: '/tenants/{id}/api-keys',
    tag,
    summary: 'The keys of a tenant, without the keys themselves',
    role: 'platform',
    params: tenantParams,
    answers: { 200: { description: 'Newest first, the revoked ones too', schema: keyList }, ...MISSING },
    async handle({ c, params }) {
      const rows = await withTenant(pool, params.id, async (db) => (await findTenant(db, params.id)) && listApiKeys(db))
      if (!rows) throw notFound('tenant')
      return c.json({ api_keys: rows })
    },
  })

  const revoke = endpoint({
    method: 'delete',
    path: '/tenants/{id}/api-keys/{key_id}',
    tag,
    summary: 'Revoke an API key',
    description: 'Refused at once by the process that answers this, and within 3 s by all others.',
    role: 'platform',
    params: keyParams,
    answers: {
      204: { description: 'Revoked' },
      404: { description: 'No such key, or it was revoked before' },
      409: { description: 'It is the last key that can administer the service' },
    },
    async handle({ c, caller, params }) {
      await withTenant(pool, params.id, async (db) => {
        if (!(await revokeApiKey(db, params.key_id))) throw notFound('API key')
        await requirePlatformKey(db)
        await audit(db, c, caller, params.id, 'revoke', 'api_key', params.key_id)
      })
      keysChanged()
      return c.body(null, 204)
    },
  })

  return [addTenant, tenants, oneTenant, changeTenant, addKey, keys, revoke]
}

/** With the limits that hold for it, in the place of those that were set. */
function shown(row: TenantRow) {
  const { object_limits: _, ...config } = isObject(row.config) ? row.config : {}
  return { ...row, config, object_limits: objectLimits(row.config) }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** After the change, which the refusal undoes. */
async function requirePlatformKey(db: Db): Promise<void> {
  if (await isPlatformKeyLeft(db)) return
  throw lockedOut('no usable platform key would be left; make another one first (POST /tenants/{id}/api-keys)')
}

function lockedOut(why: string, field?: string): ApiError {
  const details = field === undefined ? [] : [{ field, issue: 'would lock out the key that asks' }]
  return new ApiError('CONFLICT', `nobody could undo this: ${why}`, details)
}

function checkEventUrl(url: string | null | undefined, egress: AppDeps['egress']): void {
  const issues = callbackIssues(url, egress, 'event_url')
  if (issues.length > 0) throw invalid(issues)
}

function audit(
  db: Db,
  c: Request<unknown, unknown, unknown>['c'],
  { actor }: Caller,
  tenant_id: string,
  action: string,
  resource_type: string,
  resource_id: string,
  details: Record<string, unknown> = {},
): Promise<void> {
  const request_id = c.get('request_id')
  return writeAudit(db, { tenant_id, actor, action, resource_type, resource_id, details, request_id })
}
