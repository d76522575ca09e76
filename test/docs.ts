// `npm run docs`: writes the generated tables of the documentation from the schemas that they describe. With `--check` it
// changes nothing, names the tables that are out of date, and ends with code 1.
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { configSchema, destinationFor, PROTOCOLS } from '../activities/destinations/registry.ts'
import { LIMITS } from '../db/limits.ts'
import { describeSettings } from '../temporal-config/process/settings.ts'

/** The generated parts of each page. They stand between the markers `<!-- docs: NAME -->` and `<!-- docs: end -->`. */
export const GENERATED: Record<string, Record<string, () => string>> = {
  'docs/settings.md': { settings },
  'docs/destinations.md': { promises, examples, destinations },
  'docs/limits.md': { limits },
}

/** The text of a page with its generated parts made anew. Throws if the text has no place for one. */
export function regenerate(page: string, text: string): string {
  return Object.entries(GENERATED[page] ?? {}).reduce((result, [name, make]) => {
    const { start, end } = place(page, result, name)
    return `${result.slice(0, start)}\n\n${make()}\n\n${result.slice(end)}`
  }, text)
}

/** The names of the generated parts that differ from what the schemas say now. */
export function staleParts(page: string, text: string): string[] {
  return Object.entries(GENERATED[page] ?? {}).flatMap(([name, make]) => {
    const { start, end } = place(page, text, name)
    return text.slice(start, end) === `\n\n${make()}\n\n` ? [] : [name]
  })
}

function place(page: string, text: string, name: string): { start: number; end: number } {
  const marker = `<!-- docs: ${name} -->`
  const start = text.indexOf(marker) + marker.length
  const end = text.indexOf('<!-- docs: end -->', start)
  if (start < marker.length || end < 0) throw new Error(`${page} has no place for ${name}: ${marker} is missing`)
  return { start, end }
}

function settings(): string {
  return table([
    ['setting', 'default', 'meaning'],
    ...describeSettings().map(({ name, shown, meaning }) => [code(name), shown, meaning]),
  ])
}

function limits(): string {
  const rows = Object.values(LIMITS).map(({ what, value, unit, reason }) => [
    what,
    `${value.toLocaleString('en')} ${unit}`,
    reason,
  ])
  return table([['limit', 'value', 'reason'], ...rows])
}

function promises(): string {
  const rows = PROTOCOLS.map((protocol) => {
    const { delivered, repeat, again, final } = destinationFor(protocol).documentation
    return [protocol, delivered, repeat, again, final]
  })
  return table([['protocol', 'delivered means', 'how a repeat is recognised', 'retried', 'final'], ...rows])
}

/** One JSON document, an example per protocol. */
function examples(): string {
  const lines = PROTOCOLS.map((protocol) => `  "${protocol}": ${wrapped(destinationFor(protocol).example)}`)
  return `\`\`\`json destinations\n{\n${lines.join(',\n')}\n}\n\`\`\``
}

/** Its fields, as many in a line as fit. */
function wrapped(example: Record<string, unknown>): string {
  const lines = ['']
  for (const [name, value] of Object.entries(example)) {
    const field = `"${name}": ${spaced(value)}`
    const last = lines.at(-1)!
    if (last === '') lines[lines.length - 1] = field
    else if (last.length + field.length < 110) lines[lines.length - 1] = `${last}, ${field}`
    else lines.push(field)
  }
  return `{${lines.join(',\n    ')}}`
}

/** JSON in one line that people can read. */
function spaced(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(spaced).join(', ')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const fields = Object.entries(value).map(([name, field]) => `${JSON.stringify(name)}: ${spaced(field)}`)
  return `{${fields.join(', ')}}`
}

/** One table per protocol of the registry. */
function destinations(): string {
  return PROTOCOLS.map((protocol) => {
    const rows = rowsOf(configSchema(protocol) as JsonSchema, '', '')
    return `### ${protocol}\n\n${table([['field', 'type', 'default', 'meaning'], ...rows])}`
  }).join('\n\n')
}

