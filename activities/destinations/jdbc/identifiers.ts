// Names of tables and columns. In a statement they are always quoted.
import { randomBytes } from 'node:crypto'

/** The parts of a table's name, outermost first: a schema (MySQL: a database) and the table, or only the table. */
export type TableName = readonly [table: string] | readonly [schema: string, table: string]

const PART = /"((?:[^"]|"")+)"|`((?:[^`]|``)+)`|([^".`]+)/y

/**
 * `orders`, `sales.orders`, `"odd.name"."Ta""ble"`. The case of letters is kept. A part with a dot or a quotation mark
 * must be in quotation marks, and a quotation mark in it is doubled.
 * @returns undefined when the text is not such a name
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

/** In double quotation marks, as in the SQL standard and PostgreSQL. */
export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

/** A dollar-quoted literal: PostgreSQL reads no backslashes in it. The random tag cannot occur in the text. */
export function dollarQuoted(text: string): string {
  const tag = `$q${randomBytes(12).toString('hex')}$`
  return `${tag}${text}${tag}`
}

/** In backticks, which MySQL and MariaDB accept in every SQL mode. */
export function backticked(name: string): string {
  return `\`${name.replaceAll('`', '``')}\``
}

/** For messages. */
export function shown(name: TableName): string {
  return `"${name.join('.').slice(0, 150)}"`
}
