// The rows of a statement as one JSON text, and as what PostgreSQL is to read each of its columns.
import { type Batch, type Column, MAX_ROW_BYTES, MAX_STATEMENT_BYTES, rowTooLarge } from '../batches.ts'
import { quoted } from '../identifiers.ts'
import { jsonText } from '../json.ts'
import { misfit } from '../messages.ts'
import type { Cell } from '../rows.ts'

/** `10:00:00Z`, `10:00:00 +02`. */
const ZONED = /[\d\s](?:z|[+-]\d\d(?::?\d\d)*)$/i

/** A timestamp without zone is read as one with it, and then written as UTC: read as it is, it loses its zone unsaid. */
export function definition({ name, type }: Column): string {
  return `${quoted(name)} ${type.replace(/^(timestamp(?:\(\d\))?) without/, '$1 with')}`
}

export interface Part extends Batch {
  /** Its rows as JSON. */
  recordset: string
}

/** A batch in as many statements as its bytes ask for. */
export function* parts({ columns, rows, first }: Batch): Generator<Part> {
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

function object(columns: readonly Column[], keys: readonly string[], cells: readonly Cell[], row: number): string {
  let text = ''
  for (const [at, cell] of cells.entries()) {
    const { name, type } = columns[at]!
    // A time of day cannot be taken to another zone without its day.
    if (/^time(\(\d\))? without/.test(type) && typeof cell === 'string' && ZONED.test(cell)) {
      throw misfit({ column: name, row })
    }
    text += `${at > 0 ? ',' : ''}${keys[at]!}${json(cell)}`
    if (text.length > MAX_ROW_BYTES) throw rowTooLarge(row)
  }
  return `{${text}}`
}

/** Bytes in the form that `bytea` reads. */
function json(cell: Cell): string {
  return Buffer.isBuffer(cell) ? `"\\\\x${cell.toString('hex')}"` : jsonText(cell)
}
