// How many bytes of requests one process holds at once: of each API key, of each tenant, and in all. A body counts from the
// moment in which it is read until its request is answered, by the length that it announces or that it has become.
import { LIMITS } from '../../db/limits.ts'
import { createSlots, type Holding } from '../../db/slots.ts'
import type { Caller } from './context.ts'
import { ApiError } from './errors.ts'

export interface HeldBody {
  /** @throws ApiError when so many more do not fit: 429 for the caller's own share, 503 for that of all */
  add(bytes: number): void
  /** Frees all that was counted of this body. */
  end(): void
}

export interface BodiesUnderWay {
  /** @throws ApiError likewise, before anything is read */
  begin(caller: Caller, announced: number): HeldBody
}

const AGAIN_SECONDS = 2

/** @param largest bytes that one body may have */
export function createBodiesUnderWay(largest: number): BodiesUnderWay {
  const unit = Math.max(largest, LIMITS.smallBody.value)
  const bodies = createSlots(({ amount }: { tenant: string; key: string; amount: number }, { key, tenant, all }) => {
    // Small ones find room where large ones hold all of theirs.
    const room = amount <= LIMITS.smallBody.value ? LIMITS.smallBodies.value : 0
    const fits = (held: Holding<unknown>, most: number) => held.amount + amount <= most * unit + room
    if (!fits(key, LIMITS.bodiesOfKey.value)) return 'API key'
    if (!fits(tenant, LIMITS.bodiesOfTenant.value)) return 'tenant'
    return fits(all, LIMITS.bodiesOfAll.value) ? undefined : 'all'
  })
  const check = (refused: 'API key' | 'tenant' | 'all' | undefined) => {
    if (refused !== undefined) throw tooMany(refused)
  }

  return {
    begin({ tenant_id, actor }, announced) {
      const body = { tenant: tenant_id, key: `${tenant_id}/${actor}`, amount: announced }
      check(bodies.take(body))
      return {
        add: (bytes) => check(bodies.grow(body, bytes)),
        end: () => bodies.release(body),
      }
    },
  }
}

function tooMany(whose: 'API key' | 'tenant' | 'all'): ApiError {
  const of = whose === 'all' ? '' : ` of this ${whose}`
  const issue = `too many bytes of requests${of} are under way, try again in ${AGAIN_SECONDS} s`
  const retryAfterSeconds = AGAIN_SECONDS
  return whose === 'all'
    ? new ApiError('SERVICE_UNAVAILABLE', issue, [], { retryAfterSeconds, refusal: 'overload' })
    : new ApiError('RATE_LIMIT_EXCEEDED', issue, [], { retryAfterSeconds })
}
