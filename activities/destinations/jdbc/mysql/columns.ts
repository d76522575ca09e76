// Reads the columns of a table with everything that affects how a value is stored.
import { DeliveryError } from '../../errors.ts'
import type { Column } from '../batches.ts'
import type { TableDescription } from '../database.ts'
import { backticked, type TableName } from '../identifiers.ts'
import { missingTable } from '../messages.ts'
import type { MysqlConnection } from './connection.ts'
import { numberOf } from './failure.ts'

export interface MysqlColumn extends Column {
  /** The name in `information_schema`: `bigint`, `datetime`. Also `json` for a text column with a check for JSON. */
  type: string
  /** The values of an enumeration. A value that is a number could be mistaken for a position. */
  labels?: readonly string[]
  /** The length of a text column: characters, or bytes for the `text` types. */
  length?: number
  /** The number of bits of a `bit` column. */
  bits?: number
  /** The digits of a second's fraction. */
  digits?: number
  nullable: boolean
  /** MySQL's JSON type: it stores 64-bit integers, and all other numbers as floating point. */
  native_json?: true
}

/** @throws DeliveryError MISCONFIGURED if the table does not exist or has no transactions; else the client's errors */
export async function describe(connection: MysqlConnection, name: TableName, place: string): Promise<TableDescription> {
  const { rows } = await connection.query(question(name))
  const table = name.at(-1)!
  // `information_schema` ignores case, even on servers whose table names are case-sensitive.
  const isExact = rows.some(([found]) => found === table)
  const own = isExact ? rows.filter(([found]) => found === table) : rows
  const columns = own.filter(([, column]) => column !== null)
  if (columns.length === 0) throw missingTable(place)
  if (columns[0]![4] === 'NO') throw withoutTransactions(place)
  const seen = own.filter(([, column]) => column === null).map(([, , , clause]) => String(clause))
  const mayHaveMore = seen.length === 0 && columns.some(([, , type]) => String(type).toLowerCase() === 'longtext')
  const checks = mayHaveMore ? await checksIn(connection, name) : seen
  const byName = new Map(columns.map((row) => [String(row[1]).toLowerCase(), columnOf(row, checks)]))
  // Names of columns are not case-sensitive in MySQL and MariaDB.
  return { column: (column) => byName.get(column.toLowerCase()) }
}

/** A user with rights only to the table sees its checks only in `show create table`. */
async function checksIn(connection: MysqlConnection, name: TableName): Promise<string[]> {
  try {
    const { rows } = await connection.query(`show create table ${name.map(backticked).join('.')}`)
    const lines = String(rows[0]?.[1]).split('\n')
    return lines.flatMap((line) => / CHECK \((.*)\),?$/.exec(line)?.[1] ?? [])
  } catch (error) {
    // Not allowed either: whether the column is JSON is then unknown.
    if (numberOf(error) === undefined) throw error
    return []
  }
}

/** One row per column. On MariaDB, where JSON is a `longtext` with a check, also one row per check of the table. */
function question(name: TableName): string {
  const schema = name.length === 2 ? literal(name[0]) : 'database()'
  const table = literal(name.at(-1)!)
  return `select c.table_name, c.column_name, c.data_type, c.column_type, e.transactions, c.character_maximum_length,
      c.numeric_precision, c.datetime_precision, c.is_nullable
    from information_schema.columns c
    join information_schema.tables t on t.table_schema = c.table_schema and t.table_name = c.table_name
    left join information_schema.engines e on e.engine = t.engine
    where c.table_schema = ${schema} and c.table_name = ${table}
    /*M!100222 union all
    select k.table_name, null, null, k.check_clause, null, null, null, null, null
    from information_schema.check_constraints k
    where k.constraint_schema = ${schema} and k.table_name = ${table} and k.check_clause like '%json_valid(%' */`
}

/** A literal that does not depend on how the session treats backslashes and quotation marks. */
function literal(text: string): string {
  return `convert(x'${Buffer.from(text, 'utf8').toString('hex')}' using utf8mb4)`
}

export function withoutTransactions(place: string): DeliveryError {
  return new DeliveryError('MISCONFIGURED', `${place} has an engine without transactions; use InnoDB`)
}

function columnOf(row: unknown[], checks: readonly string[]): MysqlColumn {
  const [, column, type, definition, , length, bits, digits, nullable] = row
  const name = String(column)
  return {
    name,
    type: isCheckedJson(name, checks) ? 'json' : String(type).toLowerCase(),
    ...labelsIn(String(definition)),
    ...(length !== null && { length: Number(length) }),
    ...(bits !== null && { bits: Number(bits) }),
    ...(digits !== null && { digits: Number(digits) }),
    nullable: nullable !== 'NO',
    ...(type === 'json' && { native_json: true }),
  }
}

/** Whether one of the checks requires JSON in this column, without an alternative. */
function isCheckedJson(name: string, checks: readonly string[]): boolean {
  const column = `\`${name.replaceAll('`', '``')}\``.toLowerCase()
  return checks.some((check) => {
    const rest = check.toLowerCase().replaceAll(`${column} is null or `, '')
    const [before, after] = rest.split(`json_valid(${column})`)
    if (before === undefined || after === undefined) return false
    return !/\b(or|not|xor|case|if)\b|!|\|\|/.test(before + after) && !/^\s*([=<>]|is )/.test(after)
  })
}

/** The values of `enum('a','b')` and `set('a','b')`. */
function labelsIn(definition: string): Pick<MysqlColumn, 'labels'> {
  if (!/^(enum|set)\(/i.test(definition)) return {}
  return { labels: [...definition.matchAll(/'((?:[^']|'')*)'/g)].map(([, label]) => label!.replaceAll("''", "'")) }
}
