// Placeholders such as `{distribution_id}` and `{payload.customer.id}` in URLs and headers. They are checked when a
// destination is registered, and filled in for each attempt.
import { distance } from 'fastest-levenshtein'
import { LIMITS } from '../../../db/limits.ts'
import type { Message } from '../destination.ts'
import { DeliveryError } from '../errors.ts'
import { targetOfUrl } from '../network/target.ts'
import { parsePayloadPath, readAhead, readPayload } from './payload-paths.ts'

const NAMES = ['tenant_id', 'distribution_id', 'delivery_id', 'data_type', 'attempt_number'] as const
const PAYLOAD = 'payload.'
/** `{{` and `}}` are escaped braces; several in a row are one part. */
const PARTS = /(?:\{\{|\}\})+|\{([^{}]*)\}|[{}]/g
/** No field accepts a longer text, so a longer one is not parsed. */
const MAX_TEMPLATE = 100_000

export type Values = Pick<Message, (typeof NAMES)[number] | 'body' | 'source'>

/** The problem with a text that may hold placeholders; undefined if it is valid. */
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
    return `has an unknown placeholder {${name}}; use ${known} or a value of the payload such as {payload.customer.id}`
  }
  return undefined
}

/** Whether a text has any placeholder, or the one given. */
export function hasPlaceholders(template: string, certain?: string): boolean {
  return [...template.matchAll(PARTS)].some(([, name]) => name !== undefined && name === (certain ?? name))
}

/** The text without its placeholders: a filled text is never shorter. */
export function literalText(template: string): string {
  return fill(template, () => '')
}

/**
 * Checks a URL. Placeholders are allowed in its path and query only, where their values are percent-encoded.
 * @returns the problem, or undefined
 */
export function urlProblem(template: string): string | undefined {
  if (/[\s\\\p{Cc}]/u.test(template)) return 'has a space, a backslash or a control character'
  const problem = placeholderProblem(template)
  if (problem) return problem
  const [url, other] = PROBES.map((value) => parseUrl(fill(template, () => value)))
  if (!url || !other) return 'is not a URL'
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return 'must begin with https:// or http://'
  if (authorityOf(url) !== authorityOf(other)) return 'has a placeholder outside of its path and query'
  if (url.username !== '' || url.password !== '') return 'must not contain credentials; use "auth"'
  if (template.includes('#')) return 'must not have a fragment'
  if (!targetOfUrl(url)) return 'has no host name that can be resolved'
  return undefined
}

/** The parsed URL of a template, with a sample value for each placeholder. */
export function templateUrl(template: string): URL | undefined {
  return parseUrl(fill(template, () => PROBES[0]))
}

/**
 * Two sample values for every placeholder. A URL has many spellings (`http:host`, `http:///host`), so only its parser knows
 * where the host is. If a part is the same with both values, no placeholder changes it. Digits are also valid as a port.
 */
const PROBES = ['1', '22'] as const

/** The parts that decide which server is reached, and with which login. */
function authorityOf({ protocol, username, password, host }: URL): string {
  return [protocol, username, password, host].join(' ')
}

/** Makes an endpoint from a literal URL: its braces are escaped, and its fragment, which is never sent, is removed. */
export function literalUrl(text: string): string {
  const url = new URL(text)
  url.hash = ''
  return url.href.replace(/[{}]/g, '$&$&')
}

/**
 * @throws DeliveryError MISCONFIGURED that names the placeholder that has no value, or whose value would change the path
 * (an empty path segment, `.` or `..`)
 */
export function fillUrl(template: string, values: Values): URL {
  const value = valuesFor(template, values, LIMITS.filledLine.value)
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
 * The value of a header. Characters beyond ASCII are sent as UTF-8.
 * @throws DeliveryError MISCONFIGURED for a placeholder that has no value, or whose value has a control character: with a
 * line break the payload could add a header
 */
export function fillHeader(name: string, template: string, values: Values): string {
  const write = (text: string, placeholder: string) => {
    if (/[^\P{Cc}\t]/u.test(text)) {
      throw new DeliveryError('MISCONFIGURED', `{${placeholder}} puts a control character into the header "${name}"`)
    }
    return text
  }
  const filled = fillTemplate(template, values, write, LIMITS.filledLine.value)
  return Buffer.from(filled, 'utf8').toString('latin1')
}

/**
 * Any other text. `write` encodes each value for its place in the text, or throws a DeliveryError.
 * @throws DeliveryError MISCONFIGURED for a placeholder that has no value
 */
export function fillTemplate(
  template: string,
  values: Values,
  write: (value: string, name: string) => string = (value) => value,
  most: number = LIMITS.filledText.value,
): string {
  const value = valuesFor(template, values, most)
  return fill(template, (name) => write(value(name), name))
}

function fill(template: string, value: (name: string) => string): string {
  return template.replace(PARTS, (part: string, name: string | undefined) => {
    if (name !== undefined) return value(name)
    // One brace of each pair stays.
    return part.length < 2 ? part : part.replace(/(.)./g, '$1')
  })
}

/** How many characters placeholders have added to one message so far. */
const filledCharacters = new WeakMap<Values, number>()

/** Reads the payload once for all placeholders of a text, and not at all if none refers to it. */
function valuesFor(template: string, values: Values, most: number): (name: string) => string {
  const paths = payloadPaths(template)
  const found = paths.length > 0 ? readPayload(values.source ?? values.body, paths) : new Map<string, string>()
  let here = 0
  return (name) => {
    const value = found.get(name) ?? (isName(name) ? String(values[name]) : undefined)
    if (value === undefined) {
      throw new DeliveryError('MISCONFIGURED', `the placeholder {${name}} finds no text, number or boolean`)
    }
    here += value.length
    const all = (filledCharacters.get(values) ?? 0) + value.length
    filledCharacters.set(values, all)
    if (here > most || all > LIMITS.filledMessage.value) {
      const limit = here > most ? most : LIMITS.filledMessage.value
      throw new DeliveryError('MISCONFIGURED', `{${name}} is too long: placeholders fill at most ${limit} characters`)
    }
    // A lone surrogate cannot be encoded; it becomes the replacement character.
    return Buffer.from(value, 'utf8').toString('utf8')
  }
}

/**
 * Reads all values of the payload that the texts of a configuration refer to, and lets other work run in between. The
 * functions above then need not read the payload again.
 */
export async function readPlaceholders(configuration: unknown, values: Pick<Values, 'body' | 'source'>): Promise<void> {
  const paths = new Set<string>()
  const open = [configuration]
  for (let value = open.pop(); value !== undefined; value = open.pop()) {
    if (typeof value === 'string') for (const path of payloadPaths(value)) paths.add(path)
    else if (typeof value === 'object' && value !== null && !ArrayBuffer.isView(value))
      open.push(...Object.values(value))
  }
  if (paths.size > 0) await readAhead(values.source ?? values.body, [...paths])
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
