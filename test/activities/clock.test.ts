import { afterEach, describe, expect, it, vi } from 'vitest'
import { retryAfterMs } from '../../activities/destinations/network/retry-after.ts'
import { webhookHeaders } from '../../activities/destinations/rest/signature.ts'
import { aheadMs, clockWarning, forgetClock, now, setClock } from '../../db/clock.ts'

const HOUR = 3_600_000

afterEach(() => {
  forgetClock()
  vi.useRealTimers()
})

/** This machine is so far ahead of the database. */
function ahead(ms: number): number {
  const real = Date.now()
  setClock(real - ms, performance.now())
  return real - ms
}

describe('the clock', () => {
  it('is that of the machine until the database has been asked, and then that of the database', () => {
    expect(Math.abs(now() - Date.now())).toBeLessThan(1000)
    expect(aheadMs()).toBe(0)
    for (const ms of [-3 * HOUR, 2 * HOUR, 26 * HOUR]) {
      const database = ahead(ms)
      expect(Math.abs(now() - database)).toBeLessThan(1000)
      expect(Math.abs(aheadMs() - ms)).toBeLessThan(1000)
    }
  })

  it('continues evenly when the clock of the machine is changed, and asks for a new measurement', () => {
    const jumped = vi.fn()
    const real = Date.now()
    setClock(real, performance.now(), jumped)
    now()
    expect(jumped).not.toHaveBeenCalled()
    vi.useFakeTimers({ toFake: ['Date'], now: real + HOUR })
    expect(Math.abs(now() - real)).toBeLessThan(1000)
    expect(jumped).toHaveBeenCalled()
  })

  it('warns beyond five seconds, in either direction', () => {
    ahead(4000)
    expect(clockWarning()).toBeUndefined()
    ahead(7200_000)
    expect(clockWarning()).toContain('7200 s ahead of')
    ahead(-9000)
    expect(clockWarning()).toContain('9 s behind')
  })

  it('gives a signature its time, and a Retry-After its meaning', () => {
    const database = ahead(3 * HOUR)
    const headers = webhookHeaders({ id: 'a', body: Buffer.from('{}'), secrets: ['whsec_AAAA'] })
    expect(Math.abs(Number(headers['webhook-timestamp']) * 1000 - database)).toBeLessThan(2000)
    const wait = retryAfterMs({ 'retry-after': new Date(database + 60_000).toUTCString() })
    expect(wait).toBeGreaterThan(55_000)
    expect(wait).toBeLessThanOrEqual(60_000)
  })
})
