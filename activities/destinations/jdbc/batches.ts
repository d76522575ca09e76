// Rows that go into one statement.
import { DeliveryError } from '../errors.ts'
import { storable } from '../storable.ts'
import { isNumber, jsonText } from './json.ts'
import type { Cell, Row } from './rows.ts'

/** A column as the database knows it. */
export interface Column {
  name: string
  /** As the database names it, for its own statements. */
  type: string
}

export interface Batch {
  columns: Column[]
  rows: Cell[][]
  /** The number of its first row in the delivery, from 1. */
  first: number
}

/** However many rows may go into one statement. */
const MAX_CELLS = 100_000
/** Of one statement, unless a single row has more. Well below what every server takes. */
export const MAX_STATEMENT_BYTES = 4 * 1024 * 1024
/** Columns may all show the same part of a payload: a row can be many times as large as that. */
export const MAX_ROW_BYTES = 64 * 1024 * 1024

export interface BatchOptions {
  /** Rows in one, at most. */
  size: number
  /** By the name that a row has for it; undefined for a column that does not exist. */
  column(name: string): Column | undefined
  /** Rows that are spelled the same in these never share a statement, so that the later one wins. */
  apart?: readonly string[] | undefined
}

/**
 * Rows in their order; those of one batch follow on each other and fill the same columns.
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

/** A number and a text of the same digits are one key to most columns. */
function keyOf(row: Row, columns: readonly string[]): string {
  return columns
    .map((name) => row.cells[row.columns.indexOf(name)])
    .map((cell) => (isNumber(cell) ? JSON.stringify(cell.value) : jsonText(cell)))
    .join('\0')
}
