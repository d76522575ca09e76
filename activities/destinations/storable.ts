// Text from the outside, made fit for a row.
import { TextDecoder } from 'node:util'

/**
 * Decodes bytes as the charset says, else as UTF-8. What PostgreSQL refuses or nobody can read (NUL, invalid
 * sequences, lone surrogates) becomes the replacement character.
 * @param cut the bytes end in the middle of something longer: half a character at the end is left out
 */
export function storableText(bytes: Buffer, { charset = 'utf-8', cut = false } = {}): string {
  return storable(decoderFor(charset).decode(bytes, { stream: cut }))
}

/** The same for text that has been decoded already, such as a header's. */
export function storable(text: string): string {
  return Buffer.from(text, 'utf8').toString('utf8').replaceAll('\u0000', '\ufffd')
}

/** The same for every text within a JSON value, keys included: jsonb refuses what `text` refuses, and more. */
export function storableJson<T>(value: T): T {
  const json = JSON.stringify(value)
  if (json === undefined) return value
  // Only what the escapes of JSON can hide needs the walk: nearly nothing does.
  if (!/\\u(0000|[dD][89abAB])/.test(json)) return value
  return JSON.parse(json, (_key, inner: unknown) => {
    if (typeof inner === 'string') return storable(inner)
    if (typeof inner !== 'object' || inner === null || Array.isArray(inner)) return inner
    return Object.fromEntries(Object.entries(inner).map(([key, each]) => [storable(key), each]))
  }) as T
}

function decoderFor(charset: string): TextDecoder {
  try {
    return new TextDecoder(charset)
  } catch {
    return new TextDecoder('utf-8')
  }
}
