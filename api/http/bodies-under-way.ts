// How many bytes of requests one process holds at once: of each API key, of each tenant, and in all. A body counts from the
// moment in which it is read until its request is answered, by the length that it announces or by what has come of it.
import { LIMITS } from '../../db/limits.ts'
import type { Caller } from './context.ts'
import { ApiError } from './errors.ts'

export interface HeldBody {
  /** @throws ApiError when so many more do not fit: 429 by the caller's own share, 503 by that of all */
  add(bytes: number): void
  /** What more than these of it was counted is free again: the announced length of a body that was inflated, for example. */
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
  const held = new Map<string, number>()
  let all = 0

  function check(id: string, bytes: number, most: number): boolean {
    // Small ones find room where large ones hold all of theirs.
    const room = bytes <= LIMITS.smallBody.value ? LIMITS.smallBodies.value : 0
    return (held.get(id) ?? 0) + bytes <= most * unit + room
  }

  function change(id: string, bytes: number): void {
    const now = (held.get(id) ?? 0) + bytes
    if (now > 0) held.set(id, now)
    else held.delete(id)
  }

  return {
    begin({ tenant_id, actor }, announced) {
      const [key, tenant] = [`${tenant_id}/${actor}`, tenant_id]
      let own = 0
      const add = (bytes: number) => {
        if (!check(key, bytes, LIMITS.bodiesOfKey.value)) throw tooMany('of this API key')
        if (!check(tenant, bytes, LIMITS.bodiesOfTenant.value)) throw tooMany('of this tenant')
        const room = bytes <= LIMITS.smallBody.value ? LIMITS.smallBodies.value : 0
        if (all + bytes > LIMITS.bodiesOfAll.value * unit + room) throw tooManyInAll()
        own += bytes
        all += bytes
        change(key, bytes)
        change(tenant, bytes)
      }
      add(announced)
      return {
        add,
        end() {
          all -= own
          change(key, -own)
          change(tenant, -own)
          own = 0
        },
      }
    },
  }
}

function tooMany(whose: string): ApiError {
  const issue = `too many bytes of requests ${whose} are under way, try again in ${AGAIN_SECONDS} s`
  return new ApiError('RATE_LIMIT_EXCEEDED', issue, [], { retryAfterSeconds: AGAIN_SECONDS })
}

function tooManyInAll(): ApiError {
  const issue = `too many bytes of requests are under way, try again in ${AGAIN_SECONDS} s`
  return new ApiError('SERVICE_UNAVAILABLE', issue, [], { retryAfterSeconds: AGAIN_SECONDS })
}
