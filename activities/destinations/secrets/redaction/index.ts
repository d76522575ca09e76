// Removes secrets from answers and errors. Receivers echo requests, with the encodings of their language: JSON or HTML
// escapes, percent-encoding, quoted-printable, base64, hex, octal, lists of bytes, other case, broken lines. A stored answer
// may also be cut in the middle of a secret.
import { setImmediate as nextTick } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
import { LIMITS } from '../../../../db/limits.ts'
import { MASK } from '../secret.ts'
import { CUT_ESCAPE, decoded, folded, type Mapped, mapped } from './decode.ts'
import { patternsFor, ROUNDS } from './patterns.ts'
import { type Needles, needlesOf, type Span, search } from './search.ts'

interface Wanted {
  letters: Needles
  marks: Needles
}

/** An incomplete escape at the end of a text has at most this many characters. */
const LONGEST_ESCAPE = 40
/** A large text is searched in pieces, so that other work runs in between. */
const PIECE = 32 * 1024
/** Pieces overlap: a secret on the border is whole in one of them, or so long that its parts are found. */
const OVERLAP = 2 * 1024
/** Many texts are searched for the same secrets, so their patterns are cached. */
const cache = new LRUCache<string, Wanted>({ max: LIMITS.redactionsReady.value })
/** The patterns of longer lists of secrets are not cached: they take too much memory. */
const MAX_KEY = 16 * 1024

/** Replaces each secret in the text with `***`; for short texts. */
export function redact(text: string, secrets: readonly string[]): string {
  if (text === '') return text
  const wanted = wantedFor(secrets)
  return masked(
    text,
    [...piecesOf(text)].flatMap((piece) => spansIn(piece, wanted)),
  )
}

/** The same for a text of any size. */
export async function redactLarge(text: string, secrets: readonly string[]): Promise<string> {
  if (text.length <= PIECE) return redact(text, secrets)
  const wanted = wantedFor(secrets)
  const spans: Span[] = []
  for (const piece of piecesOf(text)) {
    for (const span of spansIn(piece, wanted)) spans.push(span)
    await nextTick()
  }
  return masked(text, spans)
}

function wantedFor(secrets: readonly string[]): Wanted {
  const key = JSON.stringify(secrets)
  const known = cache.get(key)
  const { letters, marks } = known ? { letters: undefined, marks: undefined } : patternsFor(secrets)
  const wanted = known ?? { letters: needlesOf(letters!), marks: needlesOf(marks!) }
  if (!known && key.length <= MAX_KEY) cache.set(key, wanted)
  return wanted
}

interface Piece {
  text: string
  /** Its position in the whole text. */
  at: number
}

function* piecesOf(text: string): Generator<Piece> {
  for (let at = 0; at < text.length; at += PIECE - OVERLAP) {
    yield { text: text.slice(at, at + PIECE), at }
    if (at + PIECE >= text.length) return
  }
}

function spansIn({ text, at }: Piece, { letters, marks }: Wanted): Span[] {
  const spans: Span[] = []
  if (letters.patterns.length + marks.patterns.length === 0) return spans
  const cut = startOfCutEscape(text)
  for (const view of views(text)) {
    for (const [kind, needles] of [['letters', letters] as const, ['marks', marks] as const]) {
      if (needles.patterns.length === 0) continue
      const form = folded(view, kind)
      for (const [from, to] of search(form, needles, text, before(form, cut))) spans.push([at + from, at + to])
    }
  }
  return spans
}

/** The text itself, and with its escapes decoded once, twice and so on. All are searched: an escape may be literal text. */
function* views(text: string): Generator<Mapped> {
  const plain = mapped(text)
  yield plain
  yield* rounds(plain)
  const unquoted = decoded(plain, 'quoted')
  if (!unquoted) return
  yield unquoted
  yield* rounds(unquoted)
}

function* rounds(plain: Mapped): Generator<Mapped> {
  let view = plain
  for (let round = 0; round < ROUNDS; round++) {
    const next = decoded(view, 'escapes')
    if (!next) return
    view = next
    yield view
  }
}

function startOfCutEscape(text: string): number {
  const tail = text.slice(-LONGEST_ESCAPE)
  const found = tail.search(CUT_ESCAPE)
  return found < 0 ? text.length : text.length - tail.length + found
}

/** How many characters come before a position of the original text. */
function before({ starts }: Mapped, place: number): number {
  let count = starts.length
  while (count > 0 && starts[count - 1]! >= place) count--
  return count
}

function masked(text: string, spans: Span[]): string {
  const parts: string[] = []
  let last = 0
  for (const [from, to] of spans.sort((a, b) => a[0] - b[0])) {
    if (to <= last) continue
    // Spans that overlap or touch become one.
    if (from > last || parts.length === 0) parts.push(text.slice(last, from), MASK)
    last = to
  }
  return parts.join('') + text.slice(last)
}
