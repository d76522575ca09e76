// Documents for a JSON Schema validator, which supports only doubles: the digits that a double loses are stored separately.
import { isLosslessNumber, type LosslessNumber } from 'lossless-json'
import { canonical, type Decimal, decimalOf } from '../document/decimal.ts'
import { setKey } from '../document/tree.ts'
import { isObject, type Json, parseDocument } from '../formats/document.ts'

/** The text of each number that a double does not hold exactly, by the object or array that contains it. */
const texts = new WeakMap<object, Map<string | number, string>>()

/** A number that a double may not hold: one of too many digits, or with an exponent beyond its range. */
const BEYOND_DOUBLES = /[0-9.]{16}|[0-9][eE][+-]?[0-9]{3}/

/** A document that may be a single number, which needs a holder too. */
export interface Held {
  value: unknown
}

/** Parses JSON to JavaScript values, and keeps the digits of its numbers for `digitsAt`. */
export function readNumbers(text: string): Held {
  if (!BEYOND_DOUBLES.test(text)) return { value: JSON.parse(text) }
  return holdNumbers(parseDocument(Buffer.from(text, 'utf8')))
}

/** The same for a parsed document. */
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

/** The digits of the number at a position; undefined when its double is exact. */
export function digitsAt(holder: unknown, key: string | number | undefined): string | undefined {
  return typeof holder === 'object' && holder !== null ? texts.get(holder)?.get(key!) : undefined
}

/** The number at a position, by its digits. */
export function decimalAt(double: number, holder: unknown, key: string | number | undefined): Decimal {
  return decimalOf(digitsAt(holder, key) ?? String(double))
}

/** Whether two JSON values are equal: numbers by their digits, objects regardless of the order of keys. */
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

/** A value and its position. */
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

/** JSON with the original digits. */
export function exactJson({ value, holder, key }: Placed): string {
  if (typeof value === 'number') return digitsAt(holder, key) ?? String(value)
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if (Array.isArray(value)) {
    return `[${value.map((item, n) => exactJson({ value: item, holder: value, key: n })).join(',')}]`
  }
  const fields = Object.keys(value).map((name) => `${JSON.stringify(name)}:${exactJson(childOf(value, name))}`)
  return `{${fields.join(',')}}`
}
