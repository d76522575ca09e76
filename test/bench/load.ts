// The load, the same for both sides: submissions at a fixed rate, or as fast as arrivals come back.
import { setTimeout as sleep } from 'node:timers/promises'

/** Nothing is measured against this: it only ends a round in which something was lost. */
const GIVE_UP_MS = 120_000

export interface Load {
  kind: 'unloaded' | 'saturated'
  seconds: number
  count: number | undefined
  rate: number
  in_flight: number
}

export interface LoadResult {
  /** By the clock of `Date.now()`. */
  began_at: number
  last_arrival_at: number
  /** From just before each submission to its arrival. */
  latencies_ms: number[]
  keys: string[]
}

/** Who waits for which key, and how often each has come. */
export interface Arrivals {
  arrive(key: string): void
  /** Resolves with the time of its first arrival, on the clock of `performance.now()`. */
  of(key: string): Promise<number>
  /** How often the key has come. */
  count(key: string): number
}

export function createArrivals(): Arrivals {
  const counts = new Map<string, number>()
  const times = new Map<string, number>()
  const waiting = new Map<string, (at: number) => void>()
  return {
    arrive(key) {
      const at = performance.now()
      counts.set(key, (counts.get(key) ?? 0) + 1)
      if (times.has(key)) return
      times.set(key, at)
      waiting.get(key)?.(at)
      waiting.delete(key)
    },
    of(key) {
      const at = times.get(key)
      return at === undefined ? new Promise((resolve) => waiting.set(key, resolve)) : Promise.resolve(at)
    },
    count: (key) => counts.get(key) ?? 0,
  }
}

/** Submits, and returns once everything has arrived; `submit` resolves when a submission is accepted. */
export async function runLoad(
  load: Load,
  prefix: string,
  submit: (key: string) => Promise<void>,
  arrivals: Arrivals,
): Promise<LoadResult> {
  const began = performance.now()
  const result: LoadResult = { began_at: Date.now(), last_arrival_at: 0, latencies_ms: [], keys: [] }
  const goesOn = () =>
    load.count === undefined ? performance.now() - began < load.seconds * 1000 : result.keys.length < load.count

  async function one(): Promise<void> {
    const key = `${prefix}-${result.keys.length}`
    result.keys.push(key)
    const submitted = performance.now()
    const [arrived] = await Promise.all([inTime(arrivals.of(key), key), submit(key)])
    result.latencies_ms.push(arrived - submitted)
  }

  async function atRate(): Promise<void> {
    const all: Promise<void>[] = []
    while (goesOn()) {
      all.push(one())
      // Against the first one's time, so that late timers do not add up.
      await sleep(Math.max(0, began + (all.length * 1000) / load.rate - performance.now()))
    }
    await Promise.all(all)
  }

  async function saturating(): Promise<void> {
    const loop = async () => {
      while (goesOn()) await one()
    }
    await Promise.all(Array.from({ length: load.in_flight }, loop))
  }

  await (load.kind === 'unloaded' ? atRate() : saturating())
  result.last_arrival_at = Date.now()
  return result
}

async function inTime<T>(arrival: Promise<T>, key: string): Promise<T> {
  const over = new AbortController()
  const late = sleep(GIVE_UP_MS, undefined, { signal: over.signal }).then(() => {
    throw new Error(`${key} did not arrive within ${GIVE_UP_MS / 1000} s`)
  })
  late.catch(() => {})
  try {
    return await Promise.race([arrival, late])
  } finally {
    over.abort()
  }
}
