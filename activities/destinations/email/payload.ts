// A payload as a tree that keeps every digit of its numbers.
import { isLosslessNumber, type LosslessNumber, parse, stringify } from 'lossless-json'

export type Json = null | boolean | string | LosslessNumber | Json[] | { [key: string]: Json }

/** Of a key that occurs twice the last one counts, as everywhere here. */
export function parsePayload(body: Buffer): Json {
  return parse(body.toString('utf8'), null, { onDuplicateKey: ({ newValue }) => newValue }) as Json
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
