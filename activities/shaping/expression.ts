// JSONata: checked when it is written, bounded in depth and size when it is run; its time is bounded by the process that it
// runs in. It reaches nothing but the document and a few words about the distribution.

import jsonata from 'jsonata'
import { isLosslessNumber, type LosslessNumber } from 'lossless-json'
import { isObject, type Json, setKey } from '../formats/document.ts'
import { remembered } from './remembered.ts'
import { ShapingError } from './shaping-error.ts'

/** Nested evaluations; each level of a function of one's own takes some four. */
const MAX_DEPTH = 1000
const MAX_SEQUENCE = 5_000_000
/** A repeat must be the same document, and text from a payload is never code. */
const REFUSED = new Set(['random', 'shuffle', 'eval'])

export interface ExpressionWords {
  tenant_id: string
  distribution_id: string
  data_type: string
  /** When the distribution was accepted; what `$now()` and `$millis()` answer on every attempt. */
  accepted_at: Date
}

/** What is wrong with an expression, and where; undefined when it can be run. */
export function expressionProblem(text: string): string | undefined {
  try {
    const refused = findRefused(jsonata(text).ast())
    if (!refused) return undefined
    const why = refused.name === 'eval' ? 'text may not become code' : 'a repeat must be the same document'
    return `uses $${refused.name} at position ${refused.position}: ${why}`
  } catch (error) {
    return `is no JSONata: ${describe(error)}`
  }
}

/** Walks the syntax tree without recursion of ours being deeper than the parser's own. */
function findRefused(ast: unknown): { name: string; position: number } | undefined {
  const open: unknown[] = [ast]
  const seen = new Set<unknown>()
  for (let node = open.pop(); node !== undefined || open.length > 0; node = open.pop()) {
    if (typeof node !== 'object' || node === null || seen.has(node)) continue
    seen.add(node)
    const { type, value, position } = node as { type?: unknown; value?: unknown; position?: unknown }
    if (type === 'variable' && typeof value === 'string' && REFUSED.has(value)) {
      return { name: value, position: Number(position ?? 0) }
    }
    open.push(...Object.values(node))
  }
  return undefined
}

const compile = remembered((text) => {
  // What was written past the API was checked by nobody.
  const problem = expressionProblem(text)
  if (problem) throw new ShapingError('expression', problem)
  return jsonata(text, { stack: MAX_DEPTH, sequence: MAX_SEQUENCE })
})

/**
 * Numbers are doubles in there. One that passes through unchanged has all its digits afterwards; what is computed has what
 * a double holds, in its shortest form.
 * @throws ShapingError
 */
export async function evaluated(text: string, document: Json, words: ExpressionWords): Promise<Json> {
  const numbers = new Map<number, LosslessNumber | null>()
  const input = asDoubles(document, numbers)
  if (numbers.size > 0) noteTwins(document, numbers)
  const { accepted_at, ...distribution } = words
  const expression = compile(text)
  let result: unknown
  try {
    result = await expression.evaluate(input, {
      distribution,
      now: nowAt(accepted_at),
      millis: () => accepted_at.getTime(),
    })
  } catch (error) {
    throw new ShapingError('expression', describe(error))
  }
  if (result === undefined) throw new ShapingError('expression', 'finds nothing')
  return withDigits(result, numbers)
}

const NOW = jsonata('$fromMillis($at, $picture, $zone)')

function nowAt(time: Date) {
  return (picture?: string, zone?: string) =>
    picture === undefined && zone === undefined
      ? time.toISOString()
      : NOW.evaluate(null, { at: time.getTime(), picture, zone })
}

/** Notes every number that a double changes; null where one double stands for two of them. */
function asDoubles(value: Json, numbers: Map<number, LosslessNumber | null>): unknown {
  if (Array.isArray(value)) return value.map((item) => asDoubles(item, numbers))
  if (isLosslessNumber(value)) {
    const double = Number(value.value)
    if (digitsOf(value.value) !== digitsOf(String(double))) {
      const other = numbers.get(double)
      const same = other === undefined || (other !== null && digitsOf(other.value) === digitsOf(value.value))
      numbers.set(double, same ? value : null)
    }
    return double
  }
  if (!isObject(value)) return value
  const copy: { [key: string]: Json } = {}
  for (const [key, child] of Object.entries(value)) setKey(copy, key, asDoubles(child, numbers) as Json)
  return copy
}

