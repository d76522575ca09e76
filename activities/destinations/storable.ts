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

function decoderFor(charset: string): TextDecoder {
  try {
    return new TextDecoder(charset)
  } catch {
    return new TextDecoder('utf-8')
  }
}
