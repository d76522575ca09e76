// A JSON document as a tree in which no number loses a digit.
import { visit } from 'jsonc-parser'
import { isLosslessNumber, LosslessNumber } from 'lossless-json'

/** A number whose text JavaScript would write otherwise (`1.0`, 64-bit integers) keeps that text. */
export type Json = null | boolean | string | number | LosslessNumber | Json[] | { [key: string]: Json }

/** What a document can not be made into, in words that hold nothing of it but paths and keys. */
export class FormatError extends Error {}

/**
 * Of a key that occurs twice the last one counts, as everywhere here. jsonc-parser walks ten times as fast as lossless-json
 * parses, and others wait for the same processor.
 */
export function parseDocument(body: Buffer): Json {
  const text = body.toString('utf8')
  const root: Json[] = []
  const open: { container: Json[] | { [key: string]: Json }; key: string }[] = [{ container: root, key: '' }]

  function put(value: Json): void {
    const { container, key } = open.at(-1)!
    if (Array.isArray(container)) container.push(value)
    else setKey(container, key, value)
  }

  function begin(container: Json[] | { [key: string]: Json }): void {
    put(container)
    open.push({ container, key: '' })
  }

  visit(text, {
    onObjectBegin: () => begin({}),
    onObjectProperty: (name) => {
      open.at(-1)!.key = name
    },
    onObjectEnd: () => void open.pop(),
    onArrayBegin: () => begin([]),
    onArrayEnd: () => void open.pop(),
    onLiteralValue: (value, offset, length) =>
      put(typeof value === 'number' ? numberOf(text.slice(offset, offset + length), value) : value),
  })
  return root[0]!
}

function numberOf(text: string, value: number): number | LosslessNumber {
  return String(value) === text ? value : new LosslessNumber(text)
}

/** An assignment to `__proto__` would change what the object inherits from. */
export function setKey(container: { [key: string]: Json }, key: string, value: Json): void {
  if (key !== '__proto__') container[key] = value
  else Object.defineProperty(container, key, { value, enumerable: true, configurable: true, writable: true })
}

export function isObject(value: Json | undefined): value is { [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !isLosslessNumber(value)
}

/** Text, and the digits of a number; what is nested is JSON again. */
export function textOf(value: Json): string {
  if (value === null) return ''
  if (typeof value === 'string') return value
  if (typeof value === 'object' && !isLosslessNumber(value)) return toJson(value)
  return String(value)
}

/** JSON without white space, every number as it is. */
export function toJson(value: Json): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if (isLosslessNumber(value)) return value.value
  if (Array.isArray(value)) return `[${value.map(toJson).join(',')}]`
  const fields = Object.entries(value).map(([key, child]) => `${JSON.stringify(key)}:${toJson(child)}`)
  return `{${fields.join(',')}}`
}
