// The process's clock is that of the database, also when some of the answers come late.
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { forgetClock, now } from '../../db/clock.ts'
import type { Pool } from '../../db/pool.ts'
import { measureClock } from '../../temporal-config/process/clock-keeper.ts'

/** An hour behind this machine, so that the two cannot be mistaken for each other. */
const databaseNow = () => performance.timeOrigin + performance.now() - 3_600_000

interface Delay {
  before?: number
  after?: number
}

/** A database that reads its clock `before` ms after it was asked, and whose answer takes `after` ms. */
function database(delays: readonly Delay[]) {
  let asked = 0
  const query = async () => {
    const { before = 0, after = 0 } = delays[asked] ?? {}
    asked += 1
    await sleep(before)
    const rows = [{ now: databaseNow() }]
    await sleep(after)
    return { rows }
  }
  return { pool: { query } as unknown as Pool, asked: () => asked }
}

const errorMs = () => Math.abs(now() - databaseNow())

afterEach(forgetClock)

describe('the clock of a process', () => {
  it('is not set by an answer that a busy process read late', async () => {
    await measureClock(database([{ after: 700 }]).pool)
    expect(errorMs()).toBeLessThan(200)
  })

  it('is not set by a query that waited for its connection', async () => {
    await measureClock(database([{ before: 700 }, { after: 600 }]).pool)
    expect(errorMs()).toBeLessThan(200)
  })

  it('takes the quickest of the answers when the database is slow to each, and asks no further', async () => {
    const slow = { after: 500 }
    const { pool, asked } = database([slow, slow, { after: 50 }, slow, slow, slow, slow, slow])
    await measureClock(pool)
    expect(errorMs()).toBeLessThan(150)
    expect(asked()).toBe(5)
  })

  it('stays as it was when the database does not answer', async () => {
    await measureClock(database([]).pool)
    const failing = { query: () => Promise.reject(new Error('away')) } as unknown as Pool
    await expect(measureClock(failing)).rejects.toThrow('away')
    expect(errorMs()).toBeLessThan(200)
  })
})
