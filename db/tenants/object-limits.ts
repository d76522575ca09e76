// How many objects of each kind a tenant may have: a default, or the number that the platform set. They are counted after
// an object was inserted, and the caller rolls back when there are too many. A lock per tenant and kind serialises the
// inserts, so that two cannot both be the last one allowed.
import { LIMITS } from '../limits.ts'
import type { Db } from '../pool.ts'

/** Each kind with its default and the statement that counts it. */
const KINDS = {
  destinations: {
    usual: LIMITS.destinationsOfTenant.value,
    count: 'select count(*)::int as n from destinations where tenant_id = $1 and deleted_at is null',
  },
  health_checks: {
    usual: LIMITS.healthChecksOfTenant.value,
    count: `select count(*)::int as n from destinations
             where tenant_id = $1 and deleted_at is null and health_check_config @> '{"enabled": true}'`,
  },
  credentials: {
    usual: LIMITS.credentialsOfTenant.value,
    // The number of destinations limits the secrets that belong to them.
    count: 'select count(*)::int as n from credentials where tenant_id = $1 and destination_id is null',
  },
  data_types: {
    usual: LIMITS.dataTypesOfTenant.value,
    count: 'select count(*)::int as n from data_types where tenant_id = $1',
  },
  schedules: {
    usual: LIMITS.schedulesOfTenant.value,
    count: 'select count(*)::int as n from distribution_schedules where tenant_id = $1 and deleted_at is null',
  },
  rules: {
    usual: LIMITS.rulesOfTenant.value,
    count: 'select count(*)::int as n from distribution_rules where tenant_id = $1',
  },
  api_keys: {
    usual: LIMITS.apiKeysOfTenant.value,
    count: `select count(*)::int as n from api_keys
             where tenant_id = $1 and revoked_at is null and (expires_at is null or expires_at > now())`,
  },
} as const

export type ObjectKind = keyof typeof KINDS
export const OBJECT_KINDS = Object.keys(KINDS) as ObjectKind[]
export type ObjectLimits = Record<ObjectKind, number>

/** The limits of a tenant. Its `config` may have been written by hand: values that are not numbers are ignored. */
export function objectLimits(config: unknown): ObjectLimits {
  const { object_limits } = (config ?? {}) as { object_limits?: unknown }
  const own = (object_limits ?? {}) as Partial<Record<ObjectKind, unknown>>
  const limits = OBJECT_KINDS.map((kind) => [kind, typeof own[kind] === 'number' ? own[kind] : KINDS[kind].usual])
  return Object.fromEntries(limits) as ObjectLimits
}

/** Call it after an insert, in the same transaction: the limit if it is exceeded, otherwise null. */
export async function passedLimit(db: Db, tenantId: string, kind: ObjectKind): Promise<number | null> {
  await db.query('select pg_advisory_xact_lock(hashtextextended($1, 0))', [`${kind} ${tenantId}`])
  const counted = await db.query<{ n: number }>(KINDS[kind].count, [tenantId])
  const set = await db.query<{ most: number | null }>(
    `select case when jsonb_typeof(config -> 'object_limits' -> $2) = 'number'
                 then (config -> 'object_limits' ->> $2)::float8 end as most
       from tenants where id = $1`,
    [tenantId, kind],
  )
  const most = set.rows[0]?.most ?? KINDS[kind].usual
  return counted.rows[0]!.n > most ? most : null
}
