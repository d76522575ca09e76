// Hides values: the last characters alone, a fixed text, or a hash that stays the same for the same value.
import { createHash, createHmac } from 'node:crypto'
import { isObject, type Json, textOf } from '../formats/document.ts'

export type Masking = { keep_last: number } | { text: string } | { hash: 'sha256'; salt?: string | undefined }

/** Null stays null: that there is nothing is no secret that a mask could keep. */
export function masked(value: Json, masking: Masking): Json {
  if (value === null) return null
  if ('text' in masking) return masking.text
  if ('hash' in masking) {
    const digest = masking.salt === undefined ? createHash('sha256') : createHmac('sha256', masking.salt)
    return digest.update(textOf(value), 'utf8').digest('hex')
  }
  if (Array.isArray(value) || isObject(value)) return '***'
  const characters = [...textOf(value)]
  // Of something shorter than what may be shown, all would be.
  const shown = characters.length > masking.keep_last ? masking.keep_last : 0
  const hidden = characters.length - shown
  return '*'.repeat(hidden) + characters.slice(hidden).join('')
}
