// The API keys of tenants, for the role `platform`.
import { randomBytes } from 'node:crypto'
import { now } from '../../db/clock.ts'
import { type Db, withTenant } from '../../db/pool.ts'
import { insertApiKey, isPlatformKeyLeft, listApiKeys, revokeApiKey } from '../../db/tenants/api-keys.ts'
import { findTenant, keyPrefix } from '../../db/tenants/tenants.ts'
import { hashKey } from '../http/auth.ts'
import { endpoint } from '../http/endpoint.ts'
import { ApiError, invalid, notFound } from '../http/errors.ts'
import { refuseOneTooMany } from '../http/object-limits.ts'
import { keyList, keyParams, madeKey, newKey, tenantParams } from '../schemas/administration.ts'

const tag = 'Administration'
const MISSING = { 404: { description: 'No such tenant' } }
const entry = (action: string, tenant_id: string, resource_id: string, details = {}) => ({
  tenant_id,
  action,
  resource_type: 'api_key',
  resource_id,
  details,
})

export const add = endpoint({
  method: 'post',
  path: '/tenants/{id}/api-keys',
  operation: 'createApiKey',
  tag,
  summary: 'Create an API key',
  description: 'Only this response contains the key; only its hash is stored.',
  role: 'platform',
  params: tenantParams,
  body: newKey,
  answers: {
    201: { description: 'The new key', schema: madeKey },
    ...MISSING,
    409: { description: 'The tenant has reached its limit of usable keys' },
  },
}).handle(async ({ deps, audit, params: { id }, body }) => {
  const { name, role, rate_limit_requests = null } = body
  const key = `dk_${randomBytes(32).toString('base64url')}`
  const expires_at = body.expires_at ? new Date(body.expires_at) : null
  if (expires_at && expires_at.getTime() <= now()) throw invalid([{ field: 'expires_at', issue: 'is in the past' }])
  const row = await withTenant(deps.pool, id, async (db) => {
    if (!(await findTenant(db, id))) throw notFound('tenant')
    const values = { tenant_id: id, name, role, expires_at, rate_limit_requests }
    const made = (await insertApiKey(db, { ...values, key_sha256: hashKey(key), prefix: keyPrefix(key) }))!
    await refuseOneTooMany(db, id, 'api_keys')
    await audit(db, entry('create', id, made.id, { name, role }))
    return made
  })
  return { status: 201, headers: { 'Cache-Control': 'no-store' }, body: { ...row, key } }
})

export const list = endpoint({
  method: 'get',
  path: '/tenants/{id}/api-keys',
  operation: 'listApiKeys',
  tag,
  summary: 'List the API keys of a tenant, without the keys themselves',
  role: 'platform',
  params: tenantParams,
  answers: { 200: { description: 'Newest first, including revoked keys', schema: keyList }, ...MISSING },
}).handle(async ({ deps, params: { id } }) => {
  const rows = await withTenant(deps.pool, id, async (db) => (await findTenant(db, id)) && listApiKeys(db))
  if (!rows) throw notFound('tenant')
  return { status: 200, body: { api_keys: rows } }
})

export const revoke = endpoint({
  method: 'delete',
  path: '/tenants/{id}/api-keys/{key_id}',
  operation: 'revokeApiKey',
  tag,
  summary: 'Revoke an API key',
  description: 'The process that handles this request rejects the key immediately, all others within 3 s.',
  role: 'platform',
  params: keyParams,
  answers: {
    204: { description: 'Revoked' },
    404: { description: 'No such key, or it is already revoked' },
    409: { description: 'It is the last usable key with the role `platform`' },
  },
}).handle(async ({ deps, audit, params: { id, key_id } }) => {
  await withTenant(deps.pool, id, async (db) => {
    if (!(await revokeApiKey(db, key_id))) throw notFound('API key')
    await requirePlatformKey(db)
    await audit(db, entry('revoke', id, key_id))
  })
  deps.keys.forget()
  return { status: 204 }
})

/** Call it after the change, in the same transaction: the error rolls the change back. */
export async function requirePlatformKey(db: Db): Promise<void> {
  if (await isPlatformKeyLeft(db)) return
  throw lockedOut(
    'no usable key with the role platform would be left; create another one first (POST /tenants/{id}/api-keys)',
  )
}

export function lockedOut(why: string, field?: string): ApiError {
  const details = field === undefined ? [] : [{ field, issue: 'would lock out the key of this request' }]
  return new ApiError('CONFLICT', `this could not be undone through the API: ${why}`, details)
}
