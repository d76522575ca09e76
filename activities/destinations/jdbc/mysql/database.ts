// Writing to MySQL and MariaDB: prepared statements of many rows.
import { createHash } from 'node:crypto'
import { DeliveryError } from '../../errors.ts'
import type { Attempt } from '../../network/deadline.ts'
import type { Egress } from '../../network/egress.ts'
import { type Batch, MAX_ROW_BYTES, MAX_STATEMENT_BYTES, rowTooLarge } from '../batches.ts'
import type { JdbcConfig } from '../config.ts'
import type { Database } from '../database.ts'
import { backticked, parseTableName, shown, type TableName } from '../identifiers.ts'
import { ledgerWithoutKey, noLedger } from '../messages.ts'
import { describe, type MysqlColumn, withoutTransactions } from './columns.ts'
import { type MysqlConnection, type MysqlTarget, openMysql, type Parameter } from './connection.ts'
import { mysqlFailure, numberOf, type Statement } from './failure.ts'
import { parameterOf } from './values.ts'

const DUPLICATE_ENTRY = 1062
const NO_SUCH_TABLE = 1146
const NO_RIGHTS = [1142, 1044]

/** The protocol counts parameters with 16 bits. */
const MAX_PARAMETERS = 65_535

export async function openMysqlDatabase(
  config: JdbcConfig,
  target: MysqlTarget,
  attempt: Attempt,
  egress: Egress,
): Promise<Database> {
  try {
    return database(await openMysql(config, target, attempt, egress), config, target)
  } catch (error) {
    throw mysqlFailure(error)
  }
}

function database(connection: MysqlConnection, config: JdbcConfig, target: MysqlTarget): Database {
  const name = parseTableName(config.table)!
  const table = dotted(name)
  const place = `the table ${shown(name)}`
  let ledgerSeen = false

  const query = (text: string) => explained(connection.query(text), { place })
  const execute = (text: string, parameters: Parameter[], about: Statement = { place }) =>
    explained(connection.execute(text, parameters), about)

  async function lock(name: string): Promise<void> {
    const { rows } = await execute('select get_lock(?, ?)', [lockName(name), String(Math.ceil(config.timeout_seconds))])
    if (Number(rows[0]?.[0]) !== 1) {
      throw new DeliveryError('DESTINATION_UNAVAILABLE', 'an earlier attempt of the same delivery still holds its lock')
    }
  }

  return {
    // Triggers may have changed settings of the session.
    check: () => connection.setUp(),
    destroy: connection.destroy,
    close: connection.close,

    describe: () => explained(describe(connection, name, place), { place }),

    async begin(name) {
      if (name !== undefined) await lock(name)
      await query('start transaction')
    },
    commit: async () => {
      await query('commit')
    },
    rollback: async () => {
      await query('rollback')
    },

    async enter(ledger, { delivery_id, distribution_id, rows }) {
      if (!ledgerSeen) ledgerSeen = await isLedger(connection, ledger)
      const text = `insert into ${dotted(ledger)} (delivery_id, distribution_id, row_count) values (?, ?, ?)`
      try {
        await connection.execute(text, [delivery_id, distribution_id, String(rows)])
        return 'entered'
      } catch (error) {
        if (numberOf(error) === DUPLICATE_ENTRY) return 'known'
        // Without rights to a table the server does not say whether it exists.
        if (isOneOf(error, [NO_SUCH_TABLE, ...NO_RIGHTS])) return 'no ledger'
        throw mysqlFailure(error, { place: `the ledger table ${shown(ledger)}` })
      }
    },

    async createLedger(ledger) {
      try {
        await connection.query(
          `create table if not exists ${dotted(ledger)} (
            delivery_id varchar(255) character set ascii collate ascii_bin primary key,
            distribution_id varchar(255) character set ascii not null,
            row_count int not null,
            delivered_at timestamp(6) not null default current_timestamp(6)
          ) engine = InnoDB`,
        )
      } catch (error) {
        if (isOneOf(error, NO_RIGHTS)) {
          const trouble = 'is missing or forbidden to the user, who may not create it'
          throw noLedger(ledger, trouble, `error ${numberOf(error)}`)
        }
        throw mysqlFailure(error, { place: `the ledger table ${shown(ledger)}` })
      }
    },

    unlock: async (lock) => {
      await execute('select release_lock(?)', [lockName(lock)])
    },

    async holds(column, text) {
      const { rows } = await execute(`select 1 from ${table} where ${backticked(column.name)} = ? limit 1`, [text])
      return rows.length > 0
    },

    async write(batch) {
      let written = 0
      for (const part of parts(batch, target.parameters.time_zone)) {
        const text = insert(table, config, batch, part.rows)
        const columns = batch.columns.map((column) => column.name)
        const { affected } = await execute(text, part.parameters, { place, columns, first: part.first })
        // The server counts a row that is overwritten twice.
        written += config.mode === 'upsert' ? part.rows : affected
      }
      return written
    },
  }
}

