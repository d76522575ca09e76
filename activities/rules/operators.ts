// The operators of conditions: each entry checks the value in the rule and creates the test.
import { canonicalDigits, compareDigits, Digits, type Exact } from './exact.ts'
import type { Path } from './paths.ts'
import { MAX_MATCHED_TEXT, type Pattern, readPattern } from './patterns.ts'
import { textSearch } from './text-search.ts'

/** The test was not tried, for this reason. */
export interface Untried {
  untried: string
}

/** The result; a text means false, with a reason that the values do not show. */
export type Answer = boolean | string | Untried

/** The remaining cost for all rules of one plan. */
export interface Work {
  left: number
}

/**
 * A unit is about 100 ns, one instruction of a pattern on one character; all units together take about a second. All tenants'
 * distributions are planned in the same process.
 */
const WORK = 10_000_000

export const freshWork = (): Work => ({ left: WORK })

/** If it returns false nothing is spent, so that a cheaper test may still be tried. */
export function spend(work: Work, units: number): boolean {
  if (units > work.left) return false
  work.left -= units
  return true
}

export const TOO_MUCH: Untried = { untried: 'was not tried: the rules cost too much in total' }

export type Test = (actual: Exact | undefined, work: Work) => Answer

export interface Operator {
  /** For the documentation. */
  about: string
  /** The test, or the problem of the value; `at` is the position of the problem in a list. */
  read(value: Exact | undefined, path: Path): Test | { issue: string; at?: number }
}

const MAX_LIST = 1000
const MAX_TEXT = 10_000
/** Digits before or after the decimal point; jsonb accepts some more. */
const MAX_DIGITS = 1000

/** The order of priorities, for comparisons such as `greater_than "normal"`. */
const RANKS: Record<string, number> = { low: 0, normal: 1, high: 2, critical: 3 }

function isScalar(value: Exact | undefined): value is string | boolean | null | Digits {
  return value === null || value instanceof Digits || typeof value === 'string' || typeof value === 'boolean'
}

function scalarIssue(value: Exact | undefined): string | undefined {
  if (value === undefined) return 'is required'
  if (!isScalar(value)) return 'must be a text, a number, true, false or null'
  if (typeof value === 'string' && value.length > MAX_TEXT) return `must have at most ${MAX_TEXT} characters`
  if (value instanceof Digits && !isStorable(value)) return `must be a number of at most ${MAX_DIGITS} digits`
  return undefined
}

function isStorable({ text }: Digits): boolean {
  const [digits = '', exponent = '0'] = text.toLowerCase().split('e')
  return digits.length <= MAX_DIGITS && Math.abs(Number(exponent)) <= MAX_DIGITS
}

/** Rejects a value that the path can never have: the rule would never match, or always. */
function impossible(value: Exact, path: Path): string | undefined {
  if (path.root === 'priority' && !(typeof value === 'string' && Object.hasOwn(RANKS, value))) {
    return `must be one of ${Object.keys(RANKS).join(', ')}`
  }
  if (path.root === 'data_type' || path.root === 'tenant_id') {
    return typeof value === 'string' ? undefined : 'must be a text'
  }
  if (path.root !== 'time') return undefined
  switch (path.steps[0]) {
    case 'hour':
      return value instanceof Digits && /^(\d|1\d|2[0-3])$/.test(value.text)
        ? undefined
        : 'must be a whole number from 0 to 23'
    case 'weekday':
      return typeof value === 'string' && /^(mon|tues|wednes|thurs|fri|satur|sun)day$/.test(value)
        ? undefined
        : 'must be a weekday in English and lower case, such as "monday"'
    case 'date':
      return typeof value === 'string' && isDay(value) ? undefined : 'must be a day such as "2026-01-15"'
    default:
      return typeof value === 'string' && /^([01]\d|2[0-3]):[0-5]\d$/.test(value)
        ? undefined
        : 'must be a time of day from "00:00" to "23:59"'
  }
}

function isDay(text: string): boolean {
  return /^\d{4}-\d\d-\d\d$/.test(text) && new Date(`${text}T00:00:00Z`).toJSON()?.slice(0, 10) === text
}

function same(a: Exact | undefined, b: Exact): boolean {
  if (!(a instanceof Digits && b instanceof Digits)) return a === b
  return a.text === b.text || compareDigits(a, b) === 0
}

function nameOf(value: Exact | undefined): string {
  if (value === undefined) return 'missing'
  if (value === null) return 'null'
  if (value instanceof Digits) return 'a number'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'an object'
  return typeof value === 'boolean' ? 'true or false' : 'a text'
}

function equality(holds: (same: boolean) => boolean, about: string): Operator {
  return {
    about,
    read(value, path) {
      const issue = scalarIssue(value) ?? impossible(value as Exact, path)
      return issue ? { issue } : (actual) => holds(same(actual, value as Exact))
    },
  }
}

function membership(holds: (found: boolean) => boolean, about: string): Operator {
  return {
    about,
    read(value, path) {
      if (!Array.isArray(value) || value.length === 0) return { issue: 'must be a list with at least one entry' }
      if (value.length > MAX_LIST) return { issue: `must have at most ${MAX_LIST} entries` }
      for (const [at, entry] of value.entries()) {
        const issue = scalarIssue(entry) ?? impossible(entry, path)
        if (issue) return { issue, at }
      }
      const others = new Set<Exact | undefined>(value.filter((entry) => !(entry instanceof Digits)))
      const numbers = new Set(value.flatMap((entry) => (entry instanceof Digits ? [canonicalDigits(entry)] : [])))
      return (actual) =>
        holds(actual instanceof Digits ? numbers.size > 0 && numbers.has(canonicalDigits(actual)) : others.has(actual))
    },
  }
}

