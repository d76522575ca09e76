// Writes to PostgreSQL. A batch is sent as one JSON text. The server converts each value with the input function of the
// column's type, so that no number loses a digit.

import { createHash } from 'node:crypto'
import type postgres from 'postgres'
import { DeliveryError } from '../../errors.ts'
import type { Attempt } from '../../network/deadline.ts'
import type { Egress } from '../../network/egress.ts'
import type { JdbcConfig } from '../config.ts'
import type { Database, TableDescription } from '../database.ts'
import { broken } from '../failure.ts'
import { dollarQuoted, parseTableName, quoted, shown, type TableName } from '../identifiers.ts'
import { ledgerWithoutKey, missingTable, noLedger } from '../messages.ts'
import { openPostgres, type PostgresConnection, type PostgresTarget } from './connection.ts'
import { postgresFailure, stateOf } from './failure.ts'
import type { ShapedBatch } from './recordset.ts'
import { catalogQuestion, type ShapedColumn, shapedColumns } from './shapes.ts'
import { writer } from './write.ts'

const UNDEFINED_TABLE = '42P01'
const INSUFFICIENT_PRIVILEGE = '42501'
/** SQLSTATEs of a session that creates a table while another session creates it too. */
const ALREADY_THERE = ['42P07', '42710', '23505']

export async function openPostgresDatabase(
  config: JdbcConfig,
  target: PostgresTarget,
  attempt: Attempt,
  egress: Egress,
): Promise<Database> {
  try {
    const { destroy, close, ...connection } = await openPostgres(config, target, attempt, egress)
    return { ...database(connection, config), destroy, close }
  } catch (error) {
    throw postgresFailure(error)
  }
}

function database(
  { sql, settings, pooled }: Pick<PostgresConnection, 'sql' | 'settings' | 'pooled'>,
  config: JdbcConfig,
): Omit<Database, 'destroy' | 'close'> {
  const name = parseTableName(config.table)!
  const table = dotted(name)
  const place = `the table ${shown(name)}`
  const write = writer(sql, config, { table, place, settings })
  let ledgerSeen = false

  const run = (text: string, parameters: string[] = [], about = place) =>
    sql.unsafe(text, parameters).then(
      (rows) => rows,
      (error: unknown) => {
        throw postgresFailure(error, { place: about })
      },
    )

  return {
    // Triggers may have left settings, locks and temporary tables in the session. Not behind a pooler: there each
    // transaction may use another connection, and these may belong to another client. No rollback here: after a success
    // no transaction is open, and the server would log a warning each time.
    check: () => run(pooled ? 'select 1' : 'select pg_advisory_unlock_all(); reset all; discard temp'),

    describe: () => describe(sql, name, place, settings),

    async begin(lock) {
      const begin = `begin isolation level ${config.isolation_level.replace('_', ' ')}; ${settings}`
      if (lock === undefined) return void (await run(begin))
      // One message, so that a pooler sends all of it to the same connection. The session takes the lock before the
      // transaction, which takes it too and keeps it until its end; the session keeps nothing.
      const key = lockKey(lock)
      const first = `begin; ${settings}; select pg_advisory_lock(${key}); commit`
      await run(`${first}; ${begin}; select pg_advisory_xact_lock(${key}); select pg_advisory_unlock(${key})`)
    },
    commit: async () => {
      const { command } = await run('commit')
      // PostgreSQL answers the commit of a failed transaction with a rollback, but not with an error.
      if (command !== 'COMMIT') throw new DeliveryError('DESTINATION_UNAVAILABLE', `${place}: rolled back`)
    },
    rollback: async () => {
      await run('rollback')
    },

    async enter(ledger, { delivery_id, distribution_id, rows }) {
      // Without a conflict target, the right to insert is enough.
      const text = `insert into ${dotted(ledger)} (delivery_id, distribution_id, row_count) values ($1, $2, $3) on conflict do nothing`
      try {
        if (!ledgerSeen) ledgerSeen = await isLedger(sql, ledger)
        const { count } = await sql.unsafe(text, [delivery_id, distribution_id, String(rows)])
        return count === 0 ? 'known' : 'entered'
      } catch (error) {
        if (stateOf(error) === UNDEFINED_TABLE) return 'no ledger'
        throw postgresFailure(error, { place: `the ledger table ${shown(ledger)}` })
      }
    },

    async createLedger(ledger) {
      try {
        // Both statements in one message, so that they are one transaction.
        await sql.unsafe(
          `${settings}; create table if not exists ${dotted(ledger)} (
            delivery_id varchar(255) primary key,
            distribution_id varchar(255) not null,
            row_count integer not null,
            delivered_at timestamptz not null default now()
          )`,
        )
      } catch (error) {
        const state = stateOf(error)
        if (state !== undefined && ALREADY_THERE.includes(state)) return
        if (state === INSUFFICIENT_PRIVILEGE)
          throw noLedger(ledger, 'is missing and the user may not create it', `SQLSTATE ${state}`)
        throw postgresFailure(error, { place: `the ledger table ${shown(ledger)}` })
      }
    },

    // The lock ended with the transaction.
    unlock: async () => {},

    async holds(column, text) {
      const rows = await run(`select 1 from ${table} where ${quoted(column.name)} = $1 limit 1`, [text])
      return rows.length > 0
    },

    write: (batch) => write(batch as ShapedBatch),
  }
}

async function describe(
  sql: postgres.Sql,
  name: TableName,
  place: string,
  settings: string,
): Promise<TableDescription> {
  try {
    const text = `begin read only; ${settings}; ${catalogQuestion(dollarQuoted(dotted(name)))}; end`
    const [answer] = (await sql.unsafe(text)).flat() as { described?: unknown }[]
    const columns = described(answer?.described)
    if (columns.length === 0) throw missingTable(place)
    const byName = new Map(columns.map((column) => [column.name, column]))
    return { column: (column) => byName.get(column) }
  } catch (error) {
    throw postgresFailure(error, { place })
  }
}

/**
 * Whether the ledger table exists and this transaction sees it: another session may have just created it.
 * @throws DeliveryError MISCONFIGURED when the table cannot identify a repeat
 */
async function isLedger(sql: postgres.Sql, name: TableName): Promise<boolean> {
  const text = `select exists (
      select 1 from pg_catalog.pg_index i
      join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
      where i.indrelid = ledger.oid and i.indisunique and i.indimmediate and i.indisvalid and i.indpred is null
        and i.indnkeyatts = 1 and a.attname = 'delivery_id') as has_key
    from pg_catalog.pg_class ledger
    where ledger.oid = pg_catalog.to_regclass($1::text)`
  const [found] = await sql.unsafe<{ has_key: boolean }[]>(text, [dotted(name)])
  if (found && !found.has_key) throw ledgerWithoutKey(name)
  return found !== undefined
}

function dotted(name: TableName): string {
  return name.map(quoted).join('.')
}

function described(answer: unknown): ShapedColumn[] {
  try {
    return shapedColumns(String(answer))
  } catch {
    throw broken('no description of the table')
  }
}

/** The 64-bit number of an advisory lock. */
function lockKey(name: string): string {
  return createHash('sha256').update(`distributor ${name}`).digest().readBigInt64BE(0).toString()
}
