import { describe, expect, it } from 'vitest'
import { inUtc, isLeftOut, repeatedTime, timesBetween } from '../../activities/schedules/times.ts'

const cron = (expression: string, time_zone = 'UTC') => ({ cron: expression, interval_seconds: null, time_zone })
const between = (timed: Parameters<typeof timesBetween>[0], from: string, to: string, limit = 1000) =>
  timesBetween(timed, Date.parse(from), Date.parse(to), limit).map((time) => new Date(time).toISOString().slice(0, 16))

describe('the times of a schedule', () => {
  it.each([
    ['30 6 * * 1-5', 'Europe/Rome', ['2026-11-26T05:30', '2026-11-27T05:30', '2026-11-30T05:30', '2026-12-01T05:30']],
    ['0 0 1,15 * *', 'UTC', ['2026-12-01T00:00']],
    ['0 12 1 * wed', 'UTC', ['2026-12-01T12:00']],
    // Not either day: with a step in a day field, both must match.
    ['0 12 28-31 * */2', 'UTC', ['2026-11-28T12:00', '2026-11-29T12:00']],
    ['*/20 5 29 nov sun', 'Asia/Kolkata', ['2026-11-28T23:30', '2026-11-28T23:50', '2026-11-29T00:10']],
    ['0 0 * * 7', 'Pacific/Auckland', ['2026-11-28T11:00']],
    [
      '5/25 3-5/2 27 11 *',
      'UTC',
      [
        '2026-11-27T03:05',
        '2026-11-27T03:30',
        '2026-11-27T03:55',
        '2026-11-27T05:05',
        '2026-11-27T05:30',
        '2026-11-27T05:55',
      ],
    ],
  ])('«%s» in %s', (expression, zone, times) => {
    expect(between(cron(expression, zone), '2026-11-25T13:00:00Z', '2026-12-01T23:00:00Z')).toEqual(times)
  })

  it('by an interval count from 1970', () => {
    const timed = { cron: null, interval_seconds: 5400, time_zone: 'UTC' }
    expect(between(timed, '2026-01-01T00:00:00Z', '2026-01-01T04:30:00Z')).toEqual([
      '2026-01-01T01:30',
      '2026-01-01T03:00',
      '2026-01-01T04:30',
    ])
  })

  it('are no more than the limit, and a year of minutes costs little', () => {
    const from = Date.UTC(2026, 0, 1)
    expect(timesBetween(cron('* * * * *', 'Europe/Rome'), from, from + 365 * 86_400_000, 100)).toHaveLength(100)
  })
})

/** Where clocks go back, and a time that they show twice: its two instants. */
const BACK = [
  ['America/New_York', '30 1', '2027-11-07T05:30', '2027-11-07T06:30'],
  ['Europe/London', '30 1', '2027-10-31T00:30', '2027-10-31T01:30'],
  ['Europe/Dublin', '30 1', '2027-10-31T00:30', '2027-10-31T01:30'],
  ['Australia/Lord_Howe', '45 1', '2027-04-03T14:45', '2027-04-03T15:15'],
  ['Pacific/Auckland', '30 2', '2027-04-03T13:30', '2027-04-03T14:30'],
  ['Atlantic/Azores', '30 0', '2027-10-31T00:30', '2027-10-31T01:30'],
  ['Antarctica/Troll', '30 1', '2027-10-30T23:30', '2027-10-31T01:30'],
  ['America/Santiago', '30 23', '2027-04-04T02:30', '2027-04-04T03:30'],
  ['America/Sao_Paulo', '30 23', '2019-02-17T01:30', '2019-02-17T02:30'],
  ['America/St_Johns', '30 1', '2027-11-07T04:00', '2027-11-07T05:00'],
] as const

describe('where clocks are set back', () => {
  it.each(BACK)('a time of day in %s (%s) comes once', (zone, time, first, second) => {
    const timed = cron(`${time} * * *`, zone)
    const day = 86_400_000
    const times = timesBetween(timed, Date.parse(`${first}Z`) - 1.5 * day, Date.parse(`${second}Z`) + 1.5 * day, 10)
    expect(times).toHaveLength(3)
    expect(times[1]).toBe(Date.parse(`${first}Z`))
    const repeated = [first, second].map((text) => repeatedTime(timed, Date.parse(`${text}Z`)))
    expect(repeated[0]).toEqual(repeated[1])
    expect(repeated[0]!.first).toBe(Date.parse(`${first}Z`))
    expect(repeatedTime(timed, times[0]!)).toBeNull()
    expect(repeatedTime(timed, times[2]!)).toBeNull()
  })

  it.each(BACK)('every hour in %s counts both hours', (zone, time, first, second) => {
    const minute = time.split(' ')[0]
    const timed = cron(`${minute} * * * *`, zone)
    const found = between(timed, new Date(Date.parse(`${first}Z`) - 1).toISOString(), `${second}:00Z`)
    expect([found[0], found.at(-1)]).toEqual([first, second])
    expect(repeatedTime(timed, Date.parse(`${second}Z`))).toBeNull()
  })
})

describe('where clocks are set forward', () => {
  it.each([
    ['America/New_York', '30 2', '2027-03-14T07:30'],
    ['Europe/London', '30 1', '2027-03-28T01:30'],
    ['Australia/Lord_Howe', '15 2', '2027-10-02T15:45'],
    ['Pacific/Auckland', '30 2', '2027-09-25T14:30'],
    ['Atlantic/Azores', '30 0', '2027-03-28T01:30'],
    ['Antarctica/Troll', '30 2', '2027-03-28T02:30'],
    ['America/Sao_Paulo', '30 0', '2018-11-04T03:30'],
  ])('a time of day in %s (%s) that they leave out does not come', (zone, time, instead) => {
    const timed = cron(`${time} * * *`, zone)
    const at = Date.parse(`${instead}Z`)
    const times = timesBetween(timed, at - 36 * 3_600_000, at + 36 * 3_600_000, 10)
    expect(times).toHaveLength(2)
    expect(times[1]! - times[0]!).toBeGreaterThan(40 * 3_600_000)
    expect(isLeftOut(timed, at)).toBe(true)
    for (const time of times) expect(isLeftOut(timed, time)).toBe(false)
  })
})

describe('a schedule of every hour', () => {
  it.each([
    ['0 * * * *', 'Europe/London', '0 * * * *'],
    ['*/15 * * * *', 'Australia/Lord_Howe', '0,15,30,45 * * * *'],
    ['10 * * * *', 'Asia/Kolkata', '40 * * * *'],
    ['10 * * * *', 'America/St_Johns', '40 * * * *'],
    ['0 0-23 1-31 jan-dec sun-sat', 'Europe/London', '0 * * * *'],
    ['0 0-23 13 * *', 'Europe/London', null],
    ['0 */1 * * *', 'Europe/London', '0 * * * *'],
    ['0 * * * *', 'Australia/Lord_Howe', null],
    ['0 */2 * * *', 'Europe/London', null],
    ['0 * * * 1', 'Europe/London', null],
  ])('«%s» in %s is «%s» in UTC', (expression, zone, utc) => {
    expect(inUtc(expression, zone, Date.UTC(2027, 0, 1))).toBe(utc)
  })
})
