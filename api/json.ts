// JSON as we take it in: strict, not deeper than 500, no key twice, and with the exact text of every top-level value.
// No recursion anywhere: the text may be 10 MB of brackets.
import { createScanner } from 'jsonc-parser'
import { LIMITS } from '../db/limits.ts'
import { type Detail, invalid } from './errors.ts'

export const MAX_DEPTH = LIMITS.jsonDepth.value

/** jsonc-parser's `SyntaxKind`: an ambient const enum, which cannot be imported file by file. */
const TOKEN = { openBrace: 1, closeBrace: 2, openBracket: 3, closeBracket: 4, comma: 5, colon: 6, string: 10, end: 17 }

export interface ParsedJson {
  value: unknown
  /** The text of each value of a top-level object, exactly as it was sent. */
  texts: Map<string, string>
}

/** The one top-level field whose inside is the sender's own: kept byte for byte, whatever it repeats. */
export const PAYLOAD = 'payload'

export interface JsonForm {
  /** The top-level field whose inside is not looked into; `payload` when absent. */
  opaque?: string
  /** 500 when absent. */
  max_depth?: number
}

/** Parses `text`, or throws a 400 that says where and why. */
export function parseJson(text: string, form: JsonForm = {}): ParsedJson {
  // The scan comes first: JSON.parse would build ten million arrays before anyone counted the depth.
  const scan = scanJson(text, form)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw invalid([{ field: 'body', issue: `is not valid JSON${whereabouts(error, text)}` }])
  }
  if (scan.duplicates.length > 0) throw invalid(scan.duplicates)
  return { value, texts: scan.texts }
}

interface Frame {
  /** Keys seen so far; null for an array, and inside the payload. */
  keys: Set<string> | null
  key: string
  /** Position in an array; -1 in an object. */
  index: number
}

/** The exact text of every element of a JSON array. `text` is one that was parsed already. */
export function elementTexts(text: string): string[] {
  const scanner = createScanner(text, true)
  const elements: string[] = []
  let depth = 0
  let start = -1
  let end = 0
  for (let token: number = scanner.scan(); token !== TOKEN.end; token = scanner.scan()) {
    if (token === TOKEN.closeBrace || token === TOKEN.closeBracket) depth -= 1
    if (start >= 0 && (depth === 0 || (depth === 1 && token === TOKEN.comma))) {
      elements.push(text.slice(start, end))
      start = -1
    } else if (depth === 1 && start < 0) {
      start = scanner.getTokenOffset()
    }
    end = scanner.getTokenOffset() + scanner.getTokenLength()
    if (token === TOKEN.openBrace || token === TOKEN.openBracket) depth += 1
  }
  return elements
}

/** Tolerant of broken JSON: only what JSON.parse accepts as well is believed afterwards. */
function scanJson(
  text: string,
  { opaque = PAYLOAD, max_depth = MAX_DEPTH }: JsonForm,
): { texts: Map<string, string>; duplicates: Detail[] } {
  const scanner = createScanner(text, true)
  const stack: Frame[] = []
  const texts = new Map<string, string>()
  const duplicates: Detail[] = []
  let expectsKey = false
  let valueStart = -1
  let end = 0
  const closeValue = () => {
    if (stack.length !== 1) return
    if (valueStart >= 0 && stack[0]?.keys) texts.set(stack[0].key, text.slice(valueStart, end))
    valueStart = -1
  }
  for (let token: number = scanner.scan(); token !== TOKEN.end; token = scanner.scan()) {
    const frame = stack[stack.length - 1]
    if (token === TOKEN.comma) {
      closeValue()
      if (frame && frame.index >= 0) frame.index += 1
      expectsKey = frame !== undefined && frame.index < 0
      continue
    }
    if (token === TOKEN.string && expectsKey && frame) {
      frame.key = scanner.getTokenValue()
      if (frame.keys?.has(frame.key)) {
        duplicates.push({ field: fieldPath(stack.map(stepOf)), issue: 'appears more than once' })
      }
      frame.keys?.add(frame.key)
      expectsKey = false
      continue
    }
    if (token === TOKEN.colon) continue
    const closes = token === TOKEN.closeBrace || token === TOKEN.closeBracket
    if (closes) {
      closeValue()
      stack.pop()
      expectsKey = false
    } else if (stack.length === 1 && valueStart < 0) {
      valueStart = scanner.getTokenOffset()
    }
    end = scanner.getTokenOffset() + scanner.getTokenLength()
    if (token === TOKEN.openBrace || token === TOKEN.openBracket) {
      const isObject = token === TOKEN.openBrace
      const inside = stack[0]?.key === opaque
      stack.push({ keys: isObject && !inside ? new Set() : null, key: '', index: isObject ? -1 : 0 })
      if (stack.length > max_depth) throw invalid([{ field: 'body', issue: `is nested deeper than ${MAX_DEPTH}` }])
      expectsKey = isObject
    }
  }
  return { texts, duplicates }
}

function stepOf(frame: Frame): string | number {
  return frame.index < 0 ? frame.key : frame.index
}

/** `['destinations', 0, 'endpoint']` as `destinations[0].endpoint`; strange keys in quotes, an empty path as `body`. */
export function fieldPath(path: readonly PropertyKey[]): string {
  let text = ''
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`
    else if (/^[\w-]{1,100}$/.test(String(step))) text += text === '' ? String(step) : `.${String(step)}`
    else text += `[${JSON.stringify(String(step).slice(0, 100))}]`
  }
  return text === '' ? 'body' : text
}

// U+0000 and lone surrogates: JSON may spell both, PostgreSQL's text can hold neither.
const isUnstorable = (text: string) => text.includes('\0') || /\p{Surrogate}/u.test(text)
// In valid UTF-8 both can only come from an escape, so that most bodies need no walk at all.
const SUSPICIOUS = /\\u(0000|d[89a-f])/i

/** Every string and key outside the opaque field that PostgreSQL could not store, by its path. */
export function unstorableFields(text: string, value: unknown, opaque = PAYLOAD): Detail[] {
  if (!SUSPICIOUS.test(text)) return []
  const details: Detail[] = []
  const open: { value: unknown; path: (string | number)[] }[] = [{ value, path: [] }]
  for (let next = open.pop(); next; next = open.pop()) {
    const { value: current, path } = next
    if (typeof current === 'string' && isUnstorable(current)) {
      details.push({ field: fieldPath(path), issue: 'contains a NUL character or a lone surrogate' })
    }
    if (typeof current !== 'object' || current === null) continue
    for (const [key, inner] of Object.entries(current)) {
      if (path.length === 0 && key === opaque) continue
      if (isUnstorable(key)) {
        details.push({ field: fieldPath(path), issue: 'has a key with a NUL character or a lone surrogate' })
      }
      open.push({ value: inner, path: [...path, Array.isArray(current) ? Number(key) : key] })
    }
  }
  return details.reverse()
}

/** V8's message quotes the text that was sent; only its position goes out. */
function whereabouts(error: unknown, text: string): string {
  const at = /position (\d+)/.exec(String(error))?.[1]
  if (!at) return ''
  const before = text.slice(0, Number(at))
  const line = before.split('\n').length
  return ` (line ${line}, column ${before.length - before.lastIndexOf('\n')})`
}
