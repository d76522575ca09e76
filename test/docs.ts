// `npm run docs`: writes the tables of README.md anew from the schemas that they describe. With `--check` it changes
// nothing, names what is stale, and ends with 1.
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { configSchema } from '../activities/destinations/registry.ts'
import { LIMITS } from '../db/limits.ts'
import { PROTOCOLS } from '../db/states.ts'
import { describeSettings } from '../temporal-config/process/settings.ts'

const README = fileURLToPath(new URL('../README.md', import.meta.url))

/** What stands between the markers `<!-- docs: NAME -->` and `<!-- docs: end -->`, by name. */
const GENERATED: Record<string, () => string> = { settings, destinations, limits }

/** The text with each generated part as it should be. Throws when a part has no place in it. */
export function regenerate(text: string): string {
  return Object.entries(GENERATED).reduce((result, [name, make]) => {
    const { start, end } = place(result, name)
    return `${result.slice(0, start)}\n\n${make()}\n\n${result.slice(end)}`
  }, text)
}

/** Names of the generated parts that no longer say what the schemas say. */
export function staleParts(text: string): string[] {
  return Object.entries(GENERATED).flatMap(([name, make]) => {
    const { start, end } = place(text, name)
    return text.slice(start, end) === `\n\n${make()}\n\n` ? [] : [name]
  })
}

function place(text: string, name: string): { start: number; end: number } {
  const marker = `<!-- docs: ${name} -->`
  const start = text.indexOf(marker) + marker.length
  const end = text.indexOf('<!-- docs: end -->', start)
  if (start < marker.length || end < 0) throw new Error(`README.md has no place for ${name}: ${marker} is missing`)
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
  const text = readFileSync(README, 'utf8')
  const stale = staleParts(text)
  if (process.argv.includes('--check')) {
    for (const name of stale) console.error(`README.md: ${name} is stale; npm run docs writes it`)
    process.exitCode = stale.length > 0 ? 1 : 0
    return
  }
  writeFileSync(README, regenerate(text))
  console.log(`README.md: ${stale.length > 0 ? `${stale.join(', ')} written` : 'nothing to change'}`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main()
