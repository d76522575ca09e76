// Cron expressions of five fields. `cron-parser` reads them. They are checked here, because Temporal would report an
// error only later, and not to the request that sent the expression.
import { CronExpressionParser } from 'cron-parser'

/** The values of each field, in order. */
export interface Cron {
  minutes: number[]
  hours: number[]
  days: Set<number>
  months: Set<number>
  /** 0 is Sunday. */
  weekdays: Set<number>
  /** If both days of the month and days of the week are given, a day needs to match only one of them. */
  eitherDay: boolean
  /** The expression names no hours, so an hour that the clocks repeat counts twice. */
  everyHour: boolean
}

const FIELDS = [
  ['minute', '0 to 59'],
  ['hour', '0 to 23'],
  ['day of the month', '1 to 31'],
  ['month', '1 to 12 or jan to dec'],
  ['day of the week', '0 to 7 or sun to sat'],
] as const
/** The parser also accepts letters such as L, W and H, which Temporal does not support. */
const FIELD = /^(?:[\d*,/-]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|sun|mon|tue|wed|thu|fri|sat)+$/i

/** JavaScript also counts U+FEFF, no-break spaces and the like as blanks; other readers of cron do not. */
const STRANGE = /[^\t\x20-\x7e]/u
/** The last day of the shorter months; of February in a leap year. */
const LAST_DAY: Record<number, number> = { 2: 29, 4: 30, 6: 30, 9: 30, 11: 30 }

/** The problem of a cron expression, or undefined. */
export function cronIssue(expression: string): string | undefined {
  const strange = STRANGE.exec(expression)
  if (strange) return strangeIssue(expression.slice(0, strange.index), strange[0])
  const parts = expression.trim().split(/\s+/)
  if (parts.length !== FIELDS.length) {
    return 'must have five fields: minute, hour, day of the month, month, day of the week'
  }
  for (const [i, part] of parts.entries()) {
    const alone = FIELDS.map((_, j) => (i === j ? part : '*')).join(' ')
    if (!FIELD.test(part) || parsed(alone) === undefined) {
      const [name, range] = FIELDS[i]!
      return `has an invalid ${name}: "${part}"; allowed are ${range}, *, ranges such as 1-5, lists and steps such as */2`
    }
  }
  const [, , day, month] = parts
  if (!hasDay(parts)) return `has a day of the month that never comes: "${day}" with the month "${month}"`
  return parsed(expression) === undefined ? 'cannot be read' : undefined
}

function strangeIssue(before: string, character: string): string {
  const at = before.trimStart().split(/[\t ]+/).length - 1
  const [name] = FIELDS[Math.min(at, FIELDS.length - 1)]!
  const code = character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')
  return `has an invalid ${name}: it contains the character U+${code}`
}

/** Whether one of the months has one of the days, or the day of the week is enough. */
function hasDay([, , day, month, weekday]: string[]): boolean {
  if (isEitherDay(day!, weekday!)) return true
  const first = Math.min(...numbers(parsed(`0 0 ${day} * *`)!.dayOfMonth.values))
  const months = numbers(parsed(`0 0 * ${month} *`)!.month.values)
  return months.some((each) => first <= (LAST_DAY[each] ?? 31))
}

// A day field that begins with `*` does not count as given, also with a step: both fields must then match.
export function isEitherDay(day: string, weekday: string): boolean {
  return !day.startsWith('*') && !weekday.startsWith('*')
}

/** Reads an expression in which `cronIssue` finds nothing. */
export function readCron(expression: string): Cron {
  const fields = parsed(expression)
  if (fields === undefined) throw new Error(`not a cron expression: ${expression}`)
  const [, hour, day, , weekday] = expression.trim().split(/\s+/)
  const hours = numbers(fields.hour.values)
  return {
    minutes: numbers(fields.minute.values),
    hours,
    days: new Set(numbers(fields.dayOfMonth.values)),
    months: new Set(numbers(fields.month.values)),
    weekdays: new Set(numbers(fields.dayOfWeek.values).map((value) => value % 7)),
    eitherDay: isEitherDay(day!, weekday!),
    everyHour: hour!.startsWith('*') || hours.length === 24,
  }
}

function parsed(expression: string) {
  try {
    return CronExpressionParser.parse(expression, { tz: 'UTC' }).fields
  } catch {
    return undefined
  }
}

/** The parser's type also allows letters, which `FIELD` keeps out. */
function numbers(values: readonly unknown[]): number[] {
  return values.map(Number)
}
