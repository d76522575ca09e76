// Conditions: `all`, `any` and `not` around tests of one value each. A parsed condition can always be evaluated. If parsing fails,
// the issues say where and why.
import { closest, distance } from 'fastest-levenshtein'
import { Digits, type Exact } from './exact.ts'
import { OPERATOR_NAMES, OPERATORS, type Operator, type OperatorName, type Test } from './operators.ts'
import { type Path, readPath } from './paths.ts'
import { isTimeZone } from './time.ts'

export interface Leaf {
  kind: 'leaf'
  path: Path
  operator: OperatorName
  value: Exact
  timeZone: string
  test: Test
}
export type Condition = Leaf | { kind: 'all' | 'any'; of: Condition[] } | { kind: 'not'; of: [Condition] }

export interface Issue {
  path: (string | number)[]
  issue: string
}

const MAX_DEPTH = 10
const MAX_LEAVES = 200
/** Each pattern takes a millisecond to compile, and 40 kB. */
const MAX_PATTERNS = 20

export interface ReadConditions {
  condition: Condition
  leaves: Leaf[]
}

/** The conditions of a rule, or all of their problems. `{}` always holds. */
export function readConditions(given: Exact | undefined): ReadConditions | { issues: Issue[] } {
  const reader: Reader = { issues: [], leaves: [], patterns: 0 }
  if (isObject(given) && Object.keys(given).length === 0) return { condition: { kind: 'all', of: [] }, leaves: [] }
  const condition = readOne(given, [], 1, reader)
  if (reader.leaves.length > MAX_LEAVES) {
    reader.issues.push({ path: [], issue: `must have at most ${MAX_LEAVES} conditions in all` })
  }
  if (reader.patterns > MAX_PATTERNS) {
    reader.issues.push({ path: [], issue: `must have at most ${MAX_PATTERNS} patterns in all; one may say a|b|c` })
  }
  if (!condition || reader.issues.length > 0) return { issues: reader.issues.slice(0, 100) }
  return { condition, leaves: reader.leaves }
}

interface Reader {
  issues: Issue[]
  leaves: Leaf[]
  patterns: number
}

const GROUPS = ['all', 'any', 'not'] as const
const FIELDS = ['path', 'operator', 'value', 'time_zone'] as const

function readOne(given: Exact | undefined, path: Issue['path'], depth: number, reader: Reader): Condition | undefined {
  const fail = (issue: string, ...below: Issue['path']) => {
    reader.issues.push({ path: [...path, ...below], issue })
    return undefined
  }
  if (!isObject(given)) return fail('must be an object: all, any, not, or a path with an operator')
  if (depth > MAX_DEPTH) return fail(`is nested deeper than ${MAX_DEPTH}`)
  const keys = Object.keys(given)
  const groups = GROUPS.filter((group) => keys.includes(group))
  if (groups.length === 0) return readLeaf(given, keys, fail, reader)
  const group = groups[0]!
  if (keys.length > 1)
    return fail(
      `must stand alone, and has ${keys
        .filter((key) => key !== group)
        .join(', ')
        .slice(0, 100)} beside it`,
      group,
    )
  const inner = given[group]
  if (group === 'not') {
    const of = readOne(inner, [...path, 'not'], depth + 1, reader)
    return of && { kind: 'not', of: [of] }
  }
  if (!Array.isArray(inner) || inner.length === 0) return fail('must be a list with at least one condition', group)
  const of = inner.map((one, index) => readOne(one, [...path, group, index], depth + 1, reader))
  return of.every((one) => one !== undefined) ? { kind: group, of } : undefined
}

function readLeaf(
  given: { [key: string]: Exact },
  keys: string[],
  fail: (issue: string, ...below: Issue['path']) => undefined,
  reader: Reader,
): Leaf | undefined {
  for (const key of keys) {
    if (!(FIELDS as readonly string[]).includes(key)) fail(unknown(key, [...FIELDS, ...GROUPS], 'field'), key)
  }
  const { path: pathText, operator: name, value, time_zone: zone } = given
  let found: Path | undefined
  if (typeof pathText !== 'string') fail(pathText === undefined ? 'is required' : 'must be a text', 'path')
  else {
    const path = readPath(pathText)
    if ('issue' in path) fail(path.issue, 'path')
    else found = path
  }
  if (zone !== undefined) {
    if (found && found.root !== 'time') fail('has a meaning only for paths that begin with time', 'time_zone')
    if (typeof zone !== 'string' || !isTimeZone(zone))
      fail('must be the name of a time zone, such as "Europe/Rome"', 'time_zone')
  }
  let test: Test | undefined
  if (typeof name !== 'string') fail(name === undefined ? 'is required' : 'must be a text', 'operator')
  else if (!isOperator(name)) fail(unknown(name, OPERATOR_NAMES, 'operator'), 'operator')
  else if (found && !(name === 'matches' && ++reader.patterns > MAX_PATTERNS)) {
    const operator: Operator = OPERATORS[name]
    const read = operator.read(value, found)
    if (typeof read === 'function') test = read
    else fail(read.issue, 'value', ...(read.at === undefined ? [] : [read.at]))
  }
  if (!found || !test) return undefined
  const timeZone = typeof zone === 'string' ? zone : 'UTC'
  const leaf: Leaf = {
    kind: 'leaf',
    path: found,
    operator: name as OperatorName,
    value: value as Exact,
    timeZone,
    test,
  }
  reader.leaves.push(leaf)
  return leaf
}

function isOperator(name: string): name is OperatorName {
  return Object.hasOwn(OPERATORS, name)
}

function isObject(given: Exact | undefined): given is { [key: string]: Exact } {
  return typeof given === 'object' && given !== null && !Array.isArray(given) && !(given instanceof Digits)
}

function unknown(name: string, known: readonly string[], what: string): string {
  const near = closest(name, known)
  const plausible = distance(name, near) <= Math.max(1, Math.floor(near.length / 2))
  return `is not a known ${what}${plausible ? `, did you mean ${JSON.stringify(near)}?` : `: ${known.join(', ')}`}`
}
