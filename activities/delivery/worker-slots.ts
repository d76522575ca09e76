// Limits how many of this worker's sends one destination and one tenant may have at once. A send holds a slot while it runs.
// Without limits a destination that hangs would soon hold all slots, and all others would wait for it.
import { LRUCache } from 'lru-cache'
import { createSlots, type Held, type Holding } from '../../db/slots.ts'

export interface SlotLimits {
  /** For a destination that is not known to be fast. */
  slow: number
  /** A fast destination gets one more with each fast send, up to this many, so that some are left to others. */
  fast: number
  /** For the slow sends of one tenant, to all of its destinations. */
  tenant: number
  /** For the slow sends of all tenants; a tenant that holds none always gets one. */
  all: number
}

/** Limits of the slots for deliveries. */
const DELIVERIES: SlotLimits = { slow: 20, fast: 80, tenant: 60, all: 80 }
/** Limits of the background queue: webhooks by their host, steps of batches, probes. */
export const BACKGROUND: SlotLimits = { slow: 5, fast: 12, tenant: 8, all: 14 }
/** A send that takes longer is slow; the delays of a busy machine are shorter. */
const SLOW_MS = 2000
/** The estimated duration of a send before the first one has ended. */
const FIRST_GUESS_MS = 200
const LEAST_DELAY_MS = 250
/**
 * The longest wait for a slot. Short, because a pause of the machine makes every send look slow, and the estimate is wrong
 * then.
 */
const LONGEST_DELAY_MS = 120_000
/** The longest wait for an open circuit. */
const LONGEST_APART_MS = 900_000
/**
 * Deliveries that wait for an open circuit check it at least this far apart, because each check costs a transaction.
 */
const ASK_APART_MS = 100
/** Destinations whose speed is remembered. */
const REMEMBERED = 10_000

interface Send {
  tenant: string
  key: string
  since: number
}

interface Destination {
  /** The number of slots that it may hold. */
  most: number
  /** Smoothed duration of its sends. */
  usual_ms: number
  /** The latest time at which another delivery was told to retry. */
  booked: number
  /** The same for deliveries that wait for an open circuit. */
  asked: number
}

export interface WorkerSlot {
  take(tenant: string, key: string): { taken: true } | { taken: false; delay_ms: number }
  /** The send begins; the time before it does not count for the destination's speed. */
  begin(): void
  /** Releases the slot, if one was taken, without a send. */
  leave(): void
  /** Releases the slot after a send, and updates the destination's speed. */
  end(): void
  /**
   * Milliseconds until the retry if at most `most` sends run at once; later than all retries that were given out before.
   */
  delay(key: string, most: number): number
  /** Milliseconds until the next check, at least `leastMs`; not at the same time as the checks given out before. */
  apart(key: string, leastMs: number): number
}

export interface WorkerSlots {
  slot(): WorkerSlot
}

export function createWorkerSlots(
  now: () => number = () => performance.now(),
  random: () => number = Math.random,
  limits: SlotLimits = DELIVERIES,
): WorkerSlots {
  const destinations = new LRUCache<string, Destination>({ max: REMEMBERED })
  const sends = createSlots((send: Send, held) => isFull(find(send.key), held) || undefined)

  function find(key: string): Destination {
    let found = destinations.get(key)
    if (!found) {
      found = { most: limits.slow, usual_ms: FIRST_GUESS_MS, booked: 0, asked: 0 }
      destinations.set(key, found)
    }
    return found
  }

  function isFull({ most }: Destination, { key, tenant, all }: Held<Send>): boolean {
    return key.claims.size >= most || slow(key) >= limits.slow || tenantIsFull(tenant, all)
  }

  /** Sends that are slow already; they are in the order in which they began. */
  function slow({ claims }: Holding<Send>): number {
    let count = 0
    for (const { since } of claims) {
      if (now() - since < SLOW_MS) break
      count += 1
    }
    return count
  }

  /** Sends that are slow, or to a destination that is not known to be fast: a send that hangs is not slow at first. */
  function doubtful({ claims }: Holding<Send>): number {
    let count = 0
    for (const { since, key } of claims) {
      if (now() - since >= SLOW_MS || (destinations.peek(key)?.most ?? 0) <= limits.slow) count += 1
    }
    return count
  }

  /**
   * Whether a tenant leaves enough to the others. If many sends hang, the tenant that holds most of them gets no more.
   */
  function tenantIsFull(ofTenant: Holding<Send>, ofAll: Holding<Send>): boolean {
    if (ofTenant.claims.size >= limits.fast) return true
    const [own, total] = [doubtful(ofTenant), doubtful(ofAll)]
    return own >= limits.tenant || (total >= limits.tenant && own > total / 2) || (total >= limits.all && own > 0)
  }

  function delay(key: string, slots: number): number {
    const destination = find(key)
    const [oldest] = sends.held({ key }).key.claims
    const takes = Math.max(destination.usual_ms, oldest ? now() - oldest.since : 0)
    destination.booked = Math.max(destination.booked, now()) + takes / slots
    return bounded(destination, 'booked', LONGEST_DELAY_MS)
  }

  function apart(key: string, leastMs: number): number {
    const destination = find(key)
    destination.asked = Math.max(destination.asked + ASK_APART_MS, now() + leastMs)
    return bounded(destination, 'asked', LONGEST_APART_MS)
  }

  /** Retries that would come after the longest delay are spread out at random. */
  function bounded(destination: Destination, which: 'booked' | 'asked', longestMs: number): number {
    const longest = now() + longestMs
    if (destination[which] < longest) return Math.ceil(Math.max(LEAST_DELAY_MS, destination[which] - now()))
    destination[which] = longest
    return Math.ceil(longestMs * (0.5 + random() / 2))
  }

  return {
    slot() {
      let mine: Send | undefined
      const leave = () => {
        if (mine) sends.release(mine)
        mine = undefined
      }
      return {
        delay,
        apart,
        leave,
        take(tenant, key) {
          const send = { tenant, key, since: now() }
          if (sends.take(send)) return { taken: false, delay_ms: delay(key, find(key).most) }
          mine = send
          return { taken: true }
        },
        begin() {
          if (!mine) return
          // Added again at the end, because the sends are in the order in which they began.
          sends.release(mine)
          mine = { ...mine, since: now() }
          sends.hold(mine)
        },
        end() {
          if (!mine) return
          const destination = find(mine.key)
          const took = now() - mine.since
          leave()
          destination.usual_ms += (took - destination.usual_ms) / 8
          destination.most = took < SLOW_MS ? Math.min(limits.fast, destination.most + 1) : limits.slow
        },
      }
    },
  }
}
