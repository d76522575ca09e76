// `{distribution_id}`, `{payload.customer.id}` and the like in URLs and headers. Checked when a destination is
// registered, filled in for each attempt.
import { distance } from 'fastest-levenshtein'
import { LIMITS } from '../../../db/limits.ts'
import type { Message } from '../destination.ts'
import { DeliveryError } from '../errors.ts'
import { targetOfUrl } from '../network/target.ts'
import { parsePayloadPath, readAhead, readPayload } from './payload-paths.ts'

const NAMES = ['tenant_id', 'distribution_id', 'delivery_id', 'data_type', 'attempt_number'] as const
const PAYLOAD = 'payload.'
/** `{{` and `}}` stand for the braces themselves; several in a row are one part. */
const PARTS = /(?:\{\{|\}\})+|\{([^{}]*)\}|[{}]/g
/** No field takes more; what is longer is not looked at. */
const MAX_TEMPLATE = 100_000

export type Words = Pick<Message, (typeof NAMES)[number] | 'body' | 'source'>

/** What is wrong with a text that may hold placeholders; undefined when nothing is. */
export function placeholderProblem(template: string): string | undefined {
  if (template.length > MAX_TEMPLATE) return `has more than ${MAX_TEMPLATE} characters`
  for (const [part, name] of template.matchAll(PARTS)) {
    if (part.length > 1 && name === undefined) continue
    if (name === undefined) return `has a single "${part}"; write "${part}${part}" for the character itself`
    if ((NAMES as readonly string[]).includes(name)) continue
    if (name.startsWith(PAYLOAD)) {
      if (parsePayloadPath(name)) continue
      return `has the invalid path {${name}}; write {payload.customer.id} or {payload.items[0].id}`
    }
    const near = NAMES.find((known) => distance(name, known) <= known.length / 3)
    if (near) return `has an unknown placeholder {${name}}; the nearest known one is {${near}}`
    const known = NAMES.map((one) => `{${one}}`).join(', ')
    return `has an unknown placeholder {${name}}; there are ${known} and, from the payload, such as {payload.customer.id}`
  }
  return undefined
}

/** Whether a text has placeholders at all, or a certain one. */
export function hasPlaceholders(template: string, certain?: string): boolean {
  return [...template.matchAll(PARTS)].some(([, name]) => name !== undefined && name === (certain ?? name))
}

/** What a text says of itself, its placeholders left out: it never becomes shorter. */
export function literalText(template: string): string {
  return fill(template, () => '')
}

/**
 * A URL whose placeholders stand in its path or query alone: what they bring is percent-encoded there.
 * @returns what is wrong with it, or undefined
 */
export function urlProblem(template: string): string | undefined {
  if (/[\s\\\p{Cc}]/u.test(template)) return 'has a space, a backslash or a control character'
  const problem = placeholderProblem(template)
  if (problem) return problem
  const [url, other] = PROBES.map((value) => parseUrl(fill(template, () => value)))
  if (!url || !other) return 'is not a URL'
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return 'must begin with https:// or http://'
  if (authorityOf(url) !== authorityOf(other)) return 'has a placeholder outside of its path and query'
  if (url.username !== '' || url.password !== '') return 'must not hold credentials; use "auth"'
  if (template.includes('#')) return 'must not have a fragment'
  if (!targetOfUrl(url)) return 'names no host that can be reached'
  return undefined
}

/** The URL of a template, as the URL parser reads it, with something in place of its placeholders. */
export function templateUrl(template: string): URL | undefined {
  return parseUrl(fill(template, () => PROBES[0]))
}

/**
 * Two values for every placeholder. A URL is read in many spellings (`http:host`, `http:///host`), so only its parser can
 * tell where the host is: a placeholder changes no part that both values leave alike. Digits, so that they may be a port.
 */
const PROBES = ['1', '22'] as const

/** All that decides who is reached, and as whom. */
function authorityOf({ protocol, username, password, host }: URL): string {
  return [protocol, username, password, host].join(' ')
}

/** A URL that means what it says, as an endpoint: braces are no placeholders, and a fragment is never sent. */
export function literalUrl(text: string): string {
  const url = new URL(text)
  url.hash = ''
  return url.href.replace(/[{}]/g, '$&$&')
}

/**
 * @throws DeliveryError MISCONFIGURED that names the placeholder which finds nothing, or whose value would lead to
 * another place (an empty path segment, `.` or `..`)
 */
