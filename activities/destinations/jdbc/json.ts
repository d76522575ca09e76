// JSON whose numbers keep every digit.
import { LosslessNumber, parse } from 'lossless-json'

/**
 * Of a key that occurs twice the last one counts, as for PostgreSQL's jsonb.
 * @throws SyntaxError, or RangeError for what is nested too deeply
 */
export function parseJson(text: string): unknown {
  return parse(text, null, { onDuplicateKey: ({ newValue }) => newValue })
}

/** By what made it: a payload may hold an object that merely looks like one. */
export function isNumber(value: unknown): value is LosslessNumber {
  return value instanceof LosslessNumber
}

/** Without white space. */
export function jsonText(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if (isNumber(value)) return value.value
  if (Array.isArray(value)) return `[${value.map(jsonText).join(',')}]`
  return `{${Object.entries(value)
    .map(([key, item]) => `${JSON.stringify(key)}:${jsonText(item)}`)
    .join(',')}}`
}
