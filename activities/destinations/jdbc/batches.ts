// Groups rows for one statement each.
import { DeliveryError } from '../errors.ts'
import { storable } from '../storable.ts'
import { isNumber, jsonText } from './json.ts'
import type { Cell, Row } from './rows.ts'

/** A column as the database knows it. */
export interface Column {
  name: string
  /** The name of the type in the database's own SQL. */
  type: string
}

export interface Batch {
  columns: Column[]
  rows: Cell[][]
  /** The number of its first row in the delivery, from 1. */
  first: number
}

/** Most values in one statement, whatever the number of rows. */
const MAX_CELLS = 100_000
/** Most bytes in one statement, unless a single row has more. Well below the default limits of the servers. */
export const MAX_STATEMENT_BYTES = 4 * 1024 * 1024
/** Bounded, because many columns can read the same part of the payload: a row can be much larger than the payload. */
export const MAX_ROW_BYTES = 64 * 1024 * 1024

export interface BatchOptions {
  /** Most rows in one batch. */
  size: number
  /** Finds a column by the name in the row; undefined when the table has no such column. */
  column(name: string): Column | undefined
  /**
   * Two rows with the same text in these columns never share a statement, so that the later row replaces the earlier.
   */
  apart?: readonly string[] | undefined
}

/**
 * Yields the rows in their order. The rows of a batch are consecutive and fill the same columns.
 * @throws DeliveryError MISCONFIGURED for a column that does not exist
 */
export function* batchesOf(rows: Iterable<Row>, { size, column, apart }: BatchOptions): Generator<Batch> {
  let current: Batch | undefined
  let shape: string | undefined
  let keys = new Set<string>()
  let number = 0
  for (const row of rows) {
    number += 1
    const rowShape = row.columns.join('\0')
    const key = apart && keyOf(row, apart)
    const most = Math.min(size, MAX_CELLS / row.columns.length)
    if (!current || rowShape !== shape || current.rows.length + 1 > most || (key !== undefined && keys.has(key))) {
      if (current) yield current
      shape = rowShape
      keys = new Set()
      current = { columns: row.columns.map((name) => known(name, column)), rows: [row.cells], first: number }
    } else current.rows.push(row.cells)
    if (key !== undefined) keys.add(key)
  }
  if (current) yield current
}

export function rowTooLarge(row: number): DeliveryError {
  return new DeliveryError('REJECTED', `row ${row} is larger than ${MAX_ROW_BYTES / 1024 / 1024} MiB`)
}

function known(name: string, column: BatchOptions['column']): Column {
  const found = column(name)
  if (!found) throw new DeliveryError('MISCONFIGURED', `the table has no column "${storable(name.slice(0, 100))}"`)
  return found
}

/** To most columns, a number and a text with the same digits are the same key. */
function keyOf(row: Row, columns: readonly string[]): string {
  return columns
    .map((name) => row.cells[row.columns.indexOf(name)])
    .map((cell) => (isNumber(cell) ? JSON.stringify(cell.value) : jsonText(cell)))
    .join('\0')
}
