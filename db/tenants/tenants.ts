// Tenants, and the creation of the first one with its key.
import { createHash, randomBytes } from 'node:crypto'
import type { RateLimit } from '../destinations/rate-limits.ts'
import { type Db, type Pool, withTenant } from '../pool.ts'
import type { Sealer } from '../secrets.ts'
import type { TenantStatus } from '../states.ts'
import { insertApiKey } from './api-keys.ts'
import { writeAudit } from './audit.ts'
import type { ObjectKind } from './object-limits.ts'

export interface TenantRow {
  id: string
  name: string
  description: string | null
  status: TenantStatus
  /** An object, unless another value was written by hand. */
  config: unknown
  require_known_data_type: boolean
  /** Limit on API requests per `rate_limit_window_seconds`; null: none. */
  rate_limit_requests: number | null
  rate_limit_window_seconds: number
  /** API requests allowed at once. */
  burst_limit: number
  /** Limit over all deliveries of the tenant. */
  delivery_rate_limit: RateLimit | null
  event_url: string | null
  created_at: Date
  updated_at: Date
}

const COLUMNS = `id, name, description, status, config, require_known_data_type, rate_limit_requests,
  coalesce(rate_limit_window_seconds, 60) as rate_limit_window_seconds, coalesce(burst_limit, 1) as burst_limit,
  delivery_rate_limit, event_url, created_at, updated_at`

/** Settings that only the platform's operator changes. Absent fields keep their value. */
export interface TenantLimits {
  rate_limit_requests?: number | null | undefined
  rate_limit_window_seconds?: number | undefined
  burst_limit?: number | undefined
  delivery_rate_limit?: RateLimit | null | undefined
  event_url?: string | null | undefined
  /** Null for a kind: its default. */
  object_limits?: { [kind in ObjectKind]?: number | null | undefined } | undefined
}

export interface NewTenant {
  id: string
  name: string
  description: string | null
  /** `whsec_…`; null generates one. */
  callback_secret: string | null
}

/** Null unless it is the transaction's own tenant. */
export async function findTenant(db: Db, id: string): Promise<TenantRow | null> {
  const { rows } = await db.query<TenantRow>(`select ${COLUMNS} from tenants where id = $1`, [id])
  return rows[0] ?? null
}

/** Adds a tenant with its callback secret; null if the id is taken. Call it in a transaction of the new tenant. */
export async function insertTenant(db: Db, sealer: Sealer, tenant: NewTenant): Promise<TenantRow | null> {
  const { rows } = await db.query<TenantRow>(
    `insert into tenants (id, name, description, callback_secret)
     values ($1, $2, $3, $4)
     on conflict (id) do nothing
     returning ${COLUMNS}`,
    [tenant.id, tenant.name, tenant.description, sealCallbackSecret(sealer, tenant.id, tenant.callback_secret)],
  )
  return rows[0] ?? null
}

export interface TenantChange extends TenantLimits {
  name?: string | undefined
  description?: string | null | undefined
  status?: TenantRow['status'] | undefined
  require_known_data_type?: boolean | undefined
}

