// Error messages that all databases share.
import { DeliveryError } from '../errors.ts'
import { shown, type TableName } from './identifiers.ts'

export interface CellPlace {
  column: string
  /** The number of the row in the delivery, from 1. */
  row: number
}

/**
 * A value that the server would store as another one.
 * @param reason without the value
 */
export function misfit({ column, row }: CellPlace, reason?: string): DeliveryError {
  const place = `column "${column.slice(0, 100)}", row ${row}`
  return new DeliveryError('REJECTED', `a value does not fit (${place})${reason === undefined ? '' : `: ${reason}`}`)
}

export function missingTable(place: string): DeliveryError {
  return new DeliveryError('MISCONFIGURED', `${place} does not exist, or the user may not see it`)
}

/**
 * Without such a key a repeat would be entered again; with another key, a different delivery could look like a repeat.
 */
export function ledgerWithoutKey(ledger: TableName): DeliveryError {
  return new DeliveryError(
    'MISCONFIGURED',
    `the ledger table ${shown(ledger)} needs delivery_id as its primary key, or as another unique key of only that column`,
  )
}

/**
 * @param trouble such as `is missing and the user may not create it`
 * @param label the server's code for its refusal
 */
export function noLedger(ledger: TableName, trouble: string, label: string): DeliveryError {
  const columns = 'delivery_id varchar(255) primary key, distribution_id varchar(255) and row_count integer'
  const message = `the ledger table ${shown(ledger)} ${trouble} (${label}): create it with ${columns}, or set "delivery_id_column"`
  return new DeliveryError('UNAUTHORIZED', message)
}
