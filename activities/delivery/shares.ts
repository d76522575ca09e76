// How much of this worker one destination may hold. A place is held while a send runs; a destination that hangs would soon
// hold all of them, and every other one would wait for it. What is shared out here is this process's own, so it is counted
// here, and a killed worker's count goes with its places.

export interface Share {
  /** A destination that is not known to be quick holds so many at most. */
  slow: number
  /** One that is quick earns more, one with each quick send, up to this many: some are always left to others. */
  quick: number
  /** So many places may be held by slow sends of one tenant, whatever the number of its destinations. */
  tenant: number
  /** And by those of all tenants together: who has none himself gets a place all the same. */
  all: number
}

/** Of the places for deliveries. */
const DELIVERIES: Share = { slow: 20, quick: 80, tenant: 60, all: 80 }
/** Of the few for slow company: callbacks, by their host, and the steps of batches. */
export const BACKGROUND: Share = { slow: 5, quick: 12, tenant: 8, all: 14 }
/** A send that takes longer than this is slow; a busy machine's own delays are below. */
const SLOW_MS = 2000
/** What a send is taken to last before one has ended. */
const FIRST_GUESS_MS = 200
const LEAST_DELAY_MS = 250
/** For a place: a machine that stood still for a moment makes every send look slow, and must not be believed for long. */
const LONGEST_DELAY_MS = 120_000
/** For a circuit that stays open. */
const LONGEST_APART_MS = 900_000
/** Those that wait for an open circuit come again at least so far apart: thousands that ask in vain are a load too. */
const ASK_APART_MS = 100
/** Destinations that are remembered beside those that hold a place. */
const REMEMBERED = 10_000

interface Held {
  tenant: string
  key: string
  since: number
}

interface Known {
  held: Set<Held>
  /** Places it may hold. */
  most: number
  /** What its sends take, smoothed, in milliseconds. */
  usual_ms: number
  /** The time up to which others were told to come again. */
  booked: number
  /** The same for an open circuit. */
  asked: number
}

/** One call's place. */
export interface Place {
  take(tenant: string, key: string): { taken: true } | { taken: false; delay_ms: number }
  /** The send begins: what came before was not the destination's doing. */
  begin(): void
  /** Gives it back, when one was taken: nothing was sent. */
  leave(): void
  /** Gives it back after a send, which says how quick the destination is. */
  end(): void
  /** When to come again where `most` sends at once are the limit: behind all who were told so before. */
  delay(key: string, most: number): number
  /** When to ask again, not before `leastMs`: apart from all who were told so before. */
  apart(key: string, leastMs: number): number
}

export interface Shares {
  place(): Place
}

export function createShares(
  now: () => number = () => performance.now(),
  random: () => number = Math.random,
  share: Share = DELIVERIES,
): Shares {
  const known = new Map<string, Known>()
  const tenants = new Map<string, Set<Held>>()
  const all = new Set<Held>()

  function find(key: string): Known {
    const found = known.get(key) ?? { held: new Set(), most: share.slow, usual_ms: FIRST_GUESS_MS, booked: 0, asked: 0 }
    // The latest is the last: what is forgotten first has not been heard of for longest.
    known.delete(key)
    known.set(key, found)
    if (known.size > REMEMBERED) for (const [old, { held }] of known) if (held.size === 0) return forget(old, found)
    return found
  }

  function forget(old: string, found: Known): Known {
    known.delete(old)
    return found
  }

  function hold(held: Held): void {
    find(held.key).held.add(held)
    all.add(held)
    tenants.set(held.tenant, (tenants.get(held.tenant) ?? new Set<Held>()).add(held))
  }

  /** Those that are slow already; a set is in the order in which they began. */
  function slow(held: ReadonlySet<Held>): number {
    let count = 0
    for (const { since } of held) {
      if (now() - since < SLOW_MS) break
      count += 1
    }
    return count
  }

  /** Those that are slow, or may be for all that is known: what hangs is not slow before its time. */
  function doubtful(held: ReadonlySet<Held>): number {
    let count = 0
    for (const { since, key } of held) if (now() - since >= SLOW_MS || known.get(key)!.most <= share.slow) count += 1
    return count
  }

  /** Whether a tenant leaves enough to the others. Of those who hang, the one who has most gets none before them. */
  function tenantIsFull(ofTenant: ReadonlySet<Held>): boolean {
    if (ofTenant.size >= share.quick) return true
    const [own, total] = [doubtful(ofTenant), doubtful(all)]
    return own >= share.tenant || (total >= share.tenant && own > total / 2) || (total >= share.all && own > 0)
  }

  function delay(key: string, places: number): number {
    const destination = find(key)
    const [oldest] = destination.held
    const takes = Math.max(destination.usual_ms, oldest ? now() - oldest.since : 0)
    destination.booked = Math.max(destination.booked, now()) + takes / places
    return bounded(destination, 'booked', LONGEST_DELAY_MS)
  }

  function apart(key: string, leastMs: number): number {
    const destination = find(key)
    destination.asked = Math.max(destination.asked + ASK_APART_MS, now() + leastMs)
    return bounded(destination, 'asked', LONGEST_APART_MS)
  }

  /** Beyond the longest delay there is no order any more, only a crowd that is spread out. */
  function bounded(destination: Known, which: 'booked' | 'asked', longestMs: number): number {
    const longest = now() + longestMs
    if (destination[which] < longest) return Math.ceil(Math.max(LEAST_DELAY_MS, destination[which] - now()))
    destination[which] = longest
    return Math.ceil(longestMs * (0.5 + random() / 2))
  }

  return {
    place() {
      let mine: Held | undefined
      const release = (): Known | undefined => {
        if (!mine) return undefined
        const destination = find(mine.key)
        destination.held.delete(mine)
        all.delete(mine)
        const ofTenant = tenants.get(mine.tenant)
        ofTenant?.delete(mine)
        if (ofTenant?.size === 0) tenants.delete(mine.tenant)
        return destination
      }
      return {
        delay,
        apart,
        take(tenant, key) {
          const destination = find(key)
          const ofTenant = tenants.get(tenant) ?? new Set<Held>()
          const full = destination.held.size >= destination.most || slow(destination.held) >= share.slow
          if (full || tenantIsFull(ofTenant)) return { taken: false, delay_ms: delay(key, destination.most) }
          mine = { tenant, key, since: now() }
          hold(mine)
          return { taken: true }
        },
        begin() {
          if (!mine) return
          // To the end of the sets, which are in the order of beginning.
          const { tenant, key } = mine
          release()
          mine = { tenant, key, since: now() }
          hold(mine)
        },
        leave() {
          release()
          mine = undefined
        },
        end() {
          const destination = release()
          if (!mine || !destination) return
          const took = now() - mine.since
          mine = undefined
          destination.usual_ms += (took - destination.usual_ms) / 8
          destination.most = took < SLOW_MS ? Math.min(share.quick, destination.most + 1) : share.slow
        },
      }
    },
  }
}