export async function updateTenant(db: Db, id: string, change: TenantChange): Promise<TenantRow | null> {
  const { rows } = await db.query<TenantRow>(
    `update tenants
        set name = coalesce($2, name), description = case when $3 then $4 else description end,
            status = coalesce($5, status), require_known_data_type = coalesce($6, require_known_data_type),
            rate_limit_requests = case when $7 then $8 else rate_limit_requests end,
            rate_limit_window_seconds = coalesce($9, rate_limit_window_seconds), burst_limit = coalesce($10, burst_limit),
            delivery_rate_limit = case when $11 then $12::jsonb else delivery_rate_limit end,
            event_url = case when $13 then $14 else event_url end,
            config = case when $15::jsonb is null then config
                          else jsonb_set(case when jsonb_typeof(config) = 'object' then config else '{}' end,
                                         '{object_limits}',
                                         jsonb_strip_nulls(case when jsonb_typeof(config -> 'object_limits') = 'object'
                                                                then config -> 'object_limits' else '{}' end
                                                           || $15::jsonb)) end,
            updated_at = clock_timestamp()
      where id = $1
      returning ${COLUMNS}`,
    [
      id,
      change.name ?? null,
      change.description !== undefined,
      change.description ?? null,
      change.status ?? null,
      change.require_known_data_type ?? null,
      change.rate_limit_requests !== undefined,
      change.rate_limit_requests ?? null,
      change.rate_limit_window_seconds ?? null,
      change.burst_limit ?? null,
      change.delivery_rate_limit !== undefined,
      change.delivery_rate_limit ? JSON.stringify(change.delivery_rate_limit) : null,
      change.event_url !== undefined,
      change.event_url ?? null,
      change.object_limits === undefined ? null : JSON.stringify(change.object_limits),
    ],
  )
  return rows[0] ?? null
}

/** For a tenant that is not active nothing is created or sent. */
export async function tenantIsActive(db: Db, tenantId: string): Promise<boolean> {
  const { rowCount } = await db.query(`select from tenants where id = $1 and status = 'active'`, [tenantId])
  return rowCount === 1
}

/** All tenants, in the order of their ids. The only list that crosses tenants: a definer function, for the role `platform`. */
export async function listTenants(db: Db): Promise<TenantRow[]> {
  const { rows } = await db.query<TenantRow>(`select ${COLUMNS} from list_tenants() order by id`)
  return rows
}

/** The secret that signs the tenant's callbacks, `whsec_…`; null if it has none. */
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
  /** Gets the role `platform`, which has all rights; if undefined, no key is added. */
  apiKey?: string | undefined
  /** `whsec_…`; replaces the present secret. If undefined, a secret is generated once. */
  callbackSecret?: string | undefined
  /** `whsec_…` for a tenant without a secret; never replaces one. */
  firstCallbackSecret?: string | undefined
}

/** Creates the first tenant, its key and its callback secret, unless they exist. Safe to run twice at the same time. */
export async function bootstrapTenant(pool: Pool, sealer: Sealer, bootstrap: Bootstrap): Promise<void> {
  const { tenant, apiKey, callbackSecret, firstCallbackSecret } = bootstrap
  await withTenant(pool, tenant, async (db) => {
    const made = await insertTenant(db, sealer, {
      id: tenant,
      name: tenant,
      description: null,
      callback_secret: callbackSecret ?? firstCallbackSecret ?? null,
    })
    if (!made) await keepCallbackSecret(db, sealer, tenant, callbackSecret, firstCallbackSecret)
    // The operator's own tenant needs no limit, because no other tenant exists yet. A limit can be set later.
    else await updateTenant(db, tenant, { rate_limit_requests: null })
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

/** The part of a key by which a person recognises it; too short to help an attacker. */
export function keyPrefix(key: string): string {
  return key.slice(0, Math.min(8, Math.floor(key.length / 4)))
}

async function keepCallbackSecret(
  db: Db,
  sealer: Sealer,
  tenant: string,
  given: string | undefined,
  first: string | undefined,
): Promise<void> {
  const present = await loadCallbackSecret(db, sealer, tenant)
  if (present !== null && (given === undefined || given === present)) return
  await db.query('update tenants set callback_secret = $2, updated_at = clock_timestamp() where id = $1', [
    tenant,
    sealCallbackSecret(sealer, tenant, given ?? first ?? null),
  ])
}

/** Standard Webhooks: 24 to 64 random bytes in base64 after `whsec_`. */
function sealCallbackSecret(sealer: Sealer, tenantId: string, given: string | null): string {
  const secret = given ?? `whsec_${randomBytes(32).toString('base64')}`
  return sealer.seal(secret, [tenantId, 'tenants', 'callback_secret'])
}
