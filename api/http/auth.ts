// Authentication and roles. Only the hash of a key is stored.
import { createHash } from 'node:crypto'
import type { Context } from 'hono'
import { LRUCache } from 'lru-cache'
import { type Pool, withTenant } from '../../db/pool.ts'
import { ROLES, type Role } from '../../db/states.ts'
import { type ApiKey, findApiKey, noteKeyUse } from '../../db/tenants/api-keys.ts'
import type { ApiEnv, Caller } from './context.ts'
import { ApiError } from './errors.ts'
import { createWrongKeys, remoteAddress } from './wrong-keys.ts'

export type Authenticate = (c: Context<ApiEnv>) => Promise<Caller>

export interface KeyLookup {
  authenticate: Authenticate
  /** Clears the cache after a key or a tenant has changed. */
  forget(): void
}

/** How long a key is cached. After a key was revoked, other processes accept it for this time. */
const REMEMBERED_MS = 3000
/** Only existing keys are cached, so only very large installations reach this limit. */
const REMEMBERED_KEYS = 10_000

/** `last_used_at` of a key is written this often by one process. */
const NOTED_MS = 60_000

/** Looks keys up in the database, and caches those that exist for some seconds. */
export function createKeyLookup(pool: Pool, now: () => number = () => performance.now()): KeyLookup {
  const wrongKeys = createWrongKeys()
  const known = new LRUCache<string, { key: ApiKey; until: number }>({ max: REMEMBERED_KEYS })

  async function find(given: string): Promise<ApiKey | null> {
    const hash = hashKey(given)
    const id = hash.toString('base64')
    const remembered = known.get(id)
    if (remembered && remembered.until > now()) return remembered.key
    known.delete(id)
    const key = await findApiKey(pool, hash)
    if (!key) return null
    known.set(id, { key, until: now() + REMEMBERED_MS })
    return key
  }

  const noted = new LRUCache<string, true>({ max: REMEMBERED_KEYS, ttl: NOTED_MS })

  /** Writes `last_used_at`; the request does not wait for it. */
  function noteUse({ id, tenant_id }: ApiKey): void {
    if (noted.has(id)) return
    noted.set(id, true)
    // If the write fails, the next use of the key tries again.
    withTenant(pool, tenant_id, (db) => noteKeyUse(db, id)).catch(() => noted.delete(id))
  }

  /** The error for an unknown key; the log line of the request gets the address. */
  function wrong(c: Context<ApiEnv>): ApiError {
    const address = remoteAddress(c)
    c.set('address', address)
    const retryAfterSeconds = wrongKeys.count(address)
    if (retryAfterSeconds === null) return unauthenticated('the API key is not known')
    const issue = `the API key is not known, and this address has sent too many unknown keys; try again in ${retryAfterSeconds} s`
    return new ApiError('RATE_LIMIT_EXCEEDED', issue, [], { retryAfterSeconds, refusal: 'unknown_keys' })
  }

  return {
    forget: () => known.clear(),
    async authenticate(c) {
      // Prometheus sends credentials as a bearer token only.
      const given = c.req.header('x-api-key') ?? (c.get('route') === '/metrics' ? bearerToken(c) : undefined)
      if (!given) {
        const bearer = c.req.header('authorization') !== undefined
        throw unauthenticated(bearer ? 'bearer tokens are not enabled; use X-API-Key' : 'X-API-Key is missing')
      }
      const key = await find(given)
      if (!key) throw wrong(c)
      const caller: Caller = { tenant_id: key.tenant_id, role: key.role, actor: `api_key:${key.id}` }
      // Set before the error, so that the log line names the tenant.
      c.set('caller', caller)
      if (key.tenant_status !== 'active') {
        throw new ApiError('AUTHORIZATION_FAILED', `the tenant is ${key.tenant_status}`)
      }
      noteUse(key)
      return caller
    },
  }
}

/** Keys have 256 random bits, so a plain hash is safe; a slow hash would delay every request. */
export function hashKey(key: string): Buffer {
  return createHash('sha256').update(key, 'utf8').digest()
}

/** Returns the caller if its role is at least `needed`. */
export function requireRole(caller: Caller, needed: Role): Caller {
  if (ROLES.indexOf(caller.role) < ROLES.indexOf(needed)) {
    throw new ApiError(
      'AUTHORIZATION_FAILED',
      `this request needs the role ${needed}; the key has the role ${caller.role}`,
    )
  }
  return caller
}

/** A `tenant_id` in a body must be the tenant of the caller. */
export function requireOwnTenant(caller: Caller, given: string | undefined): void {
  if (given === undefined || given === caller.tenant_id) return
  throw new ApiError('AUTHORIZATION_FAILED', 'tenant_id must be the tenant of the API key', [
    { field: 'tenant_id', issue: 'must be the tenant of the API key' },
  ])
}

function bearerToken(c: Context<ApiEnv>): string | undefined {
  return /^bearer +(\S+)$/i.exec(c.req.header('authorization') ?? '')?.[1]
}

function unauthenticated(message: string): ApiError {
  return new ApiError('AUTHENTICATION_FAILED', message)
}
