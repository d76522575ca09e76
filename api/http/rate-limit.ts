// Rate limits of tenants and keys for requests, over all processes of the API: the database counts. A process with many
// requests reserves several at once, so that not every request needs a query.
import { LRUCache } from 'lru-cache'
import type { Pool } from '../../db/pool.ts'
import { takeApiRequests } from '../../db/tenants/api-limits.ts'
import type { Caller } from './context.ts'
import { ApiError } from './errors.ts'

export interface RequestLimit {
  /** @throws ApiError 429 with the time to wait */
  take(caller: Caller): Promise<void>
}

/** Reserved requests expire after this time. */
const KEPT_MS = 500
/** The maximum number of requests to reserve at once. */
const MOST_AT_ONCE = 16
/** Limits may change: a tenant without a limit is checked again after this time, a rejected one sooner. */
const UNLIMITED_MS = 3000
const REFUSED_MS = 1000
/** The number of tenants and keys that one process caches. */
const REMEMBERED = 10_000

interface Known {
  left: number
  /** When `left` expires. */
  until: number
  /** No limit until then. */
  unlimited: number
  /** Rejected until `refused`; `again` is the time for `Retry-After`. */
  refused: number
  again: number
  /** The number and the time of the last reservation. */
  taken: number
  at: number
  asking: Promise<void> | undefined
}

export function createRequestLimit(pool: Pool, now: () => number = () => performance.now()): RequestLimit {
  const known = new LRUCache<string, Known>({ max: REMEMBERED })

  function find(id: string): Known {
    const found = known.get(id)
    if (found) return found
    const made = { left: 0, until: 0, unlimited: 0, refused: 0, again: 0, taken: 1, at: 0, asking: undefined }
    known.set(id, made)
    return made
  }

  async function ask(caller: Caller, state: Known): Promise<void> {
    // Twice as many if the last ones were used up quickly, otherwise one.
    const wanted = now() - state.at < KEPT_MS / 2 ? Math.min(MOST_AT_ONCE, state.taken * 2) : 1
    let wait: number | null = 0
    for (const count of wanted > 1 ? [wanted, 1] : [1]) {
      wait = await takeApiRequests(pool, caller.tenant_id, keyOf(caller), count)
      if (wait === null) {
        state.unlimited = now() + UNLIMITED_MS
        return
      }
      if (wait === 0) {
        Object.assign(state, { left: count, until: now() + KEPT_MS, taken: count, at: now() })
        return
      }
    }
    const wait_ms = wait ?? 0
    Object.assign(state, { refused: now() + Math.min(REFUSED_MS, wait_ms), again: now() + wait_ms })
  }

  return {
    async take(caller) {
      const state = find(`${caller.tenant_id}/${keyOf(caller)}`)
      for (;;) {
        if (state.unlimited > now()) return
        if (state.left > 0 && state.until > now()) {
          state.left -= 1
          return
        }
        if (state.refused > now()) throw tooMany(state.again - now())
        state.asking ??= ask(caller, state).finally(() => {
          state.asking = undefined
        })
        await state.asking
      }
    },
  }
}

/** The id of the key; for another kind of caller its name. */
function keyOf({ actor }: Caller): string {
  return actor.replace(/^api_key:/, '').slice(0, 50)
}

function tooMany(waitMs: number): ApiError {
  const retryAfterSeconds = Math.max(1, Math.ceil(waitMs / 1000))
  return new ApiError('RATE_LIMIT_EXCEEDED', `too many requests, try again in ${retryAfterSeconds} s`, [], {
    retryAfterSeconds,
    refusal: 'rate_limit',
  })
}