/** What is read of a JSON schema; all else bounds values in ways that a refusal explains well enough. */
interface JsonSchema {
  type?: string
  const?: unknown
  enum?: unknown[]
  default?: unknown
  description?: string
  writeOnly?: boolean
  $comment?: string
  properties?: Record<string, JsonSchema>
  required?: string[]
  additionalProperties?: JsonSchema | boolean
  items?: JsonSchema
  anyOf?: JsonSchema[]
  oneOf?: JsonSchema[]
  minimum?: number
  maximum?: number
}

/** A row per field, those of an object below it. `when` says for which variant of that object the fields are. */
function rowsOf(schema: JsonSchema, prefix: string, when: string): string[][] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    // A variant's own tag is told in the row of the object.
    if (field.const !== undefined) return []
    const path = `${prefix}${name}`
    const required = schema.required?.includes(name) ?? false
    const row = [`${code(path)}${when}`, typeOf(field), defaultOf(field, required), field.description ?? '']
    if (!field.oneOf) return [row, ...rowsOf(field, `${path}.`, '')]
    const tag = tagOf(field.oneOf)
    return [
      row,
      ...field.oneOf.flatMap((variant) =>
        rowsOf(variant, `${path}.`, ` with ${code(variant.properties?.[tag]?.const)}`),
      ),
    ]
  })
}

function typeOf(schema: JsonSchema): string {
  if (schema.oneOf) {
    const tag = tagOf(schema.oneOf)
    return `object, ${code(tag)} is ${alternatives(schema.oneOf.map((variant) => variant.properties?.[tag]?.const))}`
  }
  if (schema.enum) return alternatives(schema.enum)
  if (schema.writeOnly) return '**secret**'
  if (schema.anyOf) {
    // No secret, but a credential may hold it all the same.
    const held = schema.anyOf.some(({ properties }) => properties?.secret !== undefined)
    return held ? 'string or reference' : schema.anyOf.map(typeOf).join(' or ')
  }
  if (schema.type === 'array') return `list of ${schema.items ? typeOf(schema.items) : 'anything'}`
  if (typeof schema.additionalProperties === 'object') return `object of ${typeOf(schema.additionalProperties)}`
  const bounded = schema.minimum !== undefined && schema.maximum !== undefined
  return `${schema.type ?? 'anything'}${bounded ? `, ${schema.minimum} to ${schema.maximum}` : ''}`
}

function defaultOf(schema: JsonSchema, required: boolean): string {
  if (schema.default !== undefined)
    return code(typeof schema.default === 'string' ? schema.default : JSON.stringify(schema.default))
  return required || schema.$comment?.startsWith('required') ? 'required' : 'none'
}

/** The field whose fixed value tells the variants of an object apart. */
function tagOf(variants: JsonSchema[]): string {
  const found = Object.entries(variants[0]?.properties ?? {}).find(([, field]) => field.const !== undefined)
  return found?.[0] ?? ''
}

function alternatives(values: unknown[]): string {
  return values.map(code).join(', ')
}

function code(value: unknown): string {
  return `\`${String(value)}\``
}

function table([head = [], ...rows]: string[][]): string {
  const line = (cells: string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(head), `|${'---|'.repeat(head.length)}`, ...rows.map(line)].join('\n')
}

function main(): void {
  const check = process.argv.includes('--check')
  for (const page of Object.keys(GENERATED)) {
    const file = fileURLToPath(new URL(`../${page}`, import.meta.url))
    const text = readFileSync(file, 'utf8')
    const stale = staleParts(page, text).join(', ')
    if (check && stale) {
      console.error(`${page}: ${stale} is out of date; npm run docs writes it`)
      process.exitCode = 1
    } else {
      if (stale) writeFileSync(file, regenerate(page, text))
      console.log(`${page}: ${stale ? `${stale} written` : 'up to date'}`)
    }
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main()
