// Rows of a document as CSV (RFC 4180).
import { stringify } from 'csv-stringify/sync'
import { FormatError, isObject, type Json, textOf } from './document.ts'

/** What spreadsheets take for the beginning of a formula, in its wide forms too. */
const FORMULA = /^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/

/** Rows of which each has other keys make a table of nearly nothing, but of more fields than a worker can hold. */
const MIN_FIELDS = 1_000_000
const MIN_BYTES_PER_FIELD = 2

const DELIMITERS = { comma: ',', semicolon: ';', tab: '\t' }

export interface CsvOptions {
  columns?: string[] | undefined
  delimiter: keyof typeof DELIMITERS
  formulas: 'escape' | 'keep'
}

/**
 * A head of names, then one line per row; what a row lacks, and null, is empty. Numbers keep their digits.
 * @param rows a list of objects, or one object
 * @param source where the rows were found, and the size of all around them in bytes
 * @throws FormatError when it is something else, or the table would be far larger than what it is made of
 */
export function toCsv(
  found: Json | undefined,
  source: { path: string; bytes: number },
  options: CsvOptions,
): Buffer<ArrayBuffer> {
  const rows = (Array.isArray(found) ? found : [found]).map((row, index) => {
    if (isObject(row)) return row
    const what = Array.isArray(found)
      ? `row ${index} at ${source.path} is no`
      : `${source.path} is no list of objects and no`
    throw new FormatError(`${what} object`)
  })
  const columns = options.columns ?? [...new Set(rows.flatMap((row) => Object.keys(row)))]
  if (rows.length * columns.length > Math.max(MIN_FIELDS, source.bytes / MIN_BYTES_PER_FIELD)) {
    const size = `${rows.length} rows of ${columns.length} columns`
    throw new FormatError(`${size} are too many, nearly all empty; state fewer "columns"`)
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
  return Buffer.from(
    stringify(records, {
      delimiter: DELIMITERS[options.delimiter],
      record_delimiter: 'windows',
      quote_record_delimiter: true,
      // A row that is an empty line is no row to most readers.
      quoted_empty: columns.length === 1,
    }),
  )
}
