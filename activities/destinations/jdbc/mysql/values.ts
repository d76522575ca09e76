// Converts a cell to the value that is sent: mostly text, which the server converts to the type of the column. Numbers
// are sent as digits. A value that the server would store changed is rejected here.
import { floatKeeps } from '../floats.ts'
import { isNumber, jsonText } from '../json.ts'
import { type CellPlace, misfit } from '../messages.ts'
import type { Cell } from '../rows.ts'
import { atOffset, cutFraction, dayOf, readMoment } from '../times.ts'
import type { MysqlColumn } from './columns.ts'
import type { Parameter } from './connection.ts'

const BINARY = ['binary', 'varbinary', 'tinyblob', 'blob', 'mediumblob', 'longblob']
const TEXT = new Set(['char', 'varchar', 'tinytext', 'text', 'mediumtext', 'longtext', 'enum', 'set'])
const INTEGER = new Set(['tinyint', 'smallint', 'mediumint', 'int', 'integer', 'bigint'])
const TIMES = new Set(['date', 'datetime', 'timestamp', 'time', 'year'])
const TAKES_BYTES = new Set([...BINARY, ...TEXT, 'bit', 'json', 'uuid', 'inet4', 'inet6'])
const TAKES_WORDS = new Set([...BINARY, ...TEXT])

/** @throws DeliveryError REJECTED for a value that the server would change, or that cannot be written in UTF-8 */
export function parameterOf(cell: Cell, column: MysqlColumn, place: CellPlace, timeZone: string): Parameter {
  const { type } = column
  if (cell === null) {
    // For null the server would write the current time.
    if (type === 'timestamp' && !column.nullable) throw misfit(place, 'the column does not accept null')
    return null
  }
  if (Buffer.isBuffer(cell)) {
    if (!TAKES_BYTES.has(type)) throw misfit(place, 'the column does not store bytes')
    return cell
  }
  if (type === 'json') return json(cell, column, place)
  // 1 or 0 for integers and bits; text columns get the word, as in PostgreSQL.
  if (typeof cell === 'boolean') {
    if (TAKES_WORDS.has(type)) return String(cell)
    if (!INTEGER.has(type) && type !== 'bit') throw misfit(place, 'the column does not store true or false')
    return cell
  }
  if (typeof cell === 'string') return text(cell, column, place, timeZone)
  if (TIMES.has(type) && type !== 'year') throw misfit(place, 'a date or time must be a text')
  if (type === 'bit') return bits(cell, place)
  if (!isNumber(cell)) return wellFormed(jsonText(cell), place)
  return number(cell.value, column, place)
}

const MIN_INTEGER = -(2n ** 63n)
const MAX_INTEGER = 2n ** 64n - 1n

function json(cell: Cell, { native_json }: MysqlColumn, place: CellPlace): string {
  const written = jsonText(cell)
  if (!native_json) return written
  const look = (part: unknown): void => {
    if (typeof part !== 'object' || part === null) return
    if (!isNumber(part)) {
      for (const inner of Object.values(part)) look(inner)
      return
    }
    const whole = /^-?\d{1,20}$/.test(part.value) ? BigInt(part.value) : undefined
    if (whole !== undefined && whole >= MIN_INTEGER && whole <= MAX_INTEGER) return
    if (!floatKeeps(part.value, 64)) throw misfit(place, 'a number in it has more digits than the column stores')
  }
  look(cell)
  return written
}

function text(cell: string, column: MysqlColumn, place: CellPlace, timeZone: string): Parameter {
  const { type, length, digits = 0 } = column
  if (type === 'date') return date(cell, place)
  if (type === 'datetime' || type === 'timestamp') return moment(cell, digits, place, timeZone)
  if (type === 'time') return clock(cell, digits, place)
  if (type === 'bit') return pattern(cell, column, place)
  if (TEXT.has(type)) {
    // The server silently cuts off spaces beyond the length.
    if (type !== 'char' && length !== undefined && cell.endsWith(' ') && sizeOf(cell, type) > length) {
      throw misfit(place, 'a text is too long')
    }
    return wellFormed(named(cell, column, place), place)
  }
  if (BINARY.includes(type)) return wellFormed(cell, place)
  return number(cell, column, place)
}

