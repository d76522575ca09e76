// The columns of a table, with what decides how a value is stored.
import { DeliveryError } from '../../errors.ts'
import type { Column } from '../batches.ts'
import type { TableDescription } from '../database.ts'
import { backticked, type TableName } from '../identifiers.ts'
import { missingTable } from '../messages.ts'
import type { MysqlConnection } from './connection.ts'
import { numberOf } from './failure.ts'

export interface MysqlColumn extends Column {
  /** As `information_schema` has it: `bigint`, `datetime`; `json` also for a text that is checked to be JSON. */
  type: string
  /** The values of an enumeration, which may be mistaken for positions in it. */
  labels?: readonly string[]
  /** Of a text: characters, or bytes for the types that are named `text`. */
  length?: number
  /** Of `bit`. */
  bits?: number
  /** Digits of a second. */
  digits?: number
  nullable: boolean
  /** MySQL's own JSON, which keeps whole numbers of 64 bits and otherwise floating-point ones. */
  native_json?: true
}

/** @throws DeliveryError MISCONFIGURED for a table that is not there, or cannot be rolled back; else the client's errors */
export async function describe(connection: MysqlConnection, name: TableName, place: string): Promise<TableDescription> {
  const { rows } = await connection.query(question(name))
  const table = name.at(-1)!
  // Where the names of tables have case, it is not looked at there.
  const isExact = rows.some(([found]) => found === table)
  const own = isExact ? rows.filter(([found]) => found === table) : rows
  const columns = own.filter(([, column]) => column !== null)
  if (columns.length === 0) throw missingTable(place)
  if (columns[0]![4] === 'NO') throw withoutTransactions(place)
  const seen = own.filter(([, column]) => column === null).map(([, , , clause]) => String(clause))
  const mayHaveMore = seen.length === 0 && columns.some(([, , type]) => String(type).toLowerCase() === 'longtext')
  const checks = mayHaveMore ? await checksIn(connection, name) : seen
  const byName = new Map(columns.map((row) => [String(row[1]).toLowerCase(), columnOf(row, checks)]))
  // Columns have no case there.
  return { column: (column) => byName.get(column.toLowerCase()) }
}

/** Who has rights to the table alone sees its checks only where it is shown as a whole. */
async function checksIn(connection: MysqlConnection, name: TableName): Promise<string[]> {
  try {
    const { rows } = await connection.query(`show create table ${name.map(backticked).join('.')}`)
    const lines = String(rows[0]?.[1]).split('\n')
    return lines.flatMap((line) => / CHECK \((.*)\),?$/.exec(line)?.[1] ?? [])
  } catch (error) {
    // Not even that; what the column is made of is then not known.
    if (numberOf(error) === undefined) throw error
    return []
  }
}

/** A row for each column; on MariaDB, whose JSON is a `longtext` with a check, also one for each check of the table. */
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

/** The same text whatever the session takes backslashes and quotation marks for. */
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

/** One of the checks asks for JSON in this column, and for nothing else in its place. */
function isCheckedJson(name: string, checks: readonly string[]): boolean {
  const column = `\`${name.replaceAll('`', '``')}\``.toLowerCase()
  return checks.some((check) => {
    const rest = check.toLowerCase().replaceAll(`${column} is null or `, '')
    const [before, after] = rest.split(`json_valid(${column})`)
    if (before === undefined || after === undefined) return false
    return !/\b(or|not|xor|case|if)\b|!|\|\|/.test(before + after) && !/^\s*([=<>]|is )/.test(after)
  })
}

/** Of `enum('a','b')` and `set('a','b')`. */
function labelsIn(definition: string): Pick<MysqlColumn, 'labels'> {
  if (!/^(enum|set)\(/i.test(definition)) return {}
  return { labels: [...definition.matchAll(/'((?:[^']|'')*)'/g)].map(([, label]) => label!.replaceAll("''", "'")) }
}
