// Makes text from other systems storable in PostgreSQL.
import { TextDecoder } from 'node:util'

/**
 * Decodes bytes with the charset, or as UTF-8 if it is unknown. NUL, invalid sequences and lone surrogates become the
 * replacement character, because PostgreSQL refuses them.
 * @param cut the bytes are the beginning of a longer text: an incomplete character at the end is dropped
 */
export function storableText(bytes: Buffer, { charset = 'utf-8', cut = false } = {}): string {
  return storable(decoderFor(charset).decode(bytes, { stream: cut }))
}

/** The same for decoded text, such as the value of a header. */
export function storable(text: string): string {
  return Buffer.from(text, 'utf8').toString('utf8').replaceAll('\u0000', '\ufffd')
}

/** The same for every text in a JSON value, keys included: jsonb refuses everything that `text` refuses, and more. */
export function storableJson<T>(value: T): T {
  const json = JSON.stringify(value)
  if (json === undefined) return value
  // Only these two escapes make the slow path necessary, and they are rare.
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
