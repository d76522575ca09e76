// Cron expressions of five fields: read by `cron-parser`, and checked here before Temporal sees them, which would answer
// later and to nobody.
import { CronExpressionParser } from 'cron-parser'

/** The values that each field asks for, in order. */
export interface Cron {
  minutes: number[]
  hours: number[]
  days: Set<number>
  months: Set<number>
  /** 0 is Sunday. */
  weekdays: Set<number>
  /** With days of the month and of the week both given, either is enough. */
  eitherDay: boolean
  /** It does not ask for hours of the day, so that an hour that the clocks repeat counts twice. */
  everyHour: boolean
}

const FIELDS = [
  ['minute', '0 to 59'],
  ['hour', '0 to 23'],
  ['day of the month', '1 to 31'],
  ['month', '1 to 12 or jan to dec'],
  ['day of the week', '0 to 7 or sun to sat'],
] as const
/** The parser also takes letters such as L, W and H, which Temporal does not know. */
const FIELD = /^(?:[\d*,/-]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|sun|mon|tue|wed|thu|fri|sat)+$/i

/** What is wrong with a cron expression, or undefined. */
export function cronIssue(expression: string): string | undefined {
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
  return parsed(expression) === undefined ? 'never comes: none of its months has one of its days' : undefined
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
    eitherDay: !day!.startsWith('*') && !weekday!.startsWith('*'),
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
