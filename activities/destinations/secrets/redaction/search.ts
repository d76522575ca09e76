// Finds secrets, and large pieces of them, in time linear to the text: each run of 8 characters is looked up among a few
// runs of each secret, and a hit is extended in both directions.
import type { Mapped } from './decode.ts'
import { GRAM, type Pattern } from './patterns.ts'

/** A range of the original text; `to` is exclusive. */
export type Span = [from: number, to: number]

type Found = (from: number, to: number, pattern: Pattern) => void

export interface Needles {
  patterns: readonly Pattern[]
  /** The runs of 8 characters at every 8th position of each pattern, and the last run, with their positions. */
  grams: ReadonlyMap<string, [pattern: Pattern, at: number][]>
  /** A quick test by three characters whether a run may be among the grams. */
  filter: Uint8Array
}

/** A piece of this size at the end or beginning of a text counts as a secret that was cut there. */
const CUT_PIECE = 4
/** In base64, up to so many characters on each side also hold bits of the secret. */
const BASE64_EDGE = 3
/** At most so many secrets are kept for the same run: the others are found by their other runs. */
const MOST_ALIKE = 8
const FILTER_BITS = 13

export function needlesOf(patterns: readonly Pattern[]): Needles {
  const grams = new Map<string, [Pattern, number][]>()
  const filter = new Uint8Array(1 << FILTER_BITS)
  for (const pattern of patterns) {
    const last = pattern.text.length - GRAM
    for (let at = 0; at <= last; at = at === last ? last + 1 : Math.min(at + GRAM, last)) {
      const gram = pattern.text.slice(at, at + GRAM)
      const alike = grams.get(gram)
      // If a run occurs twice in a secret, the first one is enough.
      if (alike && (alike.length >= MOST_ALIKE || alike.some(([other]) => other === pattern))) continue
      if (alike) alike.push([pattern, at])
      else grams.set(gram, [[pattern, at]])
      filter[sketch(gram, 0)] = 1
    }
  }
  return { patterns, grams, filter }
}

/**
 * The ranges of the original text that hold a secret.
 * @param whole the length of the view without an incomplete escape at the end
 */
export function search(view: Mapped, needles: Needles, original: string, whole: number): Span[] {
  const spans: Span[] = []
  const found: Found = (from, to, { base64 }) => {
    spans.push(withEdges(original, [view.starts[from]!, view.ends[to - 1]!], base64 ? BASE64_EDGE : 0))
  }
  runs(view.text, needles, whole, found)
  for (const pattern of needles.patterns) {
    if (pattern.text.length < GRAM) everywhere(view, pattern, found)
    if (pattern.alone) continue
    ends(view.text, view.text.length, pattern, found)
    if (whole < view.text.length) ends(view.text, whole, pattern, found)
    beginning(view.text, pattern, found)
  }
  return spans
}

function runs(text: string, { grams, filter }: Needles, whole: number, found: Found): void {
  let done = 0
  for (let at = 0; at + GRAM <= text.length; at++) {
    if (at < done || filter[sketch(text, at)] === 0) continue
    for (const [pattern, place] of grams.get(text.slice(at, at + GRAM)) ?? []) {
      let from = at
      let before = place
      while (from > done && before > 0 && text.charCodeAt(from - 1) === pattern.text.charCodeAt(before - 1)) {
        from--
        before--
      }
      let to = at + GRAM
      let behind = place + GRAM
      while (
        to < text.length &&
        behind < pattern.text.length &&
        text.charCodeAt(to) === pattern.text.charCodeAt(behind)
      ) {
        to++
        behind++
      }
      const isCut = (before > 0 && from === 0) || (behind < pattern.text.length && (to === text.length || to === whole))
      if (to - from < pattern.least && !isCut) continue
      found(from, to, pattern)
      done = Math.max(done, to)
    }
  }
}

function sketch(text: string, at: number): number {
  const code = (text.charCodeAt(at) * 31 + text.charCodeAt(at + 3)) * 31 + text.charCodeAt(at + GRAM - 1)
  return (code ^ (code >>> FILTER_BITS)) & ((1 << FILTER_BITS) - 1)
}

/** Short secrets: exact matches, and for the shortest only whole words. */
function everywhere(view: Mapped, pattern: Pattern, found: Found): void {
  const { text, starts, ends } = view
  const isPart = (at: number, inside: number) => /[a-z0-9]/.test(text[at] ?? '') && touches(at, inside)
  const touches = (at: number, inside: number) =>
    at < inside ? ends[at] === starts[inside] : ends[inside] === starts[at]
  for (let at = text.indexOf(pattern.text); at >= 0; at = text.indexOf(pattern.text, at + 1)) {
    const to = at + pattern.text.length
    if (pattern.alone && (isPart(at - 1, at) || isPart(to, to - 1))) continue
    found(at, to, pattern)
  }
}

/** A secret that was cut at the end of the text, with fewer characters left than a run has. */
function ends(text: string, end: number, pattern: Pattern, found: Found): void {
  const size = cutPiece(pattern, (length) => text.startsWith(pattern.text.slice(0, length), end - length))
  if (size !== undefined && size <= end) found(end - size, end, pattern)
}

/** The same for a secret whose beginning is missing. */
function beginning(text: string, pattern: Pattern, found: Found): void {
  const size = cutPiece(pattern, (length) => text.startsWith(pattern.text.slice(-length)))
  if (size !== undefined) found(0, size, pattern)
}

function cutPiece({ text }: Pattern, isThere: (length: number) => boolean): number | undefined {
  for (let size = Math.min(GRAM, text.length) - 1; size >= CUT_PIECE; size--) if (isThere(size)) return size
  return undefined
}

/** Adds the neighbouring base64 characters that hold bits of the secret, and the padding. */
function withEdges(original: string, [from, to]: Span, edge: number): Span {
  let start = from
  let end = to
  while (start > 0 && from - start < edge && /[A-Za-z0-9+/_-]/.test(original[start - 1]!)) start--
  while (end < original.length && end - to < edge && /[A-Za-z0-9+/_-]/.test(original[end]!)) end++
  return [start, end + (/^={1,2}/.exec(original.slice(end, end + 2))?.[0].length ?? 0)]
}
