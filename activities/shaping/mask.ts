// Hides values: shows only the last characters, a fixed text, or a hash that is the same for equal values.
import { createHash, createHmac } from 'node:crypto'
import { isObject, type Json, textOf } from '../formats/document.ts'

export type Masking = { keep_last: number } | { text: string } | { hash: 'sha256'; salt?: string | undefined }

/** Null stays null: there is no value to hide. */
export function masked(value: Json, masking: Masking): Json {
  if (value === null) return null
  if ('text' in masking) return masking.text
  if ('hash' in masking) {
    const digest = masking.salt === undefined ? createHash('sha256') : createHmac('sha256', masking.salt)
    return digest.update(textOf(value), 'utf8').digest('hex')
  }
  if (Array.isArray(value) || isObject(value)) return '***'
  const characters = [...textOf(value)]
  // A text shorter than `keep_last` would be shown completely.
  const shown = characters.length > masking.keep_last ? masking.keep_last : 0
  const hidden = characters.length - shown
  return '*'.repeat(hidden) + characters.slice(hidden).join('')
}
