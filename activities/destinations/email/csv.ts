// Rows of a payload as CSV (RFC 4180).
import { stringify } from 'csv-stringify/sync'
import { DeliveryError } from '../errors.ts'
import { isObject, type Json, parsePayload, textOf, valueAt } from './payload.ts'

/** What spreadsheets take for the beginning of a formula, in its wide forms too. */
const FORMULA = /^[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]/

const DELIMITERS = { comma: ',', semicolon: ';', tab: '\t' }

export interface CsvOptions {
  rows_path: string
  columns?: string[] | undefined
  delimiter: keyof typeof DELIMITERS
  formulas: 'escape' | 'keep'
}

/**
 * A head of names, then one line per row; what a row lacks, and null, is empty. Numbers keep their digits.
 * @throws DeliveryError MISCONFIGURED when the path leads to something else than rows
 */
export function toCsv(body: Buffer, options: CsvOptions): Buffer {
  const found = valueAt(parsePayload(body), options.rows_path)
  const rows = (Array.isArray(found) ? found : [found]).map((row, index) => {
    if (isObject(row)) return row
    const what = Array.isArray(found) ? `row ${index} at ${options.rows_path}` : options.rows_path
    throw new DeliveryError('MISCONFIGURED', `attachment: ${what} is no object`)
  })
  const columns = options.columns ?? [...new Set(rows.flatMap((row) => Object.keys(row)))]
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
  return Buffer.from(stringify(records, { delimiter: DELIMITERS[options.delimiter], record_delimiter: 'windows' }))
}
