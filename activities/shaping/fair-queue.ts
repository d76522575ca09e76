// Who is next at a few slots: tenants take turns, and those whose work takes long never hold all slots between them.

export interface FairQueue<T> {
  add(tenantId: string, job: T): void
  /** Back to the front of its tenant's line: it had a slot, and was ended for others. */
  putBack(tenantId: string, job: T): void
  /** Takes out what has not been given a slot yet. */
  drop(tenantId: string, job: T): void
  /**
   * The next job that may have a free slot; the slot is its tenant's until `done`.
   * @param can which tenants can be served now; the others keep their turn
   */
  next(can?: (tenantId: string) => boolean): T | undefined
  /** The next job of one tenant, out of turn. */
  nextOf(tenantId: string): T | undefined
  /** Whether `next` would find one. */
  hasTurn(): boolean
  /** @param tookMs of the processor, where that is known: a busy machine makes nobody slow */
  done(tenantId: string, tookMs: number): void
  /** What is under way takes so long already. */
  takes(tenantId: string, soFarMs: number): void
  /** Slow or long work has all the slots, and a tenant that is not slow and has none waits. */
  isCrowded(): boolean
  /** Of a tenant whose work gave way: it waits among the slow ones. */
  gaveWay(tenantId: string): void
  size(): number
  /** Takes out all that waits. */
  clear(): T[]
}

/** Work that takes longer is slow. */
const SLOW_MS = 1000
/** Work that takes longer gives its slot to a tenant that has none, where others hold theirs as long: most takes far less. */
const LONG_MS = 250
/** So many times as long as its slow work took, a tenant counts as slow: it has had a tenth of that time already. */
const SLOW_FOR = 10
const REMEMBERED = 10_000

export function createQueue<T>(slots: number, now: () => number = () => performance.now()): FairQueue<T> {
  // The tenant that has waited longest for its turn first: a thousand jobs of one do not hold up another's.
  const waiting = new Map<string, T[]>()
  const running = new Map<string, number>()
  /** Whose present work is long already. */
  const long = new Set<string>()
  /** Until when a tenant is slow. */
  const slow = new Map<string, number>()
  /** A tenant never has all slots, nor have the slow ones together: the last one is for those who are quick. */
  const most = Math.max(1, slots - 1)

  function isSlow(tenantId: string): boolean {
    const until = slow.get(tenantId)
    if (until === undefined) return false
    if (until > now()) return true
    slow.delete(tenantId)
    return false
  }

  function slotsOfSlow(): number {
    let taken = 0
    for (const [tenantId, count] of running) if (isSlow(tenantId)) taken += count
    return taken
  }

  function mayRun(tenantId: string): boolean {
    if ((running.get(tenantId) ?? 0) >= most) return false
    return !isSlow(tenantId) || slotsOfSlow() < most
  }

  function count(tenantId: string, change: 1 | -1): void {
    const left = (running.get(tenantId) ?? 0) + change
    if (left > 0) running.set(tenantId, left)
    else running.delete(tenantId)
  }

  function note(tenantId: string, tookMs: number): void {
    if (tookMs < SLOW_MS) return
    const until = now() + tookMs * SLOW_FOR
    if (until <= (slow.get(tenantId) ?? 0)) return
    if (slow.size >= REMEMBERED && !slow.has(tenantId)) slow.delete(slow.keys().next().value!)
    slow.set(tenantId, until)
  }

  function take(tenantId: string): T | undefined {
    const jobs = waiting.get(tenantId)
    const job = jobs?.shift()
    if (!jobs || job === undefined) return undefined
    // To the end of the line.
    waiting.delete(tenantId)
    if (jobs.length > 0) waiting.set(tenantId, jobs)
    count(tenantId, 1)
    return job
  }

  /** Of the slow tenants, the one that has had least. */
  function leastSlow(can: (tenantId: string) => boolean): string | undefined {
    let least: string | undefined
    for (const tenantId of waiting.keys()) {
      if (!isSlow(tenantId) || !mayRun(tenantId) || !can(tenantId)) continue
      if (least === undefined || slow.get(tenantId)! < slow.get(least)!) least = tenantId
    }
    return least
  }

  return {
    add(tenantId, job) {
      const jobs = waiting.get(tenantId)
      if (jobs) jobs.push(job)
      else waiting.set(tenantId, [job])
    },
    putBack(tenantId, job) {
      waiting.set(tenantId, [job, ...(waiting.get(tenantId) ?? [])])
    },
    drop(tenantId, job) {
      const left = waiting.get(tenantId)?.filter((one) => one !== job)
      if (left?.length === 0) waiting.delete(tenantId)
      else if (left) waiting.set(tenantId, left)
    },
    next(can = () => true) {
      for (const tenantId of waiting.keys()) {
        if (!mayRun(tenantId) || !can(tenantId)) continue
        return take(isSlow(tenantId) ? leastSlow(can)! : tenantId)
      }
      return undefined
    },
    nextOf(tenantId) {
      return mayRun(tenantId) ? take(tenantId) : undefined
    },
    hasTurn() {
      return [...waiting.keys()].some(mayRun)
    },
    done(tenantId, tookMs) {
      count(tenantId, -1)
      long.delete(tenantId)
      note(tenantId, tookMs)
    },
    takes(tenantId, soFarMs) {
      if (soFarMs >= LONG_MS) long.add(tenantId)
      note(tenantId, soFarMs)
    },
    isCrowded() {
      let taken = 0
      for (const [tenantId, count] of running) if (long.has(tenantId) || isSlow(tenantId)) taken += count
      if (taken <= most) return false
      return [...waiting.keys()].some((tenantId) => !running.has(tenantId) && !isSlow(tenantId))
    },
    gaveWay: (tenantId) => note(tenantId, SLOW_MS),
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
