// How many requests a tenant and a key may make, over all processes of the API: the count is the database's. A process that
// is asked often takes several at once, so that not every request costs a question.
import { LRUCache } from 'lru-cache'
import type { Counter } from 'prom-client'
import type { Pool } from '../../db/pool.ts'
import { takeApiRequests } from '../../db/tenants/api-limits.ts'
import type { Caller } from './context.ts'
import { ApiError } from './errors.ts'

export interface RequestLimit {
  /** @throws ApiError 429 with the time to wait */
  take(caller: Caller): Promise<void>
}

/** Several that were taken at once are used within this time or not at all. */
const KEPT_MS = 500
/** So many at once at most. */
const MOST_AT_ONCE = 16
/** A tenant without a limit is asked about again after this time; one that was refused, sooner: limits change. */
const UNLIMITED_MS = 3000
const REFUSED_MS = 1000
/** Tenants and keys whose counts one process remembers; of the others it asks the database. */
const REMEMBERED = 10_000

interface Known {
  left: number
  /** `left` is worth nothing afterwards. */
  until: number
  /** No limit until then. */
  unlimited: number
  /** Refused until `refused`, and told to come again at `again`. */
  refused: number
  again: number
  /** How many were taken the last time, and when. */
  taken: number
  at: number
  asking: Promise<void> | undefined
}

export function createRequestLimit(
  pool: Pool,
  refusals: Counter<'tenant_id'>,
  now: () => number = () => performance.now(),
): RequestLimit {
  const known = new LRUCache<string, Known>({ max: REMEMBERED })

  function find(id: string): Known {
    const found = known.get(id)
    if (found) return found
    const made = { left: 0, until: 0, unlimited: 0, refused: 0, again: 0, taken: 1, at: 0, asking: undefined }
    known.set(id, made)
    return made
  }

  async function ask(caller: Caller, state: Known): Promise<void> {
    // Twice as many when the last ones were used up at once; else one.
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
        if (state.refused > now()) {
          refusals.inc({ tenant_id: caller.tenant_id })
          throw tooMany(state.again - now())
        }
        state.asking ??= ask(caller, state).finally(() => {
          state.asking = undefined
        })
        await state.asking
      }
    },
  }
}

/** The key's id; of another kind of caller its name. */
function keyOf({ actor }: Caller): string {
  return actor.replace(/^api_key:/, '').slice(0, 50)
}

function tooMany(waitMs: number): ApiError {
  const retryAfterSeconds = Math.max(1, Math.ceil(waitMs / 1000))
  return new ApiError('RATE_LIMIT_EXCEEDED', `too many requests, try again in ${retryAfterSeconds} s`, [], {
    retryAfterSeconds,
  })
}
