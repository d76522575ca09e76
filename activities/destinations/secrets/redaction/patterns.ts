// The patterns to search for: each secret itself, in base64, in hex and as a list of its bytes, normalised like the texts
// that are searched.
import { LIMITS } from '../../../../db/limits.ts'
import { decoded, folded, mapped } from './decode.ts'

export interface Pattern {
  text: string
  /** A match of at least this length counts as the secret. */
  least: number
  /** Matches only as a whole word: it is so short that ordinary words may contain it. */
  alone: boolean
  /** The neighbouring characters may hold some bits of the secret. */
  base64: boolean
}

export interface Patterns {
  letters: Pattern[]
  marks: Pattern[]
}

const SHORTEST = LIMITS.shortestRedacted.value
/** The first and last lines of PEM files, which are no secret. */
const ARMOUR = /-----(BEGIN|END) [A-Z0-9 ]{1,60}-----/g
/** From this length on, a secret is also found inside a word. */
const SHORTEST_PART = 6
/** The length of the runs that are looked up (see search.ts). */
export const GRAM = 8
/** Escapes may be nested this deep. */
export const ROUNDS = 4

export function patternsFor(secrets: Iterable<string>): Patterns {
  const letters = new Map<string, Pattern>()
  const marks = new Map<string, Pattern>()
  const add = (text: string, base64 = false) => {
    const form = folded(mapped(text), 'letters').text
    // It has too few letters to be recognised by them.
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

/** A secret may itself look like an escape: a text that is decoded too often contains this form. */
function decodedFully(text: string): string {
  let form = mapped(text)
  for (let round = 0; round < ROUNDS; round++) {
    const next = decoded(form, 'escapes')
    if (!next) break
    form = next
  }
  return form.text
}

/** As a program prints an array of bytes. The separators are no letters, so they do not matter. */
function byteLists(secret: string): string[] {
  const bytes = [...Buffer.from(secret, 'utf8')]
  if (bytes.length < SHORTEST_PART) return []
  const hex = bytes.map((byte) => byte.toString(16).padStart(2, '0'))
  return [bytes.join(' '), hex.map((byte) => `0x${byte}`).join(' '), hex.map((byte) => `U+00${byte}`).join(' ')]
}

/** The secret's forms in a text that is then encoded in base64 or hex as a whole. */
function spellings(secret: string): Buffer[] {
  const json = JSON.stringify(secret).slice(1, -1)
  // A lone surrogate has no percent-encoding.
  const percent = /\p{Cs}/u.test(secret) ? secret : encodeURIComponent(secret)
  const base64 = Buffer.from(secret, 'utf8').toString('base64')
  const texts = new Set([secret, json, json.replaceAll('/', '\\/'), percent, base64])
  return [...[...texts].map((text) => Buffer.from(text, 'utf8')), Buffer.from(secret, 'utf16le')]
}

/** If the secret is at byte `3 n + shift` of a text, these characters of the text's base64 depend only on the secret. */
function base64Core(bytes: Buffer, shift: number): string {
  const text = Buffer.concat([Buffer.alloc(shift), bytes])
    .toString('base64')
    .replace(/=+$/, '')
  const rest = (shift + bytes.length) % 3
  return text.slice(shift === 0 ? 0 : shift + 1, rest === 0 ? undefined : -1)
}
