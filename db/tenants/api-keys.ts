// API keys, by hash. Only the lookup crosses tenants, through a definer function.
import type { Db } from '../pool.ts'
import type { Role, TenantStatus } from '../states.ts'

export interface ApiKey {
  id: string
  tenant_id: string
  role: Role
  tenant_status: TenantStatus
}

/** The key with this hash, unless it is revoked or expired. Works in a transaction without a tenant. */
export async function findApiKey(db: Db, keySha256: Buffer): Promise<ApiKey | null> {
  const { rows } = await db.query<ApiKey>('select id, tenant_id, role, tenant_status from find_api_key($1)', [
    keySha256,
  ])
  return rows[0] ?? null
}

/** Stores the time of use, at most once a minute. Call it in a transaction of the key's tenant. */
export async function noteKeyUse(db: Db, id: string): Promise<void> {
  await db.query(
    `update api_keys set last_used_at = clock_timestamp()
      where id = $1 and (last_used_at is null or last_used_at < clock_timestamp() - interval '1 minute')`,
    [id],
  )
}

export interface ApiKeyRow {
  id: string
  tenant_id: string
  name: string
  prefix: string
  role: Role
  /** The key's own limit inside its tenant's, over the same window; null: none. */
  rate_limit_requests: number | null
  created_at: Date
  last_used_at: Date | null
  expires_at: Date | null
  revoked_at: Date | null
}

export interface NewApiKey {
  tenant_id: string
  name: string
  key_sha256: Buffer
  /** The key's first characters, so that a person can recognise it. */
  prefix: string
  role: Role
  expires_at: Date | null
  rate_limit_requests?: number | null
}

/** Adds a key; null if the hash exists already. */
export async function insertApiKey(db: Db, key: NewApiKey): Promise<ApiKeyRow | null> {
  const { rows } = await db.query<ApiKeyRow>(
    `insert into api_keys (tenant_id, name, key_sha256, prefix, role, expires_at, rate_limit_requests)
     values ($1, $2, $3, $4, $5, $6, $7)
     on conflict (key_sha256) do nothing
     returning id, tenant_id, name, prefix, role, rate_limit_requests, created_at, last_used_at, expires_at, revoked_at`,
    [key.tenant_id, key.name, key.key_sha256, key.prefix, key.role, key.expires_at, key.rate_limit_requests ?? null],
  )
  return rows[0] ?? null
}

/** The tenant's keys, newest first, with the revoked ones. */
export async function listApiKeys(db: Db): Promise<ApiKeyRow[]> {
  const { rows } = await db.query<ApiKeyRow>(
    `select id, tenant_id, name, prefix, role, rate_limit_requests, created_at, last_used_at, expires_at, revoked_at
       from api_keys order by created_at desc, id desc`,
  )
  return rows
}

/** False if there is no such key, or it was revoked before. */
export async function revokeApiKey(db: Db, id: string): Promise<boolean> {
  const { rowCount } = await db.query(
    'update api_keys set revoked_at = clock_timestamp() where id = $1 and revoked_at is null',
    [id],
  )
  return rowCount === 1
}

/**
 * Whether somebody can still administer the service after this transaction. A lock serialises the transactions that
 * remove such keys, so that each sees what the others removed.
 */
export async function isPlatformKeyLeft(db: Db): Promise<boolean> {
  await db.query(`select pg_advisory_xact_lock(hashtextextended('platform keys', 0))`)
  const { rows } = await db.query<{ left: number }>('select usable_platform_keys() as left')
  return rows[0]!.left > 0
}
