// Numbers by the digits that were sent. JavaScript compares doubles, in which 619919.09 is no multiple of 0.01 and
// 9007199254740993 equals …992. Here a number is its decimal digits and an exponent; nothing is ever written out, so that
// the cost is linear in the text of a number, whatever its exponent.
import { isLosslessNumber, type LosslessNumber } from 'lossless-json'
import { setKey } from '../document/tree.ts'
import { isObject, type Json, parseDocument } from '../formats/document.ts'

export interface Decimal {
  sign: -1 | 0 | 1
  /** Without zeros at either end. */
  digits: string
  /** Of the last digit. */
  exponent: number
}

/** What lies beyond is taken for the same: no number of anybody's has such an exponent. */
const MAX_EXPONENT = 1e15

/** Of a JSON number, or of what `String` makes of a double. */
export function decimalOf(text: string): Decimal {
  const [, minus, whole = '', fraction = '', power = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? []
  const all = whole + fraction
  let start = 0
  while (all[start] === '0') start += 1
  let end = all.length
  while (end > start && all[end - 1] === '0') end -= 1
  if (start === end) return { sign: 0, digits: '', exponent: 0 }
  const exponent = Math.max(-MAX_EXPONENT, Math.min(MAX_EXPONENT, Number(power)))
  return {
    sign: minus === '-' ? -1 : 1,
    digits: all.slice(start, end),
    exponent: exponent - fraction.length + all.length - end,
  }
}

/** The same text for equal numbers, and for no others. */
export function canonical({ sign, digits, exponent }: Decimal): string {
  return sign === 0 ? '0' : `${sign < 0 ? '-' : ''}${digits}e${exponent}`
}

/** Negative, 0 or positive, as `sort` wants it. */
export function compareDecimals(a: Decimal, b: Decimal): number {
  if (a.sign !== b.sign) return a.sign - b.sign
  const [x, y] = [a.digits.length + a.exponent, b.digits.length + b.exponent]
  if (x !== y) return x < y ? -a.sign : a.sign
  if (a.digits === b.digits) return 0
  return a.digits < b.digits ? -a.sign : a.sign
}

export function isWhole({ exponent }: Decimal): boolean {
  return exponent >= 0
}

/** Digits that are taken into a BigInt at once. */
const CHUNK = 15

/** Whether one number is a multiple of another; of 0, nothing but 0 is. */
export function isMultiple(value: Decimal, of: Decimal): boolean {
  if (value.sign === 0) return true
  if (of.sign === 0) return false
  const shift = value.exponent - of.exponent
  // Its last digit is none of the multiple's places.
  if (shift < 0) return false
  const divisor = BigInt(of.digits)
  let rest = 0n
  for (let at = 0; at < value.digits.length; at += CHUNK) {
    const chunk = value.digits.slice(at, at + CHUNK)
    rest = (rest * 10n ** BigInt(chunk.length) + BigInt(chunk)) % divisor
  }
  return (rest * powerOfTen(shift, divisor)) % divisor === 0n
}

function powerOfTen(exponent: number, modulus: bigint): bigint {
  let result = 1n % modulus
  let base = 10n % modulus
  for (let left = BigInt(exponent); left > 0n; left >>= 1n) {
    if (left & 1n) result = (result * base) % modulus
    base = (base * base) % modulus
  }
  return result
}

/** By the object or array that holds it: the text of each number that its double does not stand for. */
const texts = new WeakMap<object, Map<string | number, string>>()

/** Such a number may be in there: one of more digits than a double tells apart, or of an exponent beyond its range. */
const BEYOND_DOUBLES = /[0-9.]{16}|[0-9][eE][+-]?[0-9]{3}/

/** A value that may be one number by itself: it needs a holder. */
export interface Held {
  value: unknown
}

/** JSON as JavaScript has it, with the digits of its numbers kept for `digitsAt`. */
export function readNumbers(text: string): Held {
  if (!BEYOND_DOUBLES.test(text)) return { value: JSON.parse(text) }
  return holdNumbers(parseDocument(Buffer.from(text, 'utf8')))
}

/** The same of a document that was read already. */
export function holdNumbers(document: Json): Held {
  const held: Held = { value: undefined }
  held.value = asDoubles(document, held, 'value')
  return held
}

function asDoubles(value: Json, holder: object, key: string | number): unknown {
  if (isLosslessNumber(value)) return asDouble(value, holder, key)
  if (Array.isArray(value)) {
    const copy: unknown[] = []
    for (const [index, item] of value.entries()) copy.push(asDoubles(item, copy, index))
    return copy
  }
  if (!isObject(value)) return value
  const copy: { [key: string]: Json } = {}
  for (const [name, child] of Object.entries(value)) setKey(copy, name, asDoubles(child, copy, name) as Json)
  return copy
}

function asDouble({ value: text }: LosslessNumber, holder: object, key: string | number): number {
  const double = Number(text)
  if (BEYOND_DOUBLES.test(text)) {
    const known = texts.get(holder) ?? new Map<string | number, string>()
    known.set(key, text)
    texts.set(holder, known)
  }
  return double
}

/** The digits of the number that stands at a place; undefined where its double says all. */
export function digitsAt(holder: unknown, key: string | number | undefined): string | undefined {
  return typeof holder === 'object' && holder !== null ? texts.get(holder)?.get(key!) : undefined
}

/** A number at a place, by its digits. */
export function decimalAt(double: number, holder: unknown, key: string | number | undefined): Decimal {
  return decimalOf(digitsAt(holder, key) ?? String(double))
}

/** Whether two values are equal as JSON values: numbers by their digits, objects whatever the order of their keys. */
export function areEqual(a: Placed, b: Placed): boolean {
  const [x, y] = [a.value, b.value]
  if (typeof x === 'number' && typeof y === 'number') {
    const [left, right] = [digitsAt(a.holder, a.key), digitsAt(b.holder, b.key)]
    if (left === undefined && right === undefined) return x === y
    return canonical(decimalOf(left ?? String(x))) === canonical(decimalOf(right ?? String(y)))
  }
  if (typeof x !== 'object' || typeof y !== 'object' || x === null || y === null) return x === y
  if (Array.isArray(x) || Array.isArray(y)) {
    if (!Array.isArray(x) || !Array.isArray(y) || x.length !== y.length) return false
    return x.every((item, n) => areEqual({ value: item, holder: x, key: n }, { value: y[n], holder: y, key: n }))
  }
  const keys = Object.keys(x)
  if (keys.length !== Object.keys(y).length) return false
  return keys.every((key) => Object.hasOwn(y, key) && areEqual(childOf(x, key), childOf(y, key)))
}

/** A value and where it stands. */
export interface Placed {
  value: unknown
  holder: unknown
  key: string | number | undefined
}

function childOf(holder: object, key: string): Placed {
  return { value: (holder as Record<string, unknown>)[key], holder, key }
}

/** The same text for equal values, and for no others. */
export function canonicalText({ value, holder, key }: Placed): string {
  if (typeof value === 'number') return canonical(decimalAt(value, holder, key))
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if (Array.isArray(value)) {
    return `[${value.map((item, n) => canonicalText({ value: item, holder: value, key: n })).join(',')}]`
  }
  const keys = Object.keys(value).sort()
  return `{${keys.map((name) => `${JSON.stringify(name)}:${canonicalText(childOf(value, name))}`).join(',')}}`
}

/** JSON with the digits that were sent. */
export function exactJson({ value, holder, key }: Placed): string {
  if (typeof value === 'number') return digitsAt(holder, key) ?? String(value)
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if (Array.isArray(value)) {
    return `[${value.map((item, n) => exactJson({ value: item, holder: value, key: n })).join(',')}]`
  }
  const fields = Object.keys(value).map((name) => `${JSON.stringify(name)}:${exactJson(childOf(value, name))}`)
  return `{${fields.join(',')}}`
}
