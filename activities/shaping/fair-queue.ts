// Which job gets a free slot of the shaping processes. Tenants take turns, and those whose work takes long never hold all slots
// together.
import { LRUCache } from 'lru-cache'
import { createRoundRobin, createSlots } from '../../db/slots.ts'

export interface FairQueue<T> {
  add(tenantId: string, job: T): void
  /** Back to the front of its tenant's line: it had a slot, and was ended so that others get one. */
  putBack(tenantId: string, job: T): void
  /** Removes a job that has no slot yet. */
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
  /** How long the tenant's present work has taken so far. */
  takes(tenantId: string, soFarMs: number): void
  /** Slow or long work holds all slots, while a tenant waits that is not slow and holds none. */
  isCrowded(): boolean
  /** The tenant's work gave way to others: the tenant counts as slow for a while. */
  gaveWay(tenantId: string): void
  size(): number
  /** Removes all jobs that wait. */
  clear(): T[]
}

/** Work that takes longer makes its tenant slow. */
const SLOW_MS = 1000
/** Work that takes longer gives its slot to a tenant that has none, if all other slots are held as long; most work is shorter. */
const LONG_MS = 250
/** A tenant counts as slow for this many times as long as its slow work took. */
const SLOW_FOR = 10
/** Slow tenants that one process remembers. */
const REMEMBERED = 10_000

export function createQueue<T>(slots: number, now: () => number = () => performance.now()): FairQueue<T> {
  const waiting = createRoundRobin<T>()
  /** Tenants whose present work is long already. */
  const long = new Set<string>()
  /** Until when a tenant is slow. */
  const slow = new LRUCache<string, number>({ max: REMEMBERED })
  /** A tenant never has all slots, nor have the slow ones together: the last one is for those who are fast. */
  const most = Math.max(1, slots - 1)
  const running = createSlots(({ tenant }, held) => {
    if (held.tenant.claims.size >= most) return true
    return (isSlow(tenant) && slotsOf(isSlow) >= most) || undefined
  })

  function isSlow(tenantId: string): boolean {
    return (slow.peek(tenantId) ?? 0) > now()
  }

  function slotsOf(which: (tenantId: string) => boolean): number {
    let count = 0
    for (const { tenant } of running.held({}).all.claims) if (which(tenant)) count += 1
    return count
  }

  const mayRun = (tenant: string) => running.refusal({ tenant }) === undefined

  function note(tenantId: string, tookMs: number): void {
    const until = now() + tookMs * SLOW_FOR
    if (tookMs >= SLOW_MS && until > (slow.peek(tenantId) ?? 0)) slow.set(tenantId, until)
  }

  function start(tenant: string, job: T | undefined): T | undefined {
    if (job !== undefined) running.hold({ tenant })
    return job
  }

  /** Of the slow tenants, the one that has had least. */
  function leastSlow(can: (tenantId: string) => boolean): string | undefined {
    let least: string | undefined
    for (const tenantId of waiting.tenants()) {
      if (!isSlow(tenantId) || !mayRun(tenantId) || !can(tenantId)) continue
      if (least === undefined || slow.peek(tenantId)! < slow.peek(least)!) least = tenantId
    }
    return least
  }

  return {
    add: waiting.add,
    putBack: waiting.putBack,
    drop: waiting.drop,
    next(can = () => true) {
      for (const tenantId of waiting.tenants()) {
        if (!mayRun(tenantId) || !can(tenantId)) continue
        const chosen = isSlow(tenantId) ? leastSlow(can)! : tenantId
        return start(chosen, waiting.nextOf(chosen))
      }
      return undefined
    },
    nextOf: (tenantId) => (mayRun(tenantId) ? start(tenantId, waiting.nextOf(tenantId)) : undefined),
    hasTurn: () => [...waiting.tenants()].some(mayRun),
    done(tenantId, tookMs) {
      const [claim] = running.held({ tenant: tenantId }).tenant.claims
      if (claim) running.release(claim)
      long.delete(tenantId)
      note(tenantId, tookMs)
    },
    takes(tenantId, soFarMs) {
      if (soFarMs >= LONG_MS) long.add(tenantId)
      note(tenantId, soFarMs)
    },
    isCrowded() {
      if (slotsOf((tenantId) => long.has(tenantId) || isSlow(tenantId)) <= most) return false
      const hasNone = (tenant: string) => running.held({ tenant }).tenant.claims.size === 0
      return [...waiting.tenants()].some((tenantId) => hasNone(tenantId) && !isSlow(tenantId))
    },
    gaveWay: (tenantId) => note(tenantId, SLOW_MS),
    size: waiting.size,
    clear: waiting.clear,
  }
}
