// What a cell is sent as: text, for the most part, which the server reads as its column's type wants it. Numbers go as
// their digits.
import { isNumber, jsonText } from '../json.ts'
import { misfit } from '../messages.ts'
import type { Cell } from '../rows.ts'
import type { Parameter } from './connection.ts'

const TEXT = new Set(['char', 'varchar', 'tinytext', 'text', 'mediumtext', 'longtext', 'json', 'enum', 'set'])
const INTEGER = new Set(['tinyint', 'smallint', 'mediumint', 'int', 'integer', 'bigint', 'year'])
const MOMENT = new Set(['datetime', 'timestamp'])

/** RFC 3339, with seconds and zone left out where they are. */
const ISO = /^(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(\.\d+)?)?(?:(Z)|([+-])(\d\d):?(\d\d))?$/i

export interface CellPlace {
  column: string
  /** As `information_schema` has it: `bigint`, `datetime` … */
  type: string
  labels?: readonly string[] | undefined
  row: number
}

/** @throws DeliveryError REJECTED for a value that the server would bend, or that has no bytes */
export function parameterOf(cell: Cell, place: CellPlace, timeZone: string): Parameter {
  if (cell === null || Buffer.isBuffer(cell)) return cell
  // As 1 or 0 it fits numbers and bits; text columns get the word, as PostgreSQL writes it.
  if (typeof cell === 'boolean') return TEXT.has(place.type) ? String(cell) : cell
  if (typeof cell === 'string') return text(cell, place, timeZone)
  if (!isNumber(cell)) return wellFormed(jsonText(cell), place)
  if (place.type === 'bit') return bits(cell.value, place)
  // The server would round it.
  if (INTEGER.has(place.type) && !/^-?\d+(\.0+)?$/.test(cell.value)) throw misfit(place)
  return named(cell.value, place)
}

function text(cell: string, place: CellPlace, timeZone: string): string {
  if (place.type === 'json') return JSON.stringify(cell)
  if (MOMENT.has(place.type)) return moment(cell, timeZone) ?? wellFormed(cell, place)
  // Digits in a text are rounded too; what is none at all the server refuses.
  if (INTEGER.has(place.type) && /[.e]/i.test(cell) && !/^[-+]?\d+\.0*$/.test(cell)) throw misfit(place)
  return wellFormed(named(cell, place), place)
}

/** To enumerations a number is a position, unless there is a value of that name. */
function named(value: string, place: CellPlace): string {
  if (place.labels && /^\s*[-+]?\d+\s*$/.test(value) && !place.labels.includes(value)) throw misfit(place)
  return value
}

/** The servers know no `Z`, and keep no offset: the same moment, as a clock in `timeZone` shows it. */
function moment(cell: string, timeZone: string): string | undefined {
  const match = ISO.exec(cell)
  if (!match) return undefined
  const [, year, month, day, hours, minutes, seconds = '00', fraction = '', utc, sign, offHours, offMinutes] = match
  const local = `${year}-${month}-${day} ${hours}:${minutes}:${seconds}`
  const at = Date.parse(`${local.replace(' ', 'T')}Z`)
  // No such day or time: the server's own word for it is better.
  if (Number.isNaN(at) || !new Date(at).toISOString().startsWith(local.replace(' ', 'T'))) return undefined
  if (utc === undefined && sign === undefined) return local + fraction
  const offset = utc ? 0 : minutesOf(sign!, offHours!, offMinutes!)
  const shifted = new Date(
    at - offset * 60_000 + minutesOf(timeZone[0]!, timeZone.slice(1, 3), timeZone.slice(4)) * 60_000,
  )
  return shifted.toISOString().slice(0, 19).replace('T', ' ') + fraction
}

function minutesOf(sign: string, hours: string, minutes: string): number {
  return (sign === '-' ? -1 : 1) * (Number(hours) * 60 + Number(minutes))
}

/** `bit` columns take bytes. */
function bits(digits: string, place: CellPlace): Buffer {
  if (!/^\d{1,20}$/.test(digits) || BigInt(digits) > 0xffff_ffff_ffff_ffffn) throw misfit(place)
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(digits))
  return bytes
}

/** Half of a surrogate pair has no UTF-8; it would silently become another character. */
function wellFormed(value: string, place: CellPlace): string {
  if (/\p{Surrogate}/u.test(value)) throw misfit(place)
  return value
}
