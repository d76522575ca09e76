// Which bulk requests run now. Each holds one of the process's few connections for seconds, so one of each tenant runs at a
// time, and not more than a few in all.
import { createSlots } from '../../db/slots.ts'
import { ApiError } from '../http/errors.ts'

/** Of the ten connections of a process. */
const AT_ONCE = 3
/** Waiting bodies of the largest size, for each tenant. */
const LARGEST_WAITING = 4
const TRY_AGAIN_SECONDS = 5

export interface BulkQueue {
  /**
   * Runs `work` when it is the tenant's turn; `bytes` is what the request holds in memory meanwhile.
   * @throws ApiError 429 when more of this tenant wait than fit
   */
  run<T>(tenantId: string, bytes: number, work: () => Promise<T>): Promise<T>
}

export function createBulkQueue(largestBytes: number): BulkQueue {
  const running = createSlots((_, { tenant, all }) => tenant.claims.size > 0 || all.claims.size >= AT_ONCE || undefined)
  const waiting = createSlots(
    ({ amount = 0 }, { tenant }) => tenant.amount + amount > LARGEST_WAITING * largestBytes || undefined,
  )

  return {
    async run(tenantId, bytes, work) {
      const slot = { tenant: tenantId }
      if (running.take(slot)) {
        const room = { tenant: tenantId, amount: bytes }
        if (waiting.take(room)) throw tooMany()
        await running.wait(slot)
        waiting.release(room)
      }
      try {
        return await work()
      } finally {
        running.release(slot)
      }
    },
  }
}

function tooMany(): ApiError {
  const issue = `too many bulk requests of this tenant are waiting, try again in ${TRY_AGAIN_SECONDS} s`
  return new ApiError('RATE_LIMIT_EXCEEDED', issue, [], { retryAfterSeconds: TRY_AGAIN_SECONDS })
}
