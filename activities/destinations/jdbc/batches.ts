// Rows that go into one statement.
import { DeliveryError } from '../errors.ts'
import { storable } from '../storable.ts'
import { jsonText } from './json.ts'
import type { Cell, Row } from './rows.ts'

/** A column as the database knows it. */
export interface Column {
  name: string
  /** As the database names it, for its own statements. */
  type: string
  /** The values of an enumeration, where they may be mistaken for positions in it. */
  labels?: readonly string[]
}

export interface Batch {
  columns: Column[]
  rows: Cell[][]
  /** The number of its first row in the delivery, from 1. */
  first: number
}

export interface BatchOptions {
  size: number
  /** By the name that a row has for it; undefined for a column that does not exist. */
  column(name: string): Column | undefined
  /** Rows that are equal in these never share a statement, so that the later one wins. */
  apart?: readonly string[] | undefined
}

/**
 * Rows in their order; those of one batch follow on each other and fill the same columns.
 * @throws DeliveryError MISCONFIGURED for a column that does not exist
 */
export function batchesOf(rows: readonly Row[], { size, column, apart }: BatchOptions): Batch[] {
  const batches: Batch[] = []
  let shape: string | undefined
  let keys = new Set<string>()
  rows.forEach((row, index) => {
    const rowShape = row.columns.join('\0')
    const key = apart && keyOf(row, apart)
    const current = batches.at(-1)
    if (!current || rowShape !== shape || current.rows.length >= size || (key !== undefined && keys.has(key))) {
      shape = rowShape
      keys = new Set()
      batches.push({ columns: row.columns.map((name) => known(name, column)), rows: [row.cells], first: index + 1 })
    } else current.rows.push(row.cells)
    if (key !== undefined) keys.add(key)
  })
  return batches
}

function known(name: string, column: BatchOptions['column']): Column {
  const found = column(name)
  if (!found) throw new DeliveryError('MISCONFIGURED', `the table has no column "${storable(name.slice(0, 100))}"`)
  return found
}

function keyOf(row: Row, columns: readonly string[]): string {
  return columns.map((name) => jsonText(row.cells[row.columns.indexOf(name)])).join('\0')
}
