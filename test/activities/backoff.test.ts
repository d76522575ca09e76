import { describe, expect, it } from 'vitest'
import { BACKOFF, type Backoff, backoffFor, retryDelay } from '../../activities/delivery/backoff.ts'
import { destinationFor, PROTOCOLS } from '../../activities/destinations/registry.ts'

const none = () => 0
const most = () => 1

describe('retryDelay', () => {
  it('doubles from one second to its limit', () => {
    expect([1, 2, 3, 4, 5].map((failures) => retryDelay({ failures }, BACKOFF, none))).toEqual([
      1000, 2000, 4000, 8000, 16000,
    ])
    expect(retryDelay({ failures: 50 }, BACKOFF, none)).toBe(BACKOFF.max_ms)
  })

  it('jitter never makes a wait shorter than what the destination asked for', () => {
    for (let i = 0; i < 1000; i += 1) {
      expect(retryDelay({ failures: 1, retryAfterMs: 30_000 })).toBeGreaterThanOrEqual(30_000)
      expect(retryDelay({ failures: 3 })).toBeGreaterThanOrEqual(4000)
    }
    expect(retryDelay({ failures: 1, retryAfterMs: 30_000 }, BACKOFF, most)).toBe(36_000)
  })

  it('honours Retry-After up to one hour', () => {
    expect(retryDelay({ failures: 1, retryAfterMs: 86_400_000 }, BACKOFF, none)).toBe(3_600_000)
  })

  it('keeps its own delay when Retry-After is shorter, and retries at once when Retry-After is 0', () => {
    expect(retryDelay({ failures: 5, retryAfterMs: 1000 }, BACKOFF, none)).toBe(16_000)
    expect(retryDelay({ failures: 5, retryAfterMs: 0 }, BACKOFF, none)).toBe(0)
  })
})

describe('the delays of a protocol', () => {
  it('are minutes for mail, because greylisting delays it that long, and seconds for the other protocols', () => {
    const first = Object.fromEntries(
      PROTOCOLS.map((protocol) => [protocol, retryDelay({ failures: 1 }, backoffFor(protocol), none)]),
    )
    expect(first).toMatchObject({ REST: 1000, AMQP: 1000, JDBC: 1000, S3: 1000, SFTP: 1000, EMAIL: 60_000 })
  })

  it.each(PROTOCOLS)(
    'of %s fit, with the usual three retries and all jitter, into the life that it states',
    (protocol) => {
      const waits = [1, 2, 3].map((failures) => retryDelay({ failures }, backoffFor(protocol), most))
      const all = waits.reduce((sum, wait) => sum + wait, 0) + 4 * 30_000
      expect(all).toBeLessThan((destinationFor(protocol).retries?.life_seconds ?? 300) * 1000)
    },
  )

  it('are those of the destination if it has some', () => {
    const own = backoffFor('EMAIL', { retry_delays_seconds: [2, 7] })
    expect([1, 2, 3].map((failures) => retryDelay({ failures }, own, none))).toEqual([2000, 7000, 7000])
    for (const wrong of [[], ['1'], [0], 'soon', null]) {
      expect(backoffFor('EMAIL', { retry_delays_seconds: wrong })).toEqual(backoffFor('EMAIL'))
    }
  })

  it('follow the list of the destination, and stay at its last value', () => {
    const delays: Backoff = { ...BACKOFF, delays_ms: [60_000, 300_000] }
    expect([1, 2, 3, 9].map((failures) => retryDelay({ failures }, delays, none))).toEqual([
      60_000, 300_000, 300_000, 300_000,
    ])
    expect(retryDelay({ failures: 1, retryAfterMs: 120_000 }, delays, none)).toBe(120_000)
  })
})

describe('a retry after minutes, close to the expiry', () => {
  const mail = backoffFor('EMAIL')

  it('is moved to shortly before the expiry if it would come after it', () => {
    // As with five minutes stated: at 0, 1, 4:30 and 4:45.
    expect(retryDelay({ failures: 1, lifeMs: 300_000 }, mail, none)).toBe(60_000)
    expect(retryDelay({ failures: 2, lifeMs: 240_000 }, mail, most)).toBe(210_000)
    expect(retryDelay({ failures: 3, lifeMs: 30_000 }, mail, none)).toBe(15_000)
  })

  it('is not moved if it comes in time', () => {
    expect(retryDelay({ failures: 2, lifeMs: 3_500_000 }, mail, none)).toBe(300_000)
    expect(retryDelay({ failures: 2, lifeMs: 3_500_000 }, mail, most)).toBe(360_000)
  })

  it('does not become more and more frequent towards the expiry', () => {
    let left = 300_000
    let retries = 0
    for (let failures = 1; failures <= 50; failures += 1) {
      left -= retryDelay({ failures, lifeMs: left }, mail, none)
      if (left <= 0) break
      retries += 1
    }
    expect(retries).toBe(4)
  })

  it('is not moved if the destination asked for the delay', () => {
    expect(retryDelay({ failures: 1, lifeMs: 60_000, retryAfterMs: 120_000 }, mail, none)).toBe(120_000)
  })

  it('of a protocol with delays of seconds is not moved', () => {
    expect(retryDelay({ failures: 9, lifeMs: 60_000 }, backoffFor('REST'), none)).toBe(256_000)
  })
})
