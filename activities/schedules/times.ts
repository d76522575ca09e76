// Computes the times of a schedule. Temporal starts the runs, but when clocks change its times depend on the zone, and it
// does not report the times that it skips. So we check its times, and find the skipped ones, here.
import { LRUCache } from 'lru-cache'
import { now } from '../../db/clock.ts'
import { type Cron, readCron } from './cron.ts'

export interface Timed {
  /** Either this or `interval_seconds`. */
  cron: string | null
  interval_seconds: number | null
  time_zone: string
}

const HOUR = 3_600_000
const DAY = 24 * HOUR

/**
 * The times after `from` and up to `to`, in order, `limit` at most. A local time that the clocks skip is left out; a local
 * time that they repeat counts once, unless the expression runs every hour.
 */
export function timesBetween(timed: Timed, from: number, to: number, limit: number): number[] {
  if (timed.cron === null) return intervalsBetween((timed.interval_seconds ?? 0) * 1000, from, to, limit)
  const cron = readCron(timed.cron)
  const times: number[] = []
  const zone = timed.time_zone
  const last = Math.floor((to + offsetAt(zone, to)) / DAY) * DAY + DAY
  for (let day = Math.floor((from + offsetAt(zone, from)) / DAY) * DAY - DAY; day <= last; day += DAY) {
    if (!isDay(cron, new Date(day))) continue
    const offsets = [...new Set([offsetAt(zone, day - 15 * HOUR), offsetAt(zone, day + 39 * HOUR)])]
    const ofDay: number[] = []
    for (const hour of cron.hours) {
      for (const minute of cron.minutes) {
        const instants = instantsOf(zone, day + hour * HOUR + minute * 60_000, offsets)
        ofDay.push(...(cron.everyHour ? instants : instants.slice(0, 1)))
      }
    }
    if (offsets.length > 1) ofDay.sort((a, b) => a - b)
    for (const time of ofDay) {
      if (time <= from || time > to) continue
      times.push(time)
      if (times.length >= limit) return times
    }
  }
  return times
}

function intervalsBetween(every: number, from: number, to: number, limit: number): number[] {
  const times: number[] = []
  for (let time = (Math.floor(from / every) + 1) * every; time <= to && times.length < limit; time += every) {
    times.push(time)
  }
  return times
}

function isDay(cron: Cron, date: Date): boolean {
  if (!cron.months.has(date.getUTCMonth() + 1)) return false
  const day = cron.days.has(date.getUTCDate())
  const weekday = cron.weekdays.has(date.getUTCDay())
  return cron.eitherDay ? day || weekday : day && weekday
}

/** The instants at which clocks show this time: none, one or two. `wall` is the local time, read as if it were UTC. */
function instantsOf(zone: string, wall: number, offsets: readonly number[]): number[] {
  const [only] = offsets
  if (offsets.length === 1) return [wall - only!]
  const instants = offsets.map((offset) => wall - offset).filter((time) => time + offsetAt(zone, time) === wall)
  return instants.sort((a, b) => a - b)
}

/** There are some 600 names, but each may be written in upper and lower case in many ways. */
const formats = new LRUCache<string, Intl.DateTimeFormat>({ max: 1000 })

/** How far the zone's clocks are ahead of UTC, in milliseconds. */
function offsetAt(zone: string, time: number): number {
  if (zone === 'UTC') return 0
  let format = formats.get(zone)
  if (!format) {
    const fields = { year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric', minute: 'numeric' } as const
    format = new Intl.DateTimeFormat('en-US', {
      timeZone: zone,
      hourCycle: 'h23',
      ...fields,
      second: 'numeric',
    })
    formats.set(zone, format)
  }
  const of: Record<string, number> = {}
  for (const { type, value } of format.formatToParts(time)) of[type] = Number(value)
  return Date.UTC(of.year!, of.month! - 1, of.day!, of.hour!, of.minute!, of.second!) - Math.floor(time / 1000) * 1000
}

/** The local time of `time`, if the clocks show it twice and the schedule runs it once; otherwise null. */
export function repeatedTime(timed: Timed, time: number): { shown: string; first: number } | null {
  if (timed.cron === null || readCron(timed.cron).everyHour) return null
  const zone = timed.time_zone
  const wall = time + offsetAt(zone, time)
  const offsets = [...new Set([offsetAt(zone, time - 24 * HOUR), offsetAt(zone, time + 24 * HOUR)])]
  const instants = instantsOf(zone, wall, offsets)
  return instants.length < 2 ? null : { shown: new Date(wall).toISOString().slice(0, 16), first: instants[0]! }
}

/** Whether Temporal started this run for a local time that the clocks skip; it runs at another time instead. */
export function isLeftOut(timed: Timed, time: number): boolean {
  if (timed.cron === null) return false
  const before = offsetAt(timed.time_zone, time - 3 * HOUR)
  if (offsetAt(timed.time_zone, time) <= before) return false
  const cron = readCron(timed.cron)
  return !matches(cron, time + offsetAt(timed.time_zone, time)) && matches(cron, time + before)
}

function matches(cron: Cron, wall: number): boolean {
  const date = new Date(wall)
  return isDay(cron, date) && cron.hours.includes(date.getUTCHours()) && cron.minutes.includes(date.getUTCMinutes())
}

/**
 * The expression in UTC, if a schedule runs in every hour of every day. In its own zone Temporal would skip some times when
 * clocks are set back in zones east of Greenwich. Null if there is no such form.
 */
export function inUtc(cron: string, zone: string, from = now()): string | null {
  const { minutes, hours, days, months, weekdays, eitherDay } = readCron(cron)
  const everyDay = eitherDay ? days.size === 31 || weekdays.size === 7 : days.size === 31 && weekdays.size === 7
  if (hours.length < 24 || months.size < 12 || !everyDay) return null
  const shifted = new Set<string>()
  for (let month = -1; month < 13; month += 1) {
    const offset = offsetAt(zone, from + month * 30 * DAY) / 60_000
    const moved = minutes.map((value) => (((value - offset) % 60) + 60) % 60)
    shifted.add(moved.sort((a, b) => a - b).join(','))
  }
  const [only] = shifted
  return shifted.size === 1 ? `${only} * * * *` : null
}