export function fillUrl(template: string, words: Words): URL {
  const value = valuesFor(template, words, LIMITS.filledLine.value)
  const query = template.indexOf('?')
  const path = query < 0 ? template : template.slice(0, query)
  const segments = path.split('/').map((segment) => {
    const filled = fill(segment, (name) => encodeURIComponent(value(name)))
    // The URL parser would drop these segments, and their percent-encoded forms too.
    if (hasPlaceholders(segment) && /^(\.|%2e){0,2}$/i.test(filled)) {
      throw new DeliveryError('MISCONFIGURED', `"${segment}" in the path of the endpoint becomes empty, "." or ".."`)
    }
    return filled
  })
  const rest = query < 0 ? '' : fill(template.slice(query), (name) => encodeURIComponent(value(name)))
  const url = parseUrl(segments.join('/') + rest)
  // A stored configuration may be older than the check of templates.
  if (!url || url.origin !== templateUrl(template)?.origin || url.username !== '' || url.password !== '') {
    throw new DeliveryError('MISCONFIGURED', 'a placeholder must not change the host of the endpoint')
  }
  return url
}

/**
 * The value of a header. Characters beyond ASCII travel as UTF-8.
 * @throws DeliveryError MISCONFIGURED for a placeholder that finds nothing, or brings a control character: a line break
 * would begin a header of the payload's making
 */
export function fillHeader(name: string, template: string, words: Words): string {
  const write = (text: string, placeholder: string) => {
    if (/[^\P{Cc}\t]/u.test(text)) {
      throw new DeliveryError('MISCONFIGURED', `{${placeholder}} puts a control character into the header "${name}"`)
    }
    return text
  }
  const filled = fillTemplate(template, words, write, LIMITS.filledLine.value)
  return Buffer.from(filled, 'utf8').toString('latin1')
}

/**
 * Any other text. `write` gives each value the form that it must have there, or throws a DeliveryError.
 * @throws DeliveryError MISCONFIGURED for a placeholder that finds nothing
 */
export function fillTemplate(
  template: string,
  words: Words,
  write: (value: string, name: string) => string = (value) => value,
  most: number = LIMITS.filledText.value,
): string {
  const value = valuesFor(template, words, most)
  return fill(template, (name) => write(value(name), name))
}

function fill(template: string, value: (name: string) => string): string {
  return template.replace(PARTS, (part: string, name: string | undefined) => {
    if (name !== undefined) return value(name)
    // Of each pair one.
    return part.length < 2 ? part : part.replace(/(.)./g, '$1')
  })
}

/** What placeholders brought into one message so far. */
const brought = new WeakMap<Words, number>()

/** Reads the payload once for all of a text's placeholders, and not at all where none asks for it. */
function valuesFor(template: string, words: Words, most: number): (name: string) => string {
  const paths = payloadPaths(template)
  const found = paths.length > 0 ? readPayload(words.source ?? words.body, paths) : new Map<string, string>()
  let here = 0
  return (name) => {
    const value = found.get(name) ?? (isName(name) ? String(words[name]) : undefined)
    if (value === undefined) {
      throw new DeliveryError('MISCONFIGURED', `the placeholder {${name}} finds no text, number or boolean`)
    }
    here += value.length
    const all = (brought.get(words) ?? 0) + value.length
    brought.set(words, all)
    if (here > most || all > LIMITS.filledMessage.value) {
      const limit = here > most ? most : LIMITS.filledMessage.value
      throw new DeliveryError('MISCONFIGURED', `{${name}} is too long: placeholders fill at most ${limit} characters`)
    }
    // A lone surrogate cannot be encoded; it becomes the replacement character.
    return Buffer.from(value, 'utf8').toString('utf8')
  }
}

/**
 * Reads what the texts of a configuration ask of the payload, all at once and in turns with other work: the functions above
 * then need not read it again for each of them.
 */
export async function readPlaceholders(configuration: unknown, words: Pick<Words, 'body' | 'source'>): Promise<void> {
  const paths = new Set<string>()
  const open = [configuration]
  for (let value = open.pop(); value !== undefined; value = open.pop()) {
    if (typeof value === 'string') for (const path of payloadPaths(value)) paths.add(path)
    else if (typeof value === 'object' && value !== null && !ArrayBuffer.isView(value))
      open.push(...Object.values(value))
  }
  if (paths.size > 0) await readAhead(words.source ?? words.body, [...paths])
}

function payloadPaths(template: string): string[] {
  if (!template.includes('{payload')) return []
  return [...template.matchAll(PARTS)].flatMap(([, name]) =>
    name !== undefined && (name.startsWith(PAYLOAD) || name.startsWith('payload[')) ? [name] : [],
  )
}

function isName(name: string): name is (typeof NAMES)[number] {
  return (NAMES as readonly string[]).includes(name)
}

function parseUrl(text: string): URL | undefined {
  try {
    return new URL(text)
  } catch {
    return undefined
  }
}
