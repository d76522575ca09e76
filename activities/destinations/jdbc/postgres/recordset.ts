// The rows of a statement as one JSON text, and the type with which PostgreSQL reads each column of it.
import { type Batch, MAX_ROW_BYTES, MAX_STATEMENT_BYTES, rowTooLarge } from '../batches.ts'
import { quoted } from '../identifiers.ts'
import { withinDepth } from '../json.ts'
import type { Cell } from '../rows.ts'
import type { Shape, ShapedColumn } from './shapes.ts'
import { jsonOf } from './values.ts'

/**
 * The type that a column is read with, when it is not the column's own. A timestamp without a zone is read as one with
 * a zone and converted to UTC; otherwise the zone would be lost without an error. Money is read as a number, because
 * its text form depends on the locale of the database.
 */
export function definition({ name, type, shape }: ShapedColumn): string {
  return `${quoted(name)} ${readAs(shape) ?? type}`
}

function readAs(shape: Shape): string | undefined {
  if (shape.kind === 'array') {
    const element = readAs(shape.of)
    return element && `${element}[]`
  }
  if (shape.kind !== 'scalar') return undefined
  if (shape.name === 'money') return 'numeric'
  if (shape.name !== 'timestamp') return undefined
  return `timestamp${shape.modifier === undefined ? '' : `(${shape.modifier})`} with time zone`
}

export interface ShapedBatch extends Batch {
  columns: ShapedColumn[]
}

export interface Part extends ShapedBatch {
  /** The rows as JSON. */
  recordset: string
}

/** Splits a batch into as many statements as its size requires. */
export function* parts({ columns, rows, first }: ShapedBatch): Generator<Part> {
  const keys = columns.map(({ name }) => `${JSON.stringify(name)}:`)
  let from = 0
  let texts: string[] = []
  let size = 0
  const part = (to: number) => ({
    columns,
    rows: rows.slice(from, to),
    first: first + from,
    recordset: `[${texts.join(',')}]`,
  })
  for (const [at, row] of rows.entries()) {
    const text = object(columns, keys, row, first + at)
    if (texts.length > 0 && size + text.length > MAX_STATEMENT_BYTES) {
      yield part(at)
      from = at
      texts = []
      size = 0
    }
    texts.push(text)
    size += text.length
  }
  yield part(rows.length)
}

function object(
  columns: readonly ShapedColumn[],
  keys: readonly string[],
  cells: readonly Cell[],
  row: number,
): string {
  let text = ''
  for (const [at, cell] of cells.entries()) {
    const { name, shape } = columns[at]!
    const value = withinDepth(() => jsonOf(cell, shape, { column: name, row }, readAs(shape) !== undefined))
    text += `${at > 0 ? ',' : ''}${keys[at]!}${value}`
    if (text.length > MAX_ROW_BYTES) throw rowTooLarge(row)
  }
  return `{${text}}`
}