/** Also checks a text with digits, which the server would round too. The server refuses a text that is not a number. */
function number(digits: string, column: MysqlColumn, place: CellPlace): string {
  const { type } = column
  if (INTEGER.has(type) && /[.e]/i.test(digits) && !/^[-+]?\d+\.0*$/.test(digits)) {
    throw misfit(place, 'the column stores only whole numbers')
  }
  if ((type === 'float' || type === 'double') && !floatKeeps(digits, type === 'float' ? 32 : 64)) {
    throw misfit(place, 'a number has more digits than the column stores')
  }
  if (type === 'year' && !/^\d{4}$/.test(digits)) throw misfit(place, 'a year has four digits')
  return wellFormed(named(digits, column, place), place)
}

/** For an enumeration, a number means a position, unless a value has that name. */
function named(value: string, { labels }: MysqlColumn, place: CellPlace): string {
  if (labels && /^\s*[-+]?\d+\s*$/.test(value) && !labels.includes(value)) throw misfit(place)
  return value
}

/** The length of a text: in characters for `varchar`, in bytes of UTF-8 for the `text` types. */
function sizeOf(cell: string, type: string): number {
  return type === 'varchar' ? [...cell].length : Buffer.byteLength(cell)
}

const MOMENT_FORM = 'a date and time is written as 2026-02-28T23:59:58.123Z'

function date(cell: string, place: CellPlace): string {
  const written = readMoment(cell)
  if (!written?.plain) throw misfit(place, 'a date must be written as 2026-02-28')
  const day = dayOf(written)
  if (day === undefined) throw misfit(place, 'the column stores only the date, so the time would be lost')
  return day
}

/** The local time in `timeZone`: the servers do not accept `Z`, and store no offset. */
function moment(cell: string, digits: number, place: CellPlace, timeZone: string): string {
  const written = readMoment(cell)
  if (!written?.plain) throw misfit(place, MOMENT_FORM)
  const [, sign, hours, minutes] = /^([+-])(\d\d):(\d\d)$/.exec(timeZone)!
  const local = atOffset(written, (sign === '-' ? -1 : 1) * (Number(hours) * 60 + Number(minutes)))
  if (local === undefined) throw misfit(place, MOMENT_FORM)
  return cutFraction(local + written.fraction, written.fraction, digits)
}

/** Up to 838 hours. A text without a colon would be read as seconds. */
function clock(cell: string, digits: number, place: CellPlace): string {
  const [, fraction] = /^-?\d{1,3}:[0-5]\d(?::[0-5]\d(\.\d+)?)?$/.exec(cell) ?? [undefined, undefined]
  if (!/^-?\d{1,3}:[0-5]\d(:[0-5]\d(\.\d+)?)?$/.test(cell)) throw misfit(place, 'a time must be written as 23:59:58')
  return cutFraction(cell, fraction ?? '', digits)
}

/** `bit` columns accept bytes. */
function bits(cell: Cell, place: CellPlace): Buffer {
  const digits = isNumber(cell) ? cell.value : ''
  if (!/^\d{1,20}$/.test(digits)) throw misfit(place, 'bits must be written as a whole number')
  return bytesOf(BigInt(digits), place)
}

/** As for PostgreSQL, a text has one digit for each bit. The server would read the bytes of its characters as bits. */
function pattern(cell: string, { bits: width = 1 }: MysqlColumn, place: CellPlace): Buffer {
  if (!/^[01]+$/.test(cell) || cell.length !== width) {
    throw misfit(place, 'bits must be written as a number, or as a text of 0 and 1 with one digit for each bit')
  }
  return bytesOf(BigInt(`0b${cell}`), place)
}

function bytesOf(value: bigint, place: CellPlace): Buffer {
  if (value > 0xffff_ffff_ffff_ffffn) throw misfit(place)
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(value)
  return bytes
}

/** Half of a surrogate pair cannot be written in UTF-8, and would silently become another character. */
function wellFormed(value: string, place: CellPlace): string {
  if (/\p{Surrogate}/u.test(value)) throw misfit(place)
  return value
}
