import { describe, expect, it } from 'vitest'
import { accountFor, windowMs } from '../../activities/schedules/missed-times.ts'

type Row = Parameters<typeof accountFor>[0]
const NOW = Date.parse('2026-11-30T12:00:00Z')
const ago = (seconds: number) => new Date(NOW - seconds * 1000)
const MINUTELY: Row = {
  cron: '* * * * *',
  interval_seconds: null,
  time_zone: 'UTC',
  overlap: 'allow_all',
  catchup_seconds: 60,
  accounted_at: ago(300),
  last_fired_at: ago(300.5),
  last_completed_at: ago(299),
}
const account = (given: Partial<Row>, secondsAgo: number, begunAgo = 0) =>
  accountFor({ ...MINUTELY, ...given }, NOW - secondsAgo * 1000, NOW, NOW - begunAgo * 1000)

describe('the window in which missed times are made up', () => {
  it.each([
    ['* * * * *', 31_536_000, 100 * 60],
    ['*/15 * * * *', 31_536_000, 100 * 15 * 60],
    ['* * * * *', 60, 60],
    ['30 6 * * *', 31_536_000, 100 * 86_400 - 5.5 * 3600],
    ['0 0 1 * *', 31_536_000, 365 * 86_400],
  ])('of «%s» with %i s is %i s: a hundred times at most', (cron, catchup_seconds, seconds) => {
    expect(windowMs({ ...MINUTELY, cron, catchup_seconds }, NOW)).toBe(seconds * 1000)
  })
})

describe('times that were passed over', () => {
  it('are named if they are older than the window', () => {
    const { missed, tooLate, accounted } = account({}, 0)
    expect(tooLate).toBe(false)
    expect(missed).toMatchObject({
      count: 4,
      first: '2026-11-30T11:56:00.000Z',
      last: '2026-11-30T11:59:00.000Z',
      reason: expect.stringContaining('catchup_seconds'),
    })
    expect(accounted).toEqual(new Date(NOW))
  })

  it('are not named while they may still be caught up', () => {
    expect(account({ catchup_seconds: 3600 }, 0).missed).toBeNull()
    expect(account({ accounted_at: ago(60) }, 0).missed).toBeNull()
  })

  it('are named once', () => {
    const { accounted } = account({}, 0)
    expect(accountFor({ ...MINUTELY, accounted_at: accounted }, NOW, NOW).missed).toBeNull()
  })

  it.each(['skip', 'buffer_one'] as const)('are not named where %s left them out of itself', (overlap) => {
    const running = { overlap, last_fired_at: ago(300), last_completed_at: ago(20) }
    expect(account(running, 0).missed).toBeNull()
    expect(account({ ...running, last_completed_at: null }, 0).missed).toBeNull()
    // It had long ended when the outage began.
    expect(account({ overlap, last_completed_at: ago(299), last_fired_at: ago(300) }, 0).missed).toMatchObject({
      count: 4,
    })
  })

  it.each(['skip', 'buffer_one'] as const)(
    'are named with %s where the outage began right after the last one',
    (overlap) => {
      const row = { overlap, interval_seconds: 10, cron: null, catchup_seconds: 31_536_000 }
      const ended = { accounted_at: ago(100), last_fired_at: ago(99.5), last_completed_at: ago(99) }
      const { missed } = account({ ...row, ...ended }, 90)
      expect(missed!.count).toBe(overlap === 'skip' ? 9 : 8)
    },
  )

  it('the minutes of a month are named, and none of them is run', () => {
    const started = performance.now()
    const { missed, tooLate } = account(
      { accounted_at: ago(30 * 86_400), catchup_seconds: 31_536_000 },
      29 * 86_400,
      29 * 86_400,
    )
    expect(tooLate).toBe(true)
    expect(missed!.count).toBe(24 * 60)
    // Where somebody has Temporal make up old times, their runs have only begun.
    expect(account({}, 29 * 86_400).tooLate).toBe(false)
    const rest = account({ accounted_at: ago(29 * 86_400), catchup_seconds: 31_536_000 }, 0)
    expect(rest.missed!.count).toBe(29 * 24 * 60 - 100)
    expect(rest.missed!.times).toHaveLength(10)
    expect(performance.now() - started).toBeLessThan(5000)
  })
})

describe('a time that is run late', () => {
  it('with skip, names the times that the policy now leaves out', () => {
    const { missed, accounted } = account({ overlap: 'skip', catchup_seconds: 3600, last_completed_at: ago(301) }, 240)
    expect(missed).toMatchObject({ count: 4, first: '2026-11-30T11:57:00.000Z', last: '2026-11-30T12:00:00.000Z' })
    expect(missed!.reason).toContain('overlap: skip')
    expect(accounted).toEqual(new Date(NOW))
  })

  it('with buffer_one, names all times but the one that is kept', () => {
    const { missed } = account({ overlap: 'buffer_one', catchup_seconds: 3600, last_completed_at: ago(301) }, 240)
    expect(missed).toMatchObject({ count: 3, first: '2026-11-30T11:58:00.000Z' })
  })

  it.each(['buffer_all', 'allow_all'] as const)('with %s, names no time, because all are run', (overlap) => {
    expect(account({ overlap, catchup_seconds: 3600 }, 240).missed).toBeNull()
  })

  it('names no time if it was kept until the previous distribution was final', () => {
    const kept = {
      overlap: 'buffer_one',
      catchup_seconds: 3600,
      last_fired_at: ago(300),
      last_completed_at: ago(1),
    } as const
    expect(account(kept, 240).missed).toBeNull()
  })

  it('a delay of a moment names no time', () => {
    expect(account({ overlap: 'skip', catchup_seconds: 3600, accounted_at: ago(30) }, 29).missed).toBeNull()
  })
})
