// Rows of a document as CSV (RFC 4180).
import { stringify } from 'csv-stringify/sync'
import { FormatError, isObject, type Json, textOf, toJson } from './document.ts'

/** Characters with which spreadsheets begin a formula, full-width forms included. */
const SIGNS = '=+\\-@\uff1d\uff0b\uff0d\uff20'
const BLANKS = '[\\s\\0"]*'
const AT_START = new RegExp(`^(?:${BLANKS}[${SIGNS}]|[\\t\\r\\n])`)
const LEADING = new RegExp(`^${BLANKS}`)
/**
 * Signs after a character at which some spreadsheet splits, because the separator depends on the country. Such a spreadsheet
 * reads our quotes as text, and so a line end starts a new row, except in the first column, where it recognises the quotes.
 * The pattern looks for the sign first, so that the time is linear in the text.
 */
const BEHIND = new RegExp(`(?=[${SIGNS}])(?<=[,;\\t]${BLANKS})`, 'g')
const BEHIND_OR_BELOW = new RegExp(`(?=[${SIGNS}])(?<=[,;\\t\\r\\n]${BLANKS})`, 'g')
/** A guarded field is quoted, so that every reader that supports quotes reads one field. */
const TO_BE_QUOTED = new RegExp(`^(?=[^']*')(?=[^${SIGNS}]*[${SIGNS}])[^,;\\t\\r\\n]*[,;\\t\\r\\n]`)
/** The same within a JSON string, in which a sign can be written as `\u003d`. */
const JSON_SIGN = new RegExp(`(?=[${SIGNS}])(?<=(?:^"|[,;"]|\\\\[tnr"])(?:[\\s"]|\\\\[tnr"])*).`, 'g')

function guarded(text: string, isFirst: boolean): string {
  const lead = isFirst ? LEADING.exec(text)![0] : ''
  const rest = text.slice(lead.length).replace(isFirst ? BEHIND : BEHIND_OR_BELOW, "'")
  return `${AT_START.test(text) ? "'" : ''}${lead}${rest}`
}

/** Nested JSON keeps its meaning: such characters are written as escapes. Numbers are never formulas. */
function guardedJson(value: Json): string {
  if (typeof value === 'string') return guardedString(value)
  if (Array.isArray(value)) return `[${value.map(guardedJson).join(',')}]`
  if (!isObject(value)) return toJson(value)
  const fields = Object.entries(value).map(([key, child]) => `${guardedString(key)}:${guardedJson(child)}`)
  return `{${fields.join(',')}}`
}

function guardedString(text: string): string {
  return JSON.stringify(text).replace(JSON_SIGN, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** Rows with different keys make a table that is nearly empty, but may have more fields than fit into memory. */
const MIN_FIELDS = 1_000_000
const MIN_BYTES_PER_FIELD = 2

const DELIMITERS = { comma: ',', semicolon: ';', tab: '\t' }

export interface CsvOptions {
  columns?: string[] | undefined
  delimiter: keyof typeof DELIMITERS
  formulas: 'escape' | 'keep'
  bom?: boolean | undefined
}

/**
 * A header of names, then one line per row; missing values and null are empty. Numbers keep their digits.
 * @param rows a list of objects, or one object
 * @param source the path of the rows, and the size of the whole document in bytes
 * @throws FormatError if the rows are something else, or the table would be far larger than the document
 */
export function toCsv(
  found: Json | undefined,
  source: { path: string; bytes: number },
  options: CsvOptions,
): Buffer<ArrayBuffer> {
  const rows = (Array.isArray(found) ? found : [found]).map((row, index) => {
    if (isObject(row)) return row
    const what = Array.isArray(found)
      ? `row ${index} at ${source.path} is not an`
      : `${source.path} is neither a list of objects nor an`
    throw new FormatError(`${what} object`)
  })
  const columns = options.columns ?? [...new Set(rows.flatMap((row) => Object.keys(row)))]
  if (rows.length * columns.length > Math.max(MIN_FIELDS, source.bytes / MIN_BYTES_PER_FIELD)) {
    const size = `${rows.length} rows of ${columns.length} columns`
    throw new FormatError(`${size} are too many, nearly all empty; state fewer "columns"`)
  }
  const field = (value: Json | undefined, column: number): string => {
    if (value === undefined) return ''
    if (options.formulas === 'keep') return textOf(value)
    if (typeof value === 'string') return guarded(value, column === 0)
    // A negative number begins with a minus too, but is not a formula.
    return Array.isArray(value) || isObject(value) ? guardedJson(value) : textOf(value)
  }
  const records = [
    columns.map((name, n) => field(name, n)),
    ...rows.map((row) => columns.map((name, n) => field(Object.hasOwn(row, name) ? row[name] : undefined, n))),
  ]
  const text = stringify(records, {
    delimiter: DELIMITERS[options.delimiter],
    record_delimiter: 'windows',
    quote_record_delimiter: true,
    // A field with a guarded separator must stay one field for every reader of this delimiter.
    quoted_match: options.formulas === 'escape' ? TO_BE_QUOTED : null,
    // Most readers skip a row that is an empty line.
    quoted_empty: columns.length === 1,
  })
  return Buffer.from(options.bom ? `\ufeff${text}` : text)
}
