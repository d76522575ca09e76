// Names of tables and columns. Whatever is in them, they reach a statement in quotation marks and nowhere else.
import { randomBytes } from 'node:crypto'

/** The parts of a table's name, outermost first: a schema (MySQL: a database) and the table, or the table alone. */
export type TableName = readonly [table: string] | readonly [schema: string, table: string]

const PART = /"((?:[^"]|"")+)"|`((?:[^`]|``)+)`|([^".`]+)/y

/**
 * `orders`, `sales.orders`, `"odd.name"."Ta""ble"`. Each part means exactly what it says: no case is folded, and one with
 * a dot or a quotation mark stands in quotation marks itself, which are doubled inside.
 * @returns undefined for what is no such name
 */
export function parseTableName(text: string): TableName | undefined {
  const parts: string[] = []
  PART.lastIndex = 0
  for (;;) {
    const match = PART.exec(text)
    if (!match) return undefined
    parts.push(match[1]?.replaceAll('""', '"') ?? match[2]?.replaceAll('``', '`') ?? match[3]!)
    const end = match.index + match[0].length
    if (end === text.length) break
    if (text[end] !== '.') return undefined
    PART.lastIndex = end + 1
  }
  return parts.length <= 2 ? (parts as [string] | [string, string]) : undefined
}

/** In double quotation marks, as the SQL standard and PostgreSQL have it. */
export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

/** A text as PostgreSQL reads it whatever it takes backslashes for; none has the tag, which nobody knows beforehand. */
export function dollarQuoted(text: string): string {
  const tag = `$q${randomBytes(12).toString('hex')}$`
  return `${tag}${text}${tag}`
}

/** In backticks, which MySQL and MariaDB take in every SQL mode. */
export function backticked(name: string): string {
  return `\`${name.replaceAll('`', '``')}\``
}

/** For messages. */
export function shown(name: TableName): string {
  return `"${name.join('.').slice(0, 150)}"`
}
