// Queues bulk requests. Each holds one of the process's few connections for seconds, so at most one per tenant and a few in
// total run at the same time.
import { createSlots } from '../../db/slots.ts'
import { ApiError } from '../http/errors.ts'

/** Bulk requests at the same time; a process has ten connections. */
const AT_ONCE = 3
/** The number of bodies of the largest size that may wait per tenant. */
const LARGEST_WAITING = 4
const TRY_AGAIN_SECONDS = 5

export interface BulkQueue {
  /**
   * Runs `work` when a slot for the tenant is free; `bytes` is the memory that the request holds while it waits.
   * @throws ApiError 429 if too many bytes of this tenant wait
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
