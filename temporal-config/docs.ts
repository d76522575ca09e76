// `npm run docs`: writes the README's tables anew from the schemas that the programs themselves use.
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { AVAILABLE_PROTOCOLS, configSchema } from '../activities/destinations/registry.ts'
import { describeSettings } from './env.ts'

const README = new URL('../README.md', import.meta.url)

interface Schema {
  description?: string
  type?: string | string[]
  const?: unknown
  enum?: unknown[]
  default?: unknown
  properties?: Record<string, Schema>
  required?: string[]
  oneOf?: Schema[]
  anyOf?: Schema[]
}

/** The README with every generated section as it should be. Throws when a section's marks are missing. */
export function withTables(readme: string): string {
  let text = section(readme, 'settings', settingsTable())
  for (const protocol of AVAILABLE_PROTOCOLS) {
    text = section(text, protocol, fieldsTable(configSchema(protocol) as Schema))
  }
  return text
}

function section(text: string, name: string, content: string): string {
  const [begin, end] = [`<!-- generated: ${name} -->`, '<!-- end -->']
  const from = text.indexOf(begin)
  const to = text.indexOf(end, from)
  if (from === -1 || to === -1) throw new Error(`README.md has no section ${begin} … ${end}`)
  return `${text.slice(0, from + begin.length)}\n${content}\n${text.slice(to)}`
}

function settingsTable(): string {
  const rows = describeSettings().map(({ name, shown, meaning }) => [`\`${name}\``, shown, meaning])
  return table(['setting', 'default', 'meaning'], rows)
}

function fieldsTable(schema: Schema): string {
  return table(['field', 'values', 'default', 'meaning'], fields(schema, ''))
}

/** One row per field, with those of an object below it under their whole path. */
function fields(schema: Schema, prefix: string): string[][] {
  const required = new Set(schema.required)
  return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const path = `${prefix}${name}`
    const fallback =
      field.default !== undefined ? code(field.default) : required.has(name) && prefix === '' ? 'required' : ''
    const row = [`\`${path}\``, values(field), fallback, field.description ?? '']
    const kinds = (field.oneOf ?? field.anyOf ?? []).filter((kind) => kind.properties?.type?.const !== undefined)
    if (kinds.length === 0) return [row, ...fields(field, `${path}.`)]
    return [row, ...kinds.map((kind) => kindRow(path, kind))]
  })
}

/** A kind of a field that has several, such as each way to authenticate, on one row. */
function kindRow(path: string, kind: Schema): string[] {
  const { type, ...rest } = kind.properties ?? {}
  const names = Object.keys(rest).map((name) => `\`${name}\``)
  return [`\`${path}\` of type \`${type?.const}\``, names.join(', ') || 'nothing more', '', kind.description ?? '']
}

function values(field: Schema): string {
  if (field.enum) return field.enum.map(code).join(', ')
  const of = field.oneOf ?? field.anyOf
  if (of?.some((kind) => kind.properties?.secret)) return 'secret'
  if (of) return 'object'
  return [field.type ?? ''].flat().join(' or ')
}

function code(value: unknown): string {
  return `\`${typeof value === 'string' ? value : JSON.stringify(value)}\``
}

function table(head: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(README, withTables(readFileSync(README, 'utf8')))
  console.log('README.md: the tables are up to date')
}
