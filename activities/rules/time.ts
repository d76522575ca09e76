// The time at which rules are evaluated, in any time zone.
import { LRUCache } from 'lru-cache'
import { Digits, type Exact } from './exact.ts'

export const TIME_PARTS = ['hour', 'weekday', 'date', 'time'] as const
export type TimePart = (typeof TIME_PARTS)[number]

export const WEEKDAYS = ['monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday'] as const

export interface Moment {
  /** `hour` 0 to 23, `weekday` as a word, `date` as 2026-01-15, `time` as 09:30. */
  part(part: TimePart, timeZone: string): Exact
}

export function momentOf(at: Date): Moment {
  const zones = new Map<string, Record<TimePart, Exact>>()
  return {
    part(part, timeZone) {
      let parts = zones.get(timeZone)
      if (!parts) {
        parts = partsOf(at, timeZone)
        zones.set(timeZone, parts)
      }
      return parts[part]
    },
  }
}

/** An IANA name such as Europe/Rome, or UTC. */
export function isTimeZone(name: string): boolean {
  try {
    formatFor(name)
    // Only newer versions of Node accept offsets such as +01:00.
    return /^[A-Za-z]/.test(name)
  } catch {
    return false
  }
}

/** There are some 600 names, but each may be written in upper and lower case in many ways. */
const formats = new LRUCache<string, Intl.DateTimeFormat>({ max: 1000 })

function formatFor(timeZone: string): Intl.DateTimeFormat {
  const known = formats.get(timeZone)
  if (known) return known
  const made = new Intl.DateTimeFormat('en-GB', {
    timeZone,
    hourCycle: 'h23',
    weekday: 'long',
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
    hour: '2-digit',
    minute: '2-digit',
  })
  formats.set(timeZone, made)
  return made
}

function partsOf(at: Date, timeZone: string): Record<TimePart, Exact> {
  const found = Object.fromEntries(
    formatFor(timeZone)
      .formatToParts(at)
      .map(({ type, value }) => [type, value]),
  )
  return {
    hour: new Digits(String(Number(found.hour))),
    weekday: found.weekday!.toLowerCase(),
    date: `${found.year!.padStart(4, '0')}-${found.month}-${found.day}`,
    time: `${found.hour}:${found.minute}`,
  }
}
