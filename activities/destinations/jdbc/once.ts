// Writes a delivery exactly once: all rows in one transaction, together with a record of the delivery id. If the reply
// to the commit is lost, the next attempt finds that record and writes nothing.
import type { Message } from '../destination.ts'
import { DeliveryError } from '../errors.ts'
import { batchesOf } from './batches.ts'
import type { JdbcConfig } from './config.ts'
import type { Database, TableDescription } from './database.ts'
import { parseTableName, type TableName } from './identifiers.ts'
import type { Rows } from './rows.ts'

const LEDGER = 'distributor_deliveries'

export interface Outcome {
  /** Rows that this attempt wrote; with mode `ignore`, rows that already existed are not counted. */
  rows: number
  /** An earlier attempt had already written the rows. */
  repeat: boolean
}

/** @throws DeliveryError; then no row of the delivery was written, unless the reply to the commit was lost */
export async function writeOnce(
  database: Database,
  config: JdbcConfig,
  message: Message,
  rows: Rows,
  expect: (what: string) => void,
): Promise<Outcome> {
  expect('describe the table')
  const table = await database.describe()
  const batches = batchesOf(rows.each(), {
    size: config.batch_size,
    column: table.column,
    apart: config.mode === 'upsert' ? config.key_columns : undefined,
  })
  const write = async () => {
    expect('write the rows')
    let written = 0
    for (const batch of batches) written += await database.write(batch)
    expect('commit')
    await database.commit()
    return { rows: written, repeat: false }
  }
  const seenBefore = async () => {
    afterwards(database.rollback())
    return { rows: 0, repeat: true }
  }
  expect('open the transaction')
  if (config.delivery_id_column !== undefined) {
    const column = columnOf(table, config.delivery_id_column)
    // The lock is taken first, because the first statement may fix the snapshot of the transaction.
    await database.begin(message.delivery_id)
    const outcome = await ((await database.holds(column, message.delivery_id)) ? seenBefore() : write())
    afterwards(database.unlock(message.delivery_id))
    return outcome
  }
  const entered = await enter(database, ledgerOf(config), {
    delivery_id: message.delivery_id,
    distribution_id: message.distribution_id,
    rows: rows.count,
  })
  return entered ? write() : seenBefore()
}

/** `ledger_table`, or the default name in the schema of the table. */
export function ledgerOf(config: JdbcConfig): TableName {
  if (config.ledger_table !== undefined) return parseTableName(config.ledger_table)!
  const table = parseTableName(config.table)!
  return table.length === 2 ? [table[0], LEDGER] : [LEDGER]
}

/** Begins the transaction and enters the delivery in the ledger; false when the ledger already has it. */
async function enter(database: Database, ledger: TableName, entry: Parameters<Database['enter']>[1]): Promise<boolean> {
  await database.begin()
  let entered = await database.enter(ledger, entry)
  if (entered === 'no ledger') {
    // A new transaction: a failed statement ends the old one, and so does the creation of a table.
    await database.rollback()
    await database.createLedger(ledger)
    await database.begin()
    entered = await database.enter(ledger, entry)
  }
  if (entered === 'no ledger')
    throw new DeliveryError('UNAUTHORIZED', 'the ledger table was created, but the user may not write to it')
  return entered === 'entered'
}

/** Ignores a failure of the clean-up: a broken connection is detected before its next use. */
function afterwards(asked: Promise<void>): void {
  asked.catch(() => {})
}

function columnOf(table: TableDescription, name: string) {
  const column = table.column(name)
  if (!column) throw new DeliveryError('MISCONFIGURED', `the table has no column "${name}" for the delivery id`)
  return column
}
