// What both kinds of database do for a delivery, on one connection.
import type { Batch, Column } from './batches.ts'
import type { JdbcConfig } from './config.ts'
import type { TableName } from './identifiers.ts'

export interface LedgerEntry {
  delivery_id: string
  distribution_id: string
  rows: number
}

/** An open connection. What it throws is a DeliveryError, or a bug. */
export interface Database {
  /** One round trip without effect, between deliveries. */
  check(): Promise<unknown>
  /** Ends the socket at once. */
  destroy(): void
  /** Says goodbye, and ends the socket once that is sent. */
  close(): void
  /**
   * The columns of the table by their names; asked anew for each delivery, for tables change under a connection.
   * @throws DeliveryError MISCONFIGURED when there is no such table
   */
  describe(): Promise<TableDescription>
  /** With a lock, nobody else on this database holds the one of that name from before the transaction began. */
  begin(lock?: string): Promise<void>
  commit(): Promise<void>
  rollback(): Promise<void>
  /** Notes in this transaction that the delivery is done; `known` when it is there, also by somebody who just commits. */
  enter(ledger: TableName, entry: LedgerEntry): Promise<'entered' | 'known' | 'no ledger'>
  /** Outside of a transaction. It does no harm when it is there. */
  createLedger(ledger: TableName): Promise<void>
  /** After the transaction. */
  unlock(name: string): Promise<void>
  /** Whether a row has this text in that column. */
  holds(column: Column, text: string): Promise<boolean>
  /** One statement, or several where the server's limits ask for it; how many rows were written. */
  write(batch: Batch): Promise<number>
}

export interface TableDescription {
  column(name: string): Column | undefined
}

/** What a connection is opened for. */
export type DatabaseConfig = JdbcConfig
