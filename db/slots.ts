// Shares the limited resources of a process (sends, connections, memory) among tenants, so that no tenant blocks the others.
// All slots are counted in this process: those of a killed process end with it.

export interface Claim {
  tenant: string
  /** A second thing that is counted: a destination, an API key. */
  key?: string
  /** The size of the slot, if slots have sizes: bytes. */
  amount?: number
}

export interface Holding<C> {
  /** In the order in which they got their slots. */
  readonly claims: ReadonlySet<C>
  /** The sum of their amounts. */
  readonly amount: number
}

/** The slots that are taken: by the claim's key, by its tenant, and in total. */
export interface Held<C> {
  key: Holding<C>
  tenant: Holding<C>
  all: Holding<C>
}

export interface Slots<C extends Claim = Claim, R = true> {
  held(of: Partial<Claim>): Held<C>
  /** Why the claim may not have a slot now; undefined when it may. */
  refusal(claim: C): R | undefined
  /** Takes a slot, which the claim holds until `release`; or returns why not. */
  take(claim: C): R | undefined
  /** Takes a slot without asking the limit. */
  hold(claim: C): void
  /** Takes a slot as soon as the limit allows it. Tenants are served round-robin. @throws the reason of `signal` */
  wait(claim: C, signal?: AbortSignal): Promise<void>
  /** Adds to the amount of a claim that has a slot; or returns why it does not fit. */
  grow(claim: C, by: number): R | undefined
  /** Gives the slot back; a second time it changes nothing. */
  release(claim: C): void
}

/**
 * @param limit why the claim may not have a slot; undefined if it may. With `wait`, a tenant without a slot must get one
 * sooner or later.
 */
export function createSlots<C extends Claim, R = true>(limit: (claim: C, held: Held<C>) => R | undefined): Slots<C, R> {
  const keys = new Map<string, Counted<C>>()
  const tenants = new Map<string, Counted<C>>()
  const all = new Counted<C>()
  const queue = createRoundRobin<{ claim: C; go: () => void }>()

  const held = ({ tenant, key }: Partial<Claim>): Held<C> => ({
    key: (key !== undefined && keys.get(key)) || NOTHING,
    tenant: (tenant !== undefined && tenants.get(tenant)) || NOTHING,
    all,
  })
  const refusal = (claim: C) => limit(claim, held(claim))

  function hold(claim: C): void {
    all.add(claim)
    inMap(tenants, claim.tenant).add(claim)
    if (claim.key !== undefined) inMap(keys, claim.key).add(claim)
  }

  function serve(): void {
    for (;;) {
      const next = queue.next((_, { claim }) => refusal(claim) === undefined)
      if (!next) return
      hold(next.claim)
      next.go()
    }
  }

  return {
    held,
    refusal,
    hold,
    take(claim) {
      const refused = refusal(claim)
      if (refused === undefined) hold(claim)
      return refused
    },
    wait(claim, signal) {
      return new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(signal.reason)
        const leave = () => {
          queue.drop(claim.tenant, waiter)
          reject(signal?.reason)
        }
        const waiter = {
          claim,
          go() {
            signal?.removeEventListener('abort', leave)
            resolve()
          },
        }
        signal?.addEventListener('abort', leave, { once: true })
        queue.add(claim.tenant, waiter)
        serve()
      })
    },
    grow(claim, by) {
      if (!all.claims.has(claim)) return undefined
      const refused = refusal({ ...claim, amount: by })
      if (refused !== undefined) return refused
      claim.amount = (claim.amount ?? 0) + by
      for (const holding of [
        all,
        tenants.get(claim.tenant),
        claim.key === undefined ? undefined : keys.get(claim.key),
      ]) {
        if (holding) holding.amount += by
      }
      return undefined
    },
    release(claim) {
      if (!all.remove(claim)) return
      if (tenants.get(claim.tenant)?.remove(claim) === 'last') tenants.delete(claim.tenant)
      if (claim.key !== undefined && keys.get(claim.key)?.remove(claim) === 'last') keys.delete(claim.key)
      // The tenant that just had a slot comes after the tenants that wait for their first.
      queue.toEnd(claim.tenant)
      serve()
    },
  }
}

class Counted<C extends Claim> implements Holding<C> {
  readonly claims = new Set<C>()
  amount = 0

  add(claim: C): void {
    this.claims.add(claim)
    this.amount += claim.amount ?? 0
  }

  remove(claim: C): 'last' | boolean {
    if (!this.claims.delete(claim)) return false
    this.amount -= claim.amount ?? 0
    return this.claims.size === 0 ? 'last' : true
  }
}

const NOTHING: Holding<never> = new Counted<never>()

function inMap<C extends Claim>(map: Map<string, Counted<C>>, id: string): Counted<C> {
  let found = map.get(id)
  if (!found) {
    found = new Counted()
    map.set(id, found)
  }
  return found
}

export interface RoundRobin<T> {
  add(tenant: string, item: T): void
  /** Puts the item before all others of this tenant. */
  putBack(tenant: string, item: T): void
  drop(tenant: string, item: T): void
  /** The first item of the first tenant for which `may` is true; that tenant moves to the end of the queue. */
  next(may: (tenant: string, first: T) => boolean): T | undefined
  /** The first item of this tenant, which moves to the end of the queue. */
  nextOf(tenant: string): T | undefined
  toEnd(tenant: string): void
  /** In the order in which they are served. */
  tenants(): IterableIterator<string>
  size(): number
  /** Removes all items and returns them. */
  clear(): T[]
}

/** A queue that serves the tenants round-robin: a thousand items of one tenant do not delay those of another. */
export function createRoundRobin<T>(): RoundRobin<T> {
  const lines = new Map<string, T[]>()

  function toEnd(tenant: string): void {
    const items = lines.get(tenant)
    lines.delete(tenant)
    if (items && items.length > 0) lines.set(tenant, items)
  }

  function nextOf(tenant: string): T | undefined {
    const item = lines.get(tenant)?.shift()
    toEnd(tenant)
    return item
  }

  return {
    toEnd,
    nextOf,
    add(tenant, item) {
      const items = lines.get(tenant)
      if (items) items.push(item)
      else lines.set(tenant, [item])
    },
    putBack(tenant, item) {
      lines.set(tenant, [item, ...(lines.get(tenant) ?? [])])
    },
    drop(tenant, item) {
      const left = lines.get(tenant)?.filter((one) => one !== item)
      if (left?.length === 0) lines.delete(tenant)
      else if (left) lines.set(tenant, left)
    },
    next(may) {
      for (const [tenant, [first]] of lines) if (may(tenant, first!)) return nextOf(tenant)
      return undefined
    },
    tenants: () => lines.keys(),
    size: () => [...lines.values()].reduce((sum, items) => sum + items.length, 0),
    clear() {
      const items = [...lines.values()].flat()
      lines.clear()
      return items
    },
  }
}
