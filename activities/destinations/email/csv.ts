// Rows of a payload as CSV (RFC 4180).
import { stringify } from 'csv-stringify/sync'
import { DeliveryError } from '../errors.ts'
import { isObject, type Json, parsePayload, textOf, valueAt } from './payload.ts'

/** What spreadsheets take for the beginning of a formula, in its wide forms too. */
const FORMULA = /^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/

/** Rows of which each has other keys make a table of nearly nothing, but of more fields than a worker can hold. */
const MIN_FIELDS = 1_000_000
const MIN_BYTES_PER_FIELD = 2

const DELIMITERS = { comma: ',', semicolon: ';', tab: '\t' }

export interface CsvOptions {
  rows_path: string
  columns?: string[] | undefined
  delimiter: keyof typeof DELIMITERS
  formulas: 'escape' | 'keep'
}

/**
 * A head of names, then one line per row; what a row lacks, and null, is empty. Numbers keep their digits.
 * @throws DeliveryError MISCONFIGURED when the path leads to something else than rows, or the table would be far larger
 * than the payload
 */
export function toCsv(body: Buffer, options: CsvOptions): Buffer {
  const found = valueAt(parsePayload(body), options.rows_path)
  const rows = (Array.isArray(found) ? found : [found]).map((row, index) => {
    if (isObject(row)) return row
    const what = Array.isArray(found) ? `row ${index} at ${options.rows_path}` : options.rows_path
    throw new DeliveryError('MISCONFIGURED', `attachment: ${what} is no object`)
  })
  const columns = options.columns ?? [...new Set(rows.flatMap((row) => Object.keys(row)))]
  if (rows.length * columns.length > Math.max(MIN_FIELDS, body.length / MIN_BYTES_PER_FIELD)) {
    const size = `${rows.length} rows of ${columns.length} columns`
    throw new DeliveryError(
      'MISCONFIGURED',
      `attachment: ${size} are too many, nearly all empty; state fewer "columns"`,
    )
  }
  const field = (value: Json | undefined): string => {
    if (value === undefined) return ''
    // A negative number begins with a minus too, and is no formula: only text is guarded.
    const guarded = options.formulas === 'escape' && typeof value === 'string' && FORMULA.test(value)
    return guarded ? `'${value}` : textOf(value)
  }
  const records = [
    columns.map((name) => field(name)),
    ...rows.map((row) => columns.map((name) => field(Object.hasOwn(row, name) ? row[name] : undefined))),
  ]
  const delimiter = DELIMITERS[options.delimiter]
  return Buffer.from(
    stringify(records, {
      delimiter,
      record_delimiter: 'windows',
      quote_record_delimiter: true,
      // A row that is an empty line is no row to most readers.
      quoted_empty: columns.length === 1,
    }),
  )
}
