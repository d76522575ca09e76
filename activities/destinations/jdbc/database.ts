// The operations that every database provides for a delivery, on one connection.
import type { Batch, Column } from './batches.ts'
import type { JdbcConfig } from './config.ts'
import type { TableName } from './identifiers.ts'

export interface LedgerEntry {
  delivery_id: string
  distribution_id: string
  rows: number
}

/** An open connection. All its errors are DeliveryErrors; anything else is a bug. */
export interface Database {
  /** A round trip without effect, to check the connection between deliveries. */
  check(): Promise<unknown>
  /** Closes the socket at once. */
  destroy(): void
  /** Logs out, and then closes the socket. */
  close(): void
  /**
   * The columns of the table by name. Read again for each delivery, because a table can change while a connection is
   * open.
   * @throws DeliveryError MISCONFIGURED when there is no such table
   */
  describe(): Promise<TableDescription>
  /**
   * Begins a transaction. With `lock`, it first waits for a lock of that name, which no other session can then hold.
   */
  begin(lock?: string): Promise<void>
  commit(): Promise<void>
  rollback(): Promise<void>
  /**
   * Inserts the delivery into the ledger; `known` if it has the entry, even if another transaction is just committing
   * it.
   */
  enter(ledger: TableName, entry: LedgerEntry): Promise<'entered' | 'known' | 'no ledger'>
  /** Creates the ledger if it does not exist. Call it outside of a transaction. */
  createLedger(ledger: TableName): Promise<void>
  /** Releases the lock of `begin`, after the transaction. */
  unlock(name: string): Promise<void>
  /** Whether a row has this text in the column. */
  holds(column: Column, text: string): Promise<boolean>
  /** Writes a batch with one statement, or with several if the server's limits require it. Returns the rows written. */
  write(batch: Batch): Promise<number>
}

export interface TableDescription {
  column(name: string): Column | undefined
}

export type DatabaseConfig = JdbcConfig
