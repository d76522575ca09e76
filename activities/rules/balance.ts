// Load balancing: which of several destinations is next. All workers share one counter in the database.
import { LRUCache } from 'lru-cache'
import type { Balance } from './actions.ts'

export interface Member {
  name: string
  weight: number
  /** Share of the recent attempts that failed, 0 to 1. */
  failing: number
  unhealthy: boolean
}

/** The next member; `turn` counts from 0. Members keep their order. */
export function pick(members: readonly Member[], balance: Balance, turn: number): Member {
  switch (balance) {
    case 'round_robin':
      return members[turn % members.length]!
    case 'weighted': {
      const weighted = members.filter(({ weight }) => weight > 0)
      if (weighted.length === 0) return members[turn % members.length]!
      return weighted[
        weightedIndex(
          weighted.map(({ weight }) => weight),
          turn,
        )
      ]!
    }
    case 'least_failing': {
      const worth = ({ unhealthy, failing }: Member) => (unhealthy ? 2 : 0) + failing
      const best = Math.min(...members.map(worth))
      const equal = members.filter((member) => worth(member) === best)
      return equal[turn % equal.length]!
    }
  }
}

/** Up to this many members alternate evenly. Larger groups are served in blocks, which needs no table. */
const MAX_SPREAD = 100

function weightedIndex(weights: readonly number[], turn: number): number {
  const divisor = weights.reduce(gcd)
  const shares = weights.map((weight) => weight / divisor)
  const total = shares.reduce((sum, share) => sum + share, 0)
  if (shares.length <= MAX_SPREAD) return sequenceOf(shares, total)[turn % total]!
  let rest = turn % total
  return shares.findIndex((share) => {
    rest -= share
    return rest < 0
  })
}

/** The order in which the members are chosen, spread evenly: weights 2 and 1 give 0, 1, 0. */
function sequenceOf(shares: readonly number[], total: number): number[] {
  const key = shares.join()
  const known = sequences.get(key)
  if (known) return known
  const credit = shares.map(() => 0)
  const sequence = Array.from({ length: total }, () => {
    let best = 0
    for (let i = 0; i < shares.length; i++) {
      credit[i]! += shares[i]!
      if (credit[i]! > credit[best]!) best = i
    }
    credit[best]! -= total
    return best
  })
  sequences.set(key, sequence)
  return sequence
}

/** Sequences by their weights; a sequence of 100 members with large weights takes some 100 kB. */
const sequences = new LRUCache<string, number[]>({ max: 100 })

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b)
}
