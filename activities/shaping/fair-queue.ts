// Decides which job gets a free slot of the shaping processes. Tenants are served round-robin, and the tenants with slow work
// together never hold all slots.
import { LRUCache } from 'lru-cache'
import { createRoundRobin, createSlots } from '../../db/slots.ts'

export interface FairQueue<T> {
  add(tenantId: string, job: T): void
  /** Puts a job first in its tenant's queue: it had a slot, and was preempted. */
  putBack(tenantId: string, job: T): void
  /** Removes a job that has no slot yet. */
  drop(tenantId: string, job: T): void
  /**
   * The next job that may have a free slot; its tenant holds the slot until `done`.
   * @param can which tenants can be served now; the others keep their position
   */
  next(can?: (tenantId: string) => boolean): T | undefined
  /** The next job of this tenant, although other tenants may be first. */
  nextOf(tenantId: string): T | undefined
  /** Whether `next` would find one. */
  hasNext(): boolean
  /** @param tookMs processor time where it is known, so that a busy machine makes no tenant slow */
  done(tenantId: string, tookMs: number): void
  /** Reports how long the tenant's present work has taken so far. */
  takes(tenantId: string, soFarMs: number): void
  /** Whether slow or long work holds all slots while a tenant waits that is not slow and holds none. */
  isCrowded(): boolean
  /** The tenant's work was preempted: the tenant counts as slow for a while. */
  preempted(tenantId: string): void
  size(): number
  /** Removes all jobs that wait. */
  clear(): T[]
}

/** Work that takes longer makes its tenant slow. */
const SLOW_MS = 1000
/** Longer work may be preempted for a tenant without a slot, if all slots have long work; most work is shorter. */
const LONG_MS = 250
/** A tenant counts as slow for this many times as long as its slow work took. */
const SLOW_FOR = 10
/** Slow tenants that one process remembers. */
const REMEMBERED = 10_000

export function createQueue<T>(slots: number, now: () => number = () => performance.now()): FairQueue<T> {
  const waiting = createRoundRobin<T>()
  /** Tenants whose present work is long. */
  const long = new Set<string>()
  /** Until when a tenant is slow. */
  const slow = new LRUCache<string, number>({ max: REMEMBERED })
  /** Neither one tenant nor all slow tenants together hold all slots: the last slot is for fast tenants. */
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

  /** The slow tenant that used the least time. */
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
    hasNext: () => [...waiting.tenants()].some(mayRun),
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
    preempted: (tenantId) => note(tenantId, SLOW_MS),
    size: waiting.size,
    clear: waiting.clear,
  }
}
