// JSONata expressions: checked when they are stored, and evaluated in a realm of their own (realm/), which bounds depth and size.
// The shaping process bounds the time. An expression can only use the document and a few facts about the distribution.
import { isLosslessNumber, LosslessNumber } from 'lossless-json'
import { setKey } from '../document/tree.ts'
import { isObject, type Json, toJson } from '../formats/document.ts'
import { evaluatedInRealm, type Fault, judgedInRealm, singlesInRealm } from './realm/realm.ts'
import { ShapingError } from './shaping-error.ts'

export interface ExpressionWords {
  tenant_id: string
  distribution_id: string
  data_type: string
  /** When the distribution was accepted: the result of `$now()` and `$millis()` on every attempt. */
  accepted_at: Date
}

/** The problem of an expression, with its position; undefined if it can be evaluated. */
export function expressionProblem(text: string): string | undefined {
  const { refused, syntax, failed } = judgedInRealm(text)
  const fault = syntax ?? failed
  if (fault) return `is not JSONata: ${describe(fault)}`
  return typeof refused === 'string' ? refused : undefined
}

const STUCK = 'never ends: it waits for an object with a function named "then", which JavaScript takes for a promise'

/**
 * In an expression, numbers are doubles. An unchanged number keeps all its digits; a computed one has the digits of a double, in
 * the shortest form. It is an error to compute with a whole number that a double cannot hold, or to convert it to text.
 * @param warnings collects possible surprises; finding them costs a second evaluation
 * @throws ShapingError
 */
export function evaluated(text: string, document: Json, words: ExpressionWords, warnings?: string[]): Json {
  const numbers = new Map<number, LosslessNumber | null>()
  const input = asDoubles(document, numbers)
  if (numbers.size > 0) noteTwins(document, numbers)
  const { accepted_at, ...distribution } = words
  const about = JSON.stringify({ distribution, accepted_at: accepted_at.getTime() })
  const json = toJson(input)
  const { result, nothing, failed, stuck } = evaluatedInRealm(text, json, about, changedIn(numbers))
  if (stuck) throw new ShapingError('expression', STUCK)
  if (failed) throw new ShapingError('expression', describe(failed))
  if (nothing || typeof result !== 'string') throw new ShapingError('expression', 'finds nothing')
  const output = JSON.parse(result) as unknown
  refuseChanged(output, document, numbers)
  if (warnings) for (const path of singlesInRealm(text, json, about)) warnings.push(becameOne(path))
  return withDigits(output, numbers)
}

function becameOne(path: string): string {
  return `expression: ${path} found one value in a list and is that value, not a list; write ${path}[] to keep it a list`
}

/** Collects every number that a double changes; null if two of them have the same double. */
function asDoubles(value: Json, numbers: Map<number, LosslessNumber | null>): Json {
  if (Array.isArray(value)) return value.map((item) => asDoubles(item, numbers))
  if (isLosslessNumber(value)) {
    const double = Number(value.value)
    if (digitsOf(value.value) !== digitsOf(String(double))) {
      const other = numbers.get(double)
      const same = other === undefined || (other !== null && digitsOf(other.value) === digitsOf(value.value))
      numbers.set(double, same ? value : null)
    }
    return Number.isFinite(double) ? double : new LosslessNumber(double > 0 ? '1e999' : '-1e999')
  }
  if (!isObject(value)) return value
  const copy: { [key: string]: Json } = {}
  for (const [key, child] of Object.entries(value)) setKey(copy, key, asDoubles(child, numbers))
  return copy
}

/** The doubles whose original whole numbers have other digits, as JSON; empty if there are none. */
function changedIn(numbers: ReadonlyMap<number, unknown>): string {
  const whole = [...numbers.keys()].filter((double) => Number.isInteger(double) && Math.abs(double) >= UNSAFE[0])
  return whole.length > 0 ? JSON.stringify(whole) : ''
}

/** Sets null for a double that is an exact number in one place and replaces another number elsewhere. */
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

/** From 2^53 on, several whole numbers have the same double; beyond the second bound no number is an id. */
const UNSAFE = [2 ** 53, 2 ** 64] as const
/** Numbers of 16 and more digits, as JavaScript writes them. */
const LONG_NUMBER = /\d(?:\.?\d){15,}(?:e\+\d+)?/g

