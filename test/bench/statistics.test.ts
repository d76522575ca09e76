// The arithmetic behind the bench's table; the bench itself is run by hand.
import { describe, expect, it } from 'vitest'
import { createArrivals, runLoad } from './load.ts'
import { readOptions } from './options.ts'
import { comparisonTable, percentile, ratios, shown, spread } from './statistics.ts'

const upTo = (count: number) => Array.from({ length: count }, (_one, index) => count - index)

describe('percentile', () => {
  it('is the value at the nearest rank, in whatever order the values come', () => {
    expect(percentile(upTo(100), 0.5)).toBe(50)
    expect(percentile(upTo(100), 0.95)).toBe(95)
    expect(percentile(upTo(20), 0.95)).toBe(19)
    expect(percentile(upTo(21), 0.95)).toBe(20)
    expect(percentile([3, 1, 2], 0.5)).toBe(2)
  })

  it('of one value is that value, and of none an error', () => {
    expect(percentile([7], 0.01)).toBe(7)
    expect(percentile([7], 1)).toBe(7)
    expect(() => percentile([], 0.5)).toThrow(RangeError)
  })

  it('does not sort the values of its caller', () => {
    const values = [3, 1, 2]
    percentile(values, 0.5)
    expect(values).toEqual([3, 1, 2])
  })
})

describe('spread', () => {
  it('has the middle value of an odd number and the mean of the middle two of an even number', () => {
    expect(spread([5, 1, 3])).toEqual({ min: 1, median: 3, max: 5 })
    expect(spread([4, 1, 3, 2])).toEqual({ min: 1, median: 2.5, max: 4 })
  })
})

describe('ratios', () => {
  it('compares round by round, so that a slow round of both sides changes nothing', () => {
    expect(ratios([1, 10, 100], [2, 20, 200])).toEqual({ min: 2, median: 2, max: 2 })
    expect(ratios([1, 2, 4], [3, 4, 4])).toEqual({ min: 1, median: 2, max: 3 })
  })

  it('refuses sides of different length', () => {
    expect(() => ratios([1, 2], [1])).toThrow('2 rounds against 1')
  })
})

describe('the table', () => {
  it('has one line per measure, with the three values of each side and of their ratio', () => {
    const lines = comparisonTable([
      { load: 'unloaded', measure: 'p50 ms', engine: [2, 1, 4], product: [4, 4, 4] },
      { load: 'saturated', measure: 'per second', engine: [200], product: [50] },
    ]).split('\n')
    expect(lines).toHaveLength(4)
    expect(lines[2]?.split(/ {2,}/)).toEqual([
      'unloaded',
      'p50 ms',
      '1.00',
      '2.00',
      '4.00',
      '4.00',
      '4.00',
      '4.00',
      '1.00',
      '2.00',
      '4.00',
    ])
    expect(lines[3]?.split(/ {2,}/)).toEqual([
      'saturated',
      'per second',
      '200',
      '200',
      '200',
      '50.0',
      '50.0',
      '50.0',
      '0.25',
      '0.25',
      '0.25',
    ])
    expect(lines[2]?.length).toBe(lines[3]?.length)
  })

  it('shows three digits', () => {
    expect([0.123, 9.876, 98.76, 987.6].map(shown)).toEqual(['0.12', '9.88', '98.8', '988'])
  })
})

describe('the load', () => {
  const load = { seconds: 1, rate: 200, in_flight: 3 }

  it('saturated, never has more on the way than it may, and counts what comes twice', async () => {
    const arrivals = createArrivals()
    let onTheWay = 0
    let most = 0
    const submit = async (key: string) => {
      most = Math.max(most, ++onTheWay)
      await new Promise(setImmediate)
      onTheWay--
      arrivals.arrive(key)
      if (key === 'r-4') arrivals.arrive(key)
    }
    const result = await runLoad({ ...load, kind: 'saturated', count: 20 }, 'r', submit, arrivals)
    expect(most).toBe(3)
    expect(new Set(result.keys).size).toBeGreaterThanOrEqual(20)
    expect(result.latencies_ms).toHaveLength(result.keys.length)
    expect(result.keys.filter((key) => arrivals.count(key) !== 1)).toEqual(['r-4'])
  })

  it('unloaded, goes on at its rate whatever has arrived', async () => {
    const arrivals = createArrivals()
    const submitted: string[] = []
    const submit = async (key: string) => {
      submitted.push(key)
      if (submitted.length === 10) for (const earlier of submitted) arrivals.arrive(earlier)
    }
    const result = await runLoad({ ...load, kind: 'unloaded', count: 10 }, 'r', submit, arrivals)
    expect(result.keys).toHaveLength(10)
    expect(Math.max(...result.latencies_ms)).toBeGreaterThan(40)
  })

  it('fails with the submission that was refused', async () => {
    const refused = () => Promise.reject(new Error('answered 503'))
    await expect(runLoad({ ...load, kind: 'saturated', count: 1 }, 'r', refused, createArrivals())).rejects.toThrow(
      'answered 503',
    )
  })
})

describe('the options', () => {
  it('have defaults and refuse what is no number', () => {
    expect(readOptions([])).toMatchObject({ rounds: 5, count: undefined, server: 'dev' })
    expect(readOptions(['--count', '100', '--in-flight', '7'])).toMatchObject({ count: 100, in_flight: 7 })
    expect(() => readOptions(['--rounds', '0'])).toThrow('--rounds')
    expect(() => readOptions(['--server', 'mysql'])).toThrow('dev or postgres')
    expect(() => readOptions(['--fast'])).toThrow('--fast')
  })
})
