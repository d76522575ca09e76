// Finds the times of a schedule that passed without a distribution and will not get one.
import { LIMITS } from '../../db/limits.ts'
import type { Missed, ScheduleRow } from '../../db/schedules/schedules.ts'
import { timesBetween } from './times.ts'

type Row = Pick<
  ScheduleRow,
  | 'cron'
  | 'interval_seconds'
  | 'time_zone'
  | 'overlap'
  | 'catchup_seconds'
  | 'accounted_at'
  | 'last_fired_at'
  | 'last_completed_at'
>

/** A run that starts later than this was delayed by an outage. */
const LATE_MS = 30_000
/** Upper bound of the count; more missed times are reported as this number. */
const MOST_COUNTED = 100_000
const SHOWN = 10
/** The end of a distribution is noticed after a part of its time, half a minute at most, and a moment more. */
const NOTICED_MS = { most: 30_000, moment: 2000 }

/** How far back missed times are made up: `catchup_seconds`, but no more times than the service allows at once. */
export function windowMs(
  row: Pick<Row, 'cron' | 'interval_seconds' | 'time_zone' | 'catchup_seconds'>,
  now: number,
): number {
  return Math.min(row.catchup_seconds * 1000, burstMs(row, now))
}

/** The period that contains as many scheduled times as may be made up at once. */
export function burstMs(row: Pick<Row, 'cron' | 'interval_seconds' | 'time_zone'>, now: number): number {
  const year = 365 * 86_400_000
  const most = LIMITS.timesMadeUp.value
  const times = timesBetween(row, now, now + year, most)
  return times.length < most ? year : times.at(-1)! - now
}

export interface Account {
  /** All times up to here have a distribution or were reported as missed. */
  accounted: Date
  /** Missed times that were not reported yet. */
  missed: Missed | null
  /** The present time is itself too old to be made up. */
  tooLate: boolean
}

/**
 * The missed times to report when the time `at` runs. `begun` is when Temporal began the run; it is `now` if somebody
 * requested a backfill.
 */
export function accountFor(row: Row, at: number, now: number, begun = now): Account {
  const accounted = row.accounted_at.getTime()
  // Temporal starts the times in order, so it never starts an older time that it skipped.
  const older = timesBetween(row, accounted, Math.min(now - windowMs(row, now), at - 1), MOST_COUNTED).filter(
    (time) => !metOverlap(row, time, now),
  )
  // The run waited too long for a worker.
  const tooLate = begun < now - burstMs(row, now)
  const own = tooLate && at > accounted ? [at] : []
  const left = tooLate || at <= accounted ? [] : leftOut(row, at, now)
  const reasons = [
    ...(older.length + own.length > 0
      ? [`older than catchup_seconds allows, or more than the last ${LIMITS.timesMadeUp.value}`]
      : []),
    ...(left.length > 0 ? [`the distribution before was not final yet (overlap: ${row.overlap})`] : []),
  ]
  const times = [...older, ...own, ...left]
  return {
    accounted: new Date(Math.max(accounted, at, left.at(-1) ?? 0)),
    missed: times.length === 0 ? null : missedOf(times, reasons.join('; '), now),
    tooLate,
  }
}

/** Whether the time came while the previous distribution was not final: `overlap` then requires to skip it. */
function metOverlap({ overlap, last_fired_at, last_completed_at }: Row, time: number, now: number): boolean {
  if (overlap === 'allow_all' || overlap === 'buffer_all' || last_fired_at === null) return false
  const began = last_fired_at.getTime()
  const ended = last_completed_at?.getTime() ?? now
  const noticed = ended + Math.min(NOTICED_MS.most, (ended - began) / 2) + NOTICED_MS.moment
  return time >= began && time <= noticed
}

/** After an outage Temporal asks the overlap policy about all missed times at once, which drops most of them. */
function leftOut(row: Row, at: number, now: number): number[] {
  // A run that was buffered until the previous distribution was final is late for that reason.
  if (now - at < LATE_MS || metOverlap(row, at, now)) return []
  if (row.overlap === 'skip') return timesBetween(row, at, now, MOST_COUNTED)
  // Temporal buffers the first of them.
  return row.overlap === 'buffer_one' ? timesBetween(row, at, now, MOST_COUNTED).slice(1) : []
}

function missedOf(times: number[], reason: string, now: number): Missed {
  const iso = (time: number) => new Date(time).toISOString()
  return {
    count: times.length,
    first: iso(times[0]!),
    last: iso(times.at(-1)!),
    times: times.slice(-SHOWN).map(iso),
    reason,
    at: iso(now),
  }
}
