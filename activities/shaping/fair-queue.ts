// Who is next at a few seats: tenants take turns, and those whose work lasts long never hold all seats between them.

export interface FairQueue<T> {
  add(tenantId: string, job: T): void
  /** Takes out what has not been given a seat yet. */
  drop(tenantId: string, job: T): void
  /** The next job that may have a free seat; the seat is its tenant's until `done`. */
  next(): T | undefined
  /** Whether `next` would find one. */
  hasTurn(): boolean
  /** @param tookMs of the processor, where that is known: a busy machine makes nobody slow */
  done(tenantId: string, tookMs: number): void
  size(): number
  /** Takes out all that waits. */
  clear(): T[]
}

/** Work that takes longer is slow. */
const SLOW_MS = 1000
/** So many times as long as its slow work took, a tenant counts as slow: it has had a tenth of that time already. */
const SLOW_FOR = 10
const REMEMBERED = 10_000

export function createQueue<T>(seats: number, now: () => number = () => performance.now()): FairQueue<T> {
  // The tenant that has waited longest for its turn first: a thousand jobs of one do not hold up another's.
  const waiting = new Map<string, T[]>()
  const running = new Map<string, number>()
  /** Until when a tenant is slow. */
  const slow = new Map<string, number>()
  /** A tenant never has all seats, nor have the slow ones together: the last one is for those who are quick. */
  const most = Math.max(1, seats - 1)

  function isSlow(tenantId: string): boolean {
    const until = slow.get(tenantId)
    if (until === undefined) return false
    if (until > now()) return true
    slow.delete(tenantId)
    return false
  }

  function mayRun(tenantId: string): boolean {
    if ((running.get(tenantId) ?? 0) >= most) return false
    if (!isSlow(tenantId)) return true
    let taken = 0
    for (const [other, count] of running) if (isSlow(other)) taken += count
    return taken < most
  }

  function count(tenantId: string, change: 1 | -1): void {
    const left = (running.get(tenantId) ?? 0) + change
    if (left > 0) running.set(tenantId, left)
    else running.delete(tenantId)
  }

  return {
    add(tenantId, job) {
      const jobs = waiting.get(tenantId)
      if (jobs) jobs.push(job)
      else waiting.set(tenantId, [job])
    },
    drop(tenantId, job) {
      const left = waiting.get(tenantId)?.filter((one) => one !== job)
      if (left?.length === 0) waiting.delete(tenantId)
      else if (left) waiting.set(tenantId, left)
    },
    next() {
      for (const [tenantId, jobs] of waiting) {
        if (!mayRun(tenantId)) continue
        const job = jobs.shift()
        // To the end of the line.
        waiting.delete(tenantId)
        if (jobs.length > 0) waiting.set(tenantId, jobs)
        count(tenantId, 1)
        return job
      }
      return undefined
    },
    hasTurn() {
      return [...waiting.keys()].some(mayRun)
    },
    done(tenantId, tookMs) {
      count(tenantId, -1)
      if (tookMs < SLOW_MS) return
      if (slow.size >= REMEMBERED) slow.clear()
      slow.set(tenantId, now() + tookMs * SLOW_FOR)
    },
    size() {
      let all = 0
      for (const jobs of waiting.values()) all += jobs.length
      return all
    },
    clear() {
      const all = [...waiting.values()].flat()
      waiting.clear()
      return all
    },
  }
}
