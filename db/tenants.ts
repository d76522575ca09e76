// Tenants, and the first one with its key.
import { createHash, randomBytes } from 'node:crypto'
import { insertApiKey } from './api-keys.ts'
import { writeAudit } from './audit.ts'
import { type Db, type Pool, withTenant } from './pool.ts'
import type { Sealer } from './secrets.ts'

export interface TenantRow {
  id: string
  name: string
  description: string | null
  status: 'active' | 'suspended' | 'inactive'
  config: Record<string, unknown>
  require_known_data_type: boolean
  created_at: Date
  updated_at: Date
}

export interface NewTenant {
  id: string
  name: string
  description: string | null
  /** `whsec_…`; one is made when it is null. */
  callback_secret: string | null
}

/** The tenant of the transaction. */
export async function findTenant(db: Db, id: string): Promise<TenantRow | null> {
  const { rows } = await db.query<TenantRow>(
    `select id, name, description, status, config, require_known_data_type, created_at, updated_at
       from tenants where id = $1`,
    [id],
  )
  return rows[0] ?? null
}

/** Adds a tenant with its callback secret, inside a transaction of that very tenant; null when the id is taken. */
export async function insertTenant(db: Db, sealer: Sealer, tenant: NewTenant): Promise<TenantRow | null> {
  const { rows } = await db.query<TenantRow>(
    `insert into tenants (id, name, description, callback_secret)
     values ($1, $2, $3, $4)
     on conflict (id) do nothing
     returning id, name, description, status, config, require_known_data_type, created_at, updated_at`,
    [tenant.id, tenant.name, tenant.description, sealCallbackSecret(sealer, tenant.id, tenant.callback_secret)],
  )
  return rows[0] ?? null
}

export interface TenantChange {
  name?: string | undefined
  description?: string | null | undefined
  status?: TenantRow['status'] | undefined
  require_known_data_type?: boolean | undefined
}

/** Changes what is given; null when there is no such tenant. */
export async function updateTenant(db: Db, id: string, change: TenantChange): Promise<TenantRow | null> {
  const { rows } = await db.query<TenantRow>(
    `update tenants
        set name = coalesce($2, name), description = case when $3 then $4 else description end,
            status = coalesce($5, status), require_known_data_type = coalesce($6, require_known_data_type),
            updated_at = clock_timestamp()
      where id = $1
      returning id, name, description, status, config, require_known_data_type, created_at, updated_at`,
    [
      id,
      change.name ?? null,
      change.description !== undefined,
      change.description ?? null,
      change.status ?? null,
      change.require_known_data_type ?? null,
    ],
  )
  return rows[0] ?? null
}

/** Every tenant by id. The one list that crosses tenants: a definer function, for the role `platform`. */
export async function listTenants(db: Db): Promise<TenantRow[]> {
  const { rows } = await db.query<TenantRow>(
    `select id, name, description, status, config, require_known_data_type, created_at, updated_at
       from list_tenants() order by id`,
  )
  return rows
}

/** The secret that signs the tenant's callbacks, `whsec_…`; null when it has none. */
export async function loadCallbackSecret(db: Db, sealer: Sealer, tenantId: string): Promise<string | null> {
  const { rows } = await db.query<{ callback_secret: string | null }>(
    'select callback_secret from tenants where id = $1',
    [tenantId],
  )
  const sealed = rows[0]?.callback_secret
  return sealed ? sealer.unseal(sealed, [tenantId, 'tenants', 'callback_secret']) : null
}

export interface Bootstrap {
  tenant: string
  /** Given `platform`, which includes all else; left out, no key is added. */
  apiKey?: string | undefined
  /** `whsec_…`; when given it replaces the present one, else one is made once. */
  callbackSecret?: string | undefined
}

/** The first tenant, its key and its callback secret. Changes nothing that is there already; safe to run at once. */
export async function bootstrapTenant(pool: Pool, sealer: Sealer, bootstrap: Bootstrap): Promise<void> {
  const { tenant, apiKey, callbackSecret } = bootstrap
  await withTenant(pool, tenant, async (db) => {
    const made = await insertTenant(db, sealer, {
      id: tenant,
      name: tenant,
      description: null,
      callback_secret: callbackSecret ?? null,
    })
    if (!made) await keepCallbackSecret(db, sealer, tenant, callbackSecret)
    if (apiKey === undefined) return
    const key = await insertApiKey(db, {
      tenant_id: tenant,
      name: 'bootstrap',
      key_sha256: createHash('sha256').update(apiKey, 'utf8').digest(),
      prefix: keyPrefix(apiKey),
      role: 'platform',
      expires_at: null,
    })
    if (!key) return
    await writeAudit(db, {
      tenant_id: tenant,
      actor: 'system',
      action: 'create',
      resource_type: 'api_key',
      resource_id: key.id,
      details: { name: 'bootstrap', role: 'platform' },
    })
  })
}

/** The part of a key by which a person knows it; too short to be of use to anyone else. */
export function keyPrefix(key: string): string {
  return key.slice(0, Math.min(8, Math.floor(key.length / 4)))
}

async function keepCallbackSecret(db: Db, sealer: Sealer, tenant: string, given: string | undefined): Promise<void> {
  const present = await loadCallbackSecret(db, sealer, tenant)
  if (present !== null && (given === undefined || given === present)) return
  await db.query('update tenants set callback_secret = $2, updated_at = clock_timestamp() where id = $1', [
    tenant,
    sealCallbackSecret(sealer, tenant, given ?? null),
  ])
}

/** Standard Webhooks: 24 to 64 random bytes in base64 after `whsec_`. */
function sealCallbackSecret(sealer: Sealer, tenantId: string, given: string | null): string {
  const secret = given ?? `whsec_${randomBytes(32).toString('base64')}`
  return sealer.seal(secret, [tenantId, 'tenants', 'callback_secret'])
}
