// What to look for: each secret as it is, in base64, in hex and as a list of its bytes, in the one spelling that texts are
// brought into.
import { LIMITS } from '../../../../db/limits.ts'
import { decoded, folded, mapped } from './decode.ts'

export interface Pattern {
  text: string
  /** So much of it, at least, is taken for the secret. */
  least: number
  /** Must not be a part of a longer word: it is so short that words may hold it. */
  alone: boolean
  /** Characters around it may hold bits of it. */
  base64: boolean
}

export interface Patterns {
  letters: Pattern[]
  marks: Pattern[]
}

const SHORTEST = LIMITS.shortestRedacted.value
/** The first and the last line of a PEM file are the same in all of them. */
const ARMOUR = /-----(BEGIN|END) [A-Z0-9 ]{1,60}-----/g
/** From here on also a part of a word is the secret. */
const SHORTEST_PART = 6
/** Pieces are looked for by this many characters (see search.ts). */
export const GRAM = 8
/** An escape within an escape within an escape. */
export const ROUNDS = 4

export function patternsFor(secrets: Iterable<string>): Patterns {
  const letters = new Map<string, Pattern>()
  const marks = new Map<string, Pattern>()
  const add = (text: string, base64 = false) => {
    const form = folded(mapped(text), 'letters').text
    // Too few letters to tell it by them.
    const short = form.length < GRAM
    const own = short ? folded(mapped(text), 'marks').text : form
    if (own.length < SHORTEST || (base64 && own.length < SHORTEST_PART)) return
    const least =
      own.length < GRAM ? own.length : Math.min(own.length, Math.max(GRAM, Math.min(16, Math.ceil(own.length / 2))))
    const pattern = { text: own, least, alone: own.length < SHORTEST_PART, base64 }
    ;(short ? marks : letters).set(own, pattern)
  }
  for (const secret of new Set([...secrets].map((text) => text.replace(ARMOUR, '')))) {
    if (secret.length < SHORTEST) continue
    add(secret)
    add(decodedFully(secret))
    if (secret.includes(' ')) add(secret.replaceAll(' ', '+'))
    for (const bytes of spellings(secret)) {
      for (const shift of [0, 1, 2]) add(base64Core(bytes, shift), true)
      if (bytes.length >= SHORTEST_PART) add(bytes.toString('hex'))
    }
    for (const list of byteLists(secret)) add(list)
  }
  return { letters: [...letters.values()], marks: [...marks.values()] }
}

/** A secret may look like an escape itself: texts that are decoded more often than they were encoded hold this form. */
function decodedFully(text: string): string {
  let form = mapped(text)
  for (let round = 0; round < ROUNDS; round++) {
    const next = decoded(form, 'escapes')
    if (!next) break
    form = next
  }
  return form.text
}

/** As a program prints an array of bytes: what stands between the numbers is no letter and does not matter. */
function byteLists(secret: string): string[] {
  const bytes = [...Buffer.from(secret, 'utf8')]
  if (bytes.length < SHORTEST_PART) return []
  const hex = bytes.map((byte) => byte.toString(16).padStart(2, '0'))
  return [bytes.join(' '), hex.map((byte) => `0x${byte}`).join(' '), hex.map((byte) => `U+00${byte}`).join(' ')]
}

/** As it may stand in a text that is then written in base64 or hex as a whole. */
function spellings(secret: string): Buffer[] {
  const json = JSON.stringify(secret).slice(1, -1)
  // A lone surrogate has no percent-encoding.
  const percent = /\p{Cs}/u.test(secret) ? secret : encodeURIComponent(secret)
  const base64 = Buffer.from(secret, 'utf8').toString('base64')
  const texts = new Set([secret, json, json.replaceAll('/', '\\/'), percent, base64])
  return [...[...texts].map((text) => Buffer.from(text, 'utf8')), Buffer.from(secret, 'utf16le')]
}

/** Of the base64 of any text that holds the secret after `3 n + shift` bytes: the characters that depend on it alone. */
function base64Core(bytes: Buffer, shift: number): string {
  const text = Buffer.concat([Buffer.alloc(shift), bytes])
    .toString('base64')
    .replace(/=+$/, '')
  const rest = (shift + bytes.length) % 3
  return text.slice(shift === 0 ? 0 : shift + 1, rest === 0 ? undefined : -1)
}
