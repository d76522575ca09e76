// Limits the bytes of requests that one process holds: per API key, per tenant, and in total. A body counts from the start of
// reading until its request is answered, with its Content-Length or, without one, with the bytes read so far.
import { LIMITS } from '../../db/limits.ts'
import { createSlots, type Holding } from '../../db/slots.ts'
import type { Caller } from './context.ts'
import { ApiError } from './errors.ts'

export interface HeldBody {
  /** @throws ApiError above a limit: 429 for the limits of the key and the tenant, 503 for the total */
  add(bytes: number): void
  /** Releases all bytes of this body. */
  end(): void
}

export interface BodiesUnderWay {
  /** @throws ApiError like `add`, before anything is read */
  begin(caller: Caller, announced: number): HeldBody
}

const AGAIN_SECONDS = 2

/** @param largest the maximum bytes of one body */
export function createBodiesUnderWay(largest: number): BodiesUnderWay {
  const unit = Math.max(largest, LIMITS.smallBody.value)
  const bodies = createSlots(({ amount }: { tenant: string; key: string; amount: number }, { key, tenant, all }) => {
    // Small bodies have additional room, so that large ones cannot block them.
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
  const issue = `too many bytes of requests${of} are in progress, try again in ${AGAIN_SECONDS} s`
  const retryAfterSeconds = AGAIN_SECONDS
  return whose === 'all'
    ? new ApiError('SERVICE_UNAVAILABLE', issue, [], { retryAfterSeconds, refusal: 'overload' })
    : new ApiError('RATE_LIMIT_EXCEEDED', issue, [], { retryAfterSeconds })
}
