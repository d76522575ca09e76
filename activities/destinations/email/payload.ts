// A payload as a tree that keeps every digit of its numbers.
import { visit } from 'jsonc-parser'
import { isLosslessNumber, LosslessNumber, stringify } from 'lossless-json'

export type Json = null | boolean | string | LosslessNumber | Json[] | { [key: string]: Json }

/**
 * Of a key that occurs twice the last one counts, as everywhere here. jsonc-parser walks ten times as fast as lossless-json
 * parses, and others wait for the same processor.
 */
export function parsePayload(body: Buffer): Json {
  const text = body.toString('utf8')
  const root: Json[] = []
  const open: { container: Json[] | { [key: string]: Json }; key: string }[] = [{ container: root, key: '' }]

  function put(value: Json): void {
    const { container, key } = open.at(-1)!
    if (Array.isArray(container)) container.push(value)
    else if (key !== '__proto__') container[key] = value
    // An assignment would change what the object inherits from.
    else Object.defineProperty(container, key, { value, enumerable: true, configurable: true, writable: true })
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
      put(typeof value === 'number' ? new LosslessNumber(text.slice(offset, offset + length)) : value),
  })
  return root[0]!
}

export function isObject(value: Json | undefined): value is { [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !isLosslessNumber(value)
}

/** The value at `payload.items[0]`; undefined when there is none. */
export function valueAt(payload: Json, path: string): Json | undefined {
  const segments = path
    .replace(/\[(\d+)\]/g, '.$1')
    .split('.')
    .slice(1)
  return segments.reduce<Json | undefined>((value, segment) => {
    if (Array.isArray(value)) return /^\d+$/.test(segment) ? value[Number(segment)] : undefined
    return isObject(value) && Object.hasOwn(value, segment) ? value[segment] : undefined
  }, payload)
}

/** Text, and the digits of a number; what is nested is JSON again. */
export function textOf(value: Json): string {
  if (value === null) return ''
  if (typeof value === 'string') return value
  if (typeof value === 'object' && !isLosslessNumber(value)) return stringify(value) ?? ''
  return String(value)
}
