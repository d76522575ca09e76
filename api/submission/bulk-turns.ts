// Whose request for thousands is carried out now. Each holds one of the process's few connections for seconds: without
// turns, ten of one tenant would shut everybody out. One of each tenant at a time, and not more than a few in all.
import { ApiError } from '../http/errors.ts'

/** Of the ten connections of a process. */
const AT_ONCE = 3
/** So many of the largest bodies may wait, for each tenant. */
const LARGEST_WAITING = 4
const TRY_AGAIN_SECONDS = 5

interface Waiting {
  bytes: number
  go: () => void
}

export interface BulkTurns {
  /**
   * Runs `work` when it is the tenant's turn; `bytes` is what the request holds in memory meanwhile.
   * @throws ApiError 429 when more of this tenant wait than fit
   */
  run<T>(tenantId: string, bytes: number, work: () => Promise<T>): Promise<T>
}

export function createBulkTurns(largestBytes: number): BulkTurns {
  const running = new Set<string>()
  // In the order of their turns.
  const waiting = new Map<string, Waiting[]>()

  function next(): void {
    for (const [tenantId, [first, ...rest]] of waiting) {
      if (running.size >= AT_ONCE) return
      if (running.has(tenantId)) continue
      if (rest.length > 0) waiting.set(tenantId, rest)
      else waiting.delete(tenantId)
      running.add(tenantId)
      first!.go()
    }
  }

  /** Who has had a turn goes to the end. */
  function end(tenantId: string): void {
    running.delete(tenantId)
    const more = waiting.get(tenantId)
    waiting.delete(tenantId)
    if (more) waiting.set(tenantId, more)
    next()
  }

  return {
    async run(tenantId, bytes, work) {
      const before = waiting.get(tenantId) ?? []
      const held = before.reduce((sum, one) => sum + one.bytes, bytes)
      if (held > LARGEST_WAITING * largestBytes) {
        throw new ApiError(
          'RATE_LIMIT_EXCEEDED',
          `too many bulk requests of this tenant are waiting, try again in ${TRY_AGAIN_SECONDS} s`,
          [],
          { retryAfterSeconds: TRY_AGAIN_SECONDS },
        )
      }
      await new Promise<void>((go) => {
        waiting.set(tenantId, [...before, { bytes, go }])
        next()
      })
      try {
        return await work()
      } finally {
        end(tenantId)
      }
    },
  }
}