function isOneOf(error: unknown, numbers: number[]): boolean {
  const number = numberOf(error)
  return number !== undefined && numbers.includes(number)
}

async function explained<T>(result: Promise<T>, statement: Statement): Promise<T> {
  try {
    return await result
  } catch (error) {
    throw mysqlFailure(error, statement)
  }
}

/**
 * Whether the ledger table exists.
 * @throws DeliveryError MISCONFIGURED when it cannot identify a repeat, or its engine has no transactions: an entry that
 * cannot be rolled back would make a rejected delivery look successful
 */
async function isLedger(connection: MysqlConnection, name: TableName): Promise<boolean> {
  const place = `the ledger table ${shown(name)}`
  const text = `select e.transactions, exists (
      select 1 from information_schema.statistics s
      where s.table_schema = t.table_schema and s.table_name = t.table_name and s.non_unique = 0
      group by s.index_name
      having count(*) = 1 and max(lower(s.column_name)) = 'delivery_id' and max(s.sub_part) is null)
    from information_schema.tables t
    left join information_schema.engines e on e.engine = t.engine
    where t.table_schema = ${name.length === 2 ? '?' : 'database()'} and t.table_name = ?`
  const { rows } = await explained(connection.execute(text, [...name]), { place })
  if (!rows[0]) return false
  if (rows[0][0] === 'NO') throw withoutTransactions(place)
  if (Number(rows[0][1]) !== 1) throw ledgerWithoutKey(name)
  return true
}

interface Part {
  rows: number
  parameters: Parameter[]
  first: number
}

function* parts(batch: Batch, timeZone: string): Generator<Part> {
  let part: Part = { rows: 0, parameters: [], first: batch.first }
  let bytes = 0
  const columns = batch.columns as MysqlColumn[]
  for (const [index, cells] of batch.rows.entries()) {
    const row = batch.first + index
    const parameters: Parameter[] = []
    let size = 0
    for (const [at, column] of columns.entries()) {
      const parameter = parameterOf(cells[at], column, { column: column.name, row }, timeZone)
      size += sizeOf(parameter)
      if (size > MAX_ROW_BYTES) throw rowTooLarge(row)
      parameters.push(parameter)
    }
    const tooMany = part.parameters.length + parameters.length > MAX_PARAMETERS
    if (part.rows > 0 && (tooMany || bytes + size > MAX_STATEMENT_BYTES)) {
      yield part
      part = { rows: 0, parameters: [], first: row }
      bytes = 0
    }
    part.rows++
    for (const parameter of parameters) part.parameters.push(parameter)
    bytes += size
  }
  yield part
}

function sizeOf(parameter: Parameter): number {
  if (typeof parameter === 'string') return Buffer.byteLength(parameter) + 9
  return Buffer.isBuffer(parameter) ? parameter.length + 9 : 1
}

function insert(table: string, config: JdbcConfig, batch: Batch, rows: number): string {
  const names = batch.columns.map(({ name }) => backticked(name))
  const row = `(${names.map(() => '?').join(', ')})`
  const values = Array.from({ length: rows }, () => row).join(', ')
  return `insert into ${table} (${names.join(', ')}) values ${values}${onDuplicateKey(config, names)}`
}

/** Not `insert ignore`, which also accepts values that do not fit. */
function onDuplicateKey({ mode, key_columns = [] }: JdbcConfig, names: string[]): string {
  if (mode === 'insert') return ''
  const keys = key_columns.map((name) => backticked(name).toLowerCase())
  const changed = mode === 'upsert' ? names.filter((name) => !keys.includes(name.toLowerCase())) : []
  if (changed.length === 0) return ` on duplicate key update ${names[0]} = ${names[0]}`
  return ` on duplicate key update ${changed.map((name) => `${name} = values(${name})`).join(', ')}`
}

function dotted(name: TableName): string {
  return name.map(backticked).join('.')
}

/** Names of locks have at most 64 characters, and apply to the whole server. */
function lockName(name: string): string {
  return `distributor ${createHash('sha256').update(name).digest('base64url')}`
}
