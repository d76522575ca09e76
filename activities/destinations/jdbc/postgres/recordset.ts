// The rows of a statement as one JSON text, and as what PostgreSQL is to read each of its columns.
import { type Batch, MAX_ROW_BYTES, MAX_STATEMENT_BYTES, rowTooLarge } from '../batches.ts'
import { quoted } from '../identifiers.ts'
import { withinDepth } from '../json.ts'
import type { Cell } from '../rows.ts'
import type { Shape, ShapedColumn } from './shapes.ts'
import { jsonOf } from './values.ts'

/**
 * What a column is read as, where that is not its own type: a timestamp without zone as one with it, and then written as
 * UTC, for read as it is it loses its zone unsaid; money as a number, for its own form depends on the database's locale.
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
  /** Its rows as JSON. */
  recordset: string
}

/** A batch in as many statements as its bytes ask for. */
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