/** A double that stands for itself somewhere and for another number elsewhere stands for two as well. */
function noteTwins(value: Json, numbers: Map<number, LosslessNumber | null>): void {
  if (typeof value === 'number') {
    if (numbers.has(value)) numbers.set(value, null)
  } else if (isLosslessNumber(value)) {
    const double = Number(value.value)
    if (numbers.has(double) && digitsOf(value.value) === digitsOf(String(double))) numbers.set(double, null)
  } else if (Array.isArray(value)) {
    for (const item of value) noteTwins(item, numbers)
  } else if (isObject(value)) {
    for (const child of Object.values(value)) noteTwins(child, numbers)
  }
}

function withDigits(value: unknown, numbers: Map<number, LosslessNumber | null>): Json {
  switch (typeof value) {
    case 'number': {
      const before = numbers.get(value)
      if (before) return before
      if (before === null) {
        throw new ShapingError(
          'expression',
          'two numbers of the payload differ in digits that an expression cannot hold',
        )
      }
      if (!Number.isFinite(value)) throw new ShapingError('expression', 'results in a number without end')
      return value
    }
    case 'string':
    case 'boolean':
      return value
    case 'object': {
      if (value === null) return null
      if (Array.isArray(value)) {
        return Array.from(value, (item) => withDigits(item === undefined ? null : item, numbers))
      }
      const copy: { [key: string]: Json } = {}
      for (const [key, child] of Object.entries(value)) {
        if (child !== undefined) setKey(copy, key, withDigits(child, numbers))
      }
      if (isFunction(value)) throw new ShapingError('expression', 'results in a function')
      return copy
    }
    default:
      throw new ShapingError('expression', 'results in a function')
  }
}

/** How JSONata marks its own functions. */
function isFunction(value: object): boolean {
  return '_jsonata_function' in value || '_jsonata_lambda' in value
}

/** Significant digits and the exponent of the last one: equal for equal decimals. */
function digitsOf(text: string): string {
  const [, sign, whole, fraction = '', exponent = '0'] = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? []
  if (whole === undefined) return text
  const all = `${whole}${fraction}`.replace(/^0+/, '')
  const digits = all.replace(/0+$/, '')
  if (digits === '') return '0'
  return `${sign}${digits}e${Number(exponent) - fraction.length + all.length - digits.length}`
}

/** JSONata's own messages quote values; these do not. A token is a piece of the expression. */
function describe(error: unknown): string {
  const { code, position, token } = error as { code?: unknown; position?: unknown; token?: unknown }
  if (error instanceof RangeError) return 'nests too deep'
  if (typeof code !== 'string' || !/^[A-Z]\d{4}$/.test(code)) return 'fails'
  const what = WORDS[code] ?? KINDS[code[0]!] ?? 'fails'
  const near = typeof token === 'string' && token.length <= 50 ? ` near ${JSON.stringify(token)}` : ''
  const at = typeof position === 'number' ? ` at position ${position}` : ''
  return `${what}${near}${at} (${code})`
}

const KINDS: Record<string, string> = {
  S: 'syntax error',
  T: 'a value of the wrong type',
  D: 'cannot be evaluated',
}

const WORDS: Record<string, string> = {
  S0101: 'a string has no end',
  S0102: 'a number is out of range',
  S0201: 'syntax error',
  S0202: 'something else was expected',
  S0203: 'ends too early',
  S0204: 'unknown operator',
  S0207: 'ends too early',
  S0302: 'a regular expression has no end',
  D1001: 'a number is out of range',
  D1011: 'nests too deep',
  D2014: 'makes a list that is too long',
  D2015: 'makes a list that is too long',
  D3137: 'called $error',
  D3141: 'an $assert does not hold',
  T1005: 'calls what is no function',
  T1006: 'calls what is no function',
  T2001: 'computes with what is no number',
  T2002: 'computes with what is no number',
}