/**
 * If an expression converts such a whole number to text, or computes with it, the result has wrong digits; this is an error.
 * @throws ShapingError
 */
function refuseChanged(output: unknown, document: Json, numbers: Map<number, LosslessNumber | null>): void {
  const changed = new Set([...numbers.keys()].filter(Number.isInteger).map((double) => String(Math.abs(double))))
  let given: { texts: Set<string>; doubles: Set<number> } | undefined
  const isGiven = (value: string | number) => {
    given ??= givenIn(document)
    return typeof value === 'string' ? given.texts.has(value) : given.doubles.has(value)
  }
  const text = (value: string) => {
    if (changed.size === 0 || value.length < 16) return
    if (value.match(LONG_NUMBER)?.some((digits) => changed.has(digits)) && !isGiven(value)) {
      throw new ShapingError('expression', 'makes a text of a whole number of more digits than an expression can hold')
    }
  }
  const look = (value: unknown): void => {
    if (typeof value === 'string') text(value)
    else if (typeof value === 'number') {
      const size = Math.abs(value)
      if (!Number.isInteger(value) || size < UNSAFE[0] || size >= UNSAFE[1]) return
      if (!numbers.has(value) && !isGiven(value)) {
        throw new ShapingError('expression', 'computes a whole number of more digits than an expression can hold')
      }
    } else if (Array.isArray(value)) for (const item of value) look(item)
    else if (typeof value === 'object' && value !== null) {
      for (const [key, child] of Object.entries(value)) {
        text(key)
        look(child)
      }
    }
  }
  look(output)
}

/** The texts and numbers of the document itself; the result may contain them unchanged. */
function givenIn(document: Json): { texts: Set<string>; doubles: Set<number> } {
  const texts = new Set<string>()
  const doubles = new Set<number>()
  const look = (value: Json): void => {
    if (typeof value === 'string') texts.add(value)
    else if (typeof value === 'number') doubles.add(value)
    else if (isLosslessNumber(value)) doubles.add(Number(value.value))
    else if (Array.isArray(value)) for (const item of value) look(item)
    else if (isObject(value)) {
      for (const [key, child] of Object.entries(value)) {
        texts.add(key)
        look(child)
      }
    }
  }
  look(document)
  return { texts, doubles }
}

function withDigits(value: unknown, numbers: Map<number, LosslessNumber | null>): Json {
  if (typeof value === 'number') {
    const before = numbers.get(value)
    if (before) return before
    if (before === null) {
      throw new ShapingError('expression', 'two numbers of the payload differ in digits that an expression cannot hold')
    }
    if (!Number.isFinite(value)) throw new ShapingError('expression', 'results in an infinite number')
    return value
  }
  if (Array.isArray(value)) return value.map((item) => withDigits(item, numbers))
  if (typeof value !== 'object' || value === null) return value as string | boolean | null
  const copy: { [key: string]: Json } = {}
  for (const [key, child] of Object.entries(value)) setKey(copy, key, withDigits(child, numbers))
  return copy
}

/** The significant digits and the exponent of the last one: the same text for equal decimals. */
function digitsOf(text: string): string {
  const [, sign, whole, fraction = '', exponent = '0'] = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? []
  if (whole === undefined) return text
  const all = `${whole}${fraction}`.replace(/^0+/, '')
  const digits = all.replace(/0+$/, '')
  if (digits === '') return '0'
  return `${sign}${digits}e${Number(exponent) - fraction.length + all.length - digits.length}`
}

/** Describes an error without values of the payload, which JSONata's own messages quote. A token is part of the expression. */
function describe({ code, position, token, deep, refused, function: isFunction, number }: Fault): string {
  if (deep === true) return 'nests too deep'
  if (isFunction === true) return 'results in a function'
  if (number === true) return 'results in an infinite number'
  // An expression can throw an object with this field, so its length is limited.
  if (typeof refused === 'string') return refused.slice(0, 300)
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
  T1005: 'calls a value that is not a function',
  T1006: 'calls a value that is not a function',
  T2001: 'computes with a value that is not a number',
  T2002: 'computes with a value that is not a number',
}