/** Compares numbers by all digits, texts by character (so ISO 8601 times of the same form work), priorities by rank. */
function ordering(path: Path, bound: Exact): { issue: string } | ((actual: Exact | undefined) => number | string) {
  const issue = impossible(bound, path)
  if (issue) return { issue }
  if (path.root === 'priority') return (actual) => RANKS[actual as string]! - RANKS[bound as string]!
  if (path.root === 'time' && path.steps[0] === 'weekday') return { issue: 'weekdays have no order; use "in"' }
  if (bound instanceof Digits) {
    return (actual) => (actual instanceof Digits ? compareDigits(actual, bound) : `is ${nameOf(actual)}, not a number`)
  }
  if (typeof bound === 'string') {
    return (actual) => {
      if (typeof actual !== 'string') return `is ${nameOf(actual)}, not a text`
      return actual < bound ? -1 : actual > bound ? 1 : 0
    }
  }
  return { issue: 'must be a number or a text' }
}

function comparison(holds: (order: number) => boolean, about: string): Operator {
  return {
    about,
    read(value, path) {
      const issue = scalarIssue(value)
      if (issue) return { issue }
      const order = ordering(path, value as Exact)
      if ('issue' in order) return order
      return (actual) => {
        const found = order(actual)
        return typeof found === 'string' ? found : holds(found)
      }
    },
  }
}

function textual(holds: (actual: string, value: string) => boolean, about: string): Operator {
  return {
    about,
    read(value) {
      const issue = scalarIssue(value) ?? textIssue(value as Exact)
      if (issue) return { issue }
      return (actual) =>
        typeof actual === 'string' ? holds(actual, value as string) : `is ${nameOf(actual)}, not a text`
    },
  }
}

function textIssue(value: Exact): string | undefined {
  if (typeof value !== 'string') return 'must be a text'
  return value === '' ? 'must not be empty: every text would match' : undefined
}

export const OPERATORS = {
  equal: equality((is) => is, 'The value itself: `1` equals `1.0`, and never `"1"`'),
  not_equal: equality((is) => !is, 'Any other value, also no value'),
  in: membership((found) => found, 'One of a list'),
  not_in: membership((found) => !found, 'None of a list; also true if there is no value'),
  greater_than: comparison(
    (order) => order > 0,
    'Numbers by all digits, texts by their characters, priorities by rank',
  ),
  greater_than_or_equal: comparison((order) => order >= 0, 'As `greater_than`'),
  less_than: comparison((order) => order < 0, 'As `greater_than`'),
  less_than_or_equal: comparison((order) => order <= 0, 'As `greater_than`'),
  between: {
    about: 'Both ends count: `[low, high]`',
    read(value, path) {
      if (!Array.isArray(value) || value.length !== 2) return { issue: 'must be a list of two: [low, high]' }
      const bounds = value.map((bound) => {
        if (!isScalar(bound)) return { issue: 'must be a number or a text' }
        const issue = scalarIssue(bound)
        return issue ? { issue } : ordering(path, bound)
      })
      for (const [at, bound] of bounds.entries()) if ('issue' in bound) return { issue: bound.issue, at }
      const [low, high] = bounds as ((actual: Exact | undefined) => number | string)[]
      const width = high!(value[0])
      if (typeof width === 'string') return { issue: 'must be two numbers or two texts' }
      if (width > 0) return { issue: 'must not begin above its end; for the time around midnight use "any" of two' }
      return (actual) => {
        const found = low!(actual)
        return typeof found === 'string' ? found : found >= 0 && (high!(actual) as number) <= 0
      }
    },
  },
  contains: {
    about: 'A text within a text, or an entry of a list',
    read(value) {
      const issue = scalarIssue(value) ?? (typeof value === 'string' ? textIssue(value) : undefined)
      if (issue) return { issue }
      const isWithin = typeof value === 'string' ? textSearch(value) : () => false
      return (actual, work) => {
        if (Array.isArray(actual)) {
          return spend(work, actual.length * 2) ? actual.some((entry) => same(entry, value as Exact)) : TOO_MUCH
        }
        if (typeof actual === 'string') {
          if (!spend(work, actual.length / 8)) return TOO_MUCH
          return isWithin(actual)
        }
        return `is ${nameOf(actual)}, neither a text nor a list`
      }
    },
  },
  starts_with: textual((actual, value) => actual.startsWith(value), 'The beginning of a text'),
  ends_with: textual((actual, value) => actual.endsWith(value), 'The end of a text'),
  matches: {
    about: `An RE2 pattern, found anywhere in a text of at most ${MAX_MATCHED_TEXT} characters`,
    read(value) {
      const issue = scalarIssue(value) ?? textIssue(value as Exact)
      if (issue) return { issue }
      const pattern = readPattern(value as string)
      return 'issue' in pattern ? pattern : (actual, work) => matches(actual, pattern, work)
    },
  },
  exists: {
    about: '`true`: there is a value, even null; `false`: there is none',
    read(value) {
      if (typeof value !== 'boolean') return { issue: 'must be true or false' }
      return (actual) => (actual !== undefined) === value
    },
  },
} satisfies Record<string, Operator>

function matches(actual: Exact | undefined, pattern: Pattern, work: Work): Answer {
  if (typeof actual !== 'string') return `is ${nameOf(actual)}, not a text`
  if (actual.length > MAX_MATCHED_TEXT) {
    return { untried: `is longer than ${MAX_MATCHED_TEXT} characters and was not tried` }
  }
  return spend(work, pattern.program * (actual.length + 1)) ? pattern.found(actual) : TOO_MUCH
}

export type OperatorName = keyof typeof OPERATORS
export const OPERATOR_NAMES = Object.keys(OPERATORS) as OperatorName[]
