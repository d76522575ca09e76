// Converts a cell to the value that is sent. The server reads it with the input function of the column's type, which
// accepts too much: `01/02/2026` depends on the session, 1764091218 is a day in the year 176409, 101 is a bit pattern.
import { floatKeeps } from '../floats.ts'
import { isNumber, jsonText } from '../json.ts'
import { type CellPlace, misfit } from '../messages.ts'
import type { Cell } from '../rows.ts'
import { atOffset, cutFraction, dayOf, readMoment, readTime } from '../times.ts'
import type { Shape } from './shapes.ts'

/** Types for a time of day. */
const CLOCKS = new Set(['time', 'timetz'])
const MOMENTS = new Set(['timestamp', 'timestamptz'])
const TEXTS = new Set(['text', 'varchar', 'bpchar'])
/** Types whose text form of an array, a row or a range is not checked. */
const READ_HERE = new Set(['date', 'interval', 'bytea', 'money', ...CLOCKS, ...MOMENTS])

/**
 * The JSON text that a cell is sent as.
 * @param zoned whether the column is read as one with a time zone
 * @throws DeliveryError REJECTED for a value that the server would change
 */
export function jsonOf(cell: Cell, shape: Shape, place: CellPlace, zoned: boolean): string {
  if (cell === null) return 'null'
  if (Buffer.isBuffer(cell)) return JSON.stringify(bytes(cell, shape, place))
  if (shape.kind === 'scalar') return scalarOf(cell, shape, place, zoned)
  if (shape.kind === 'other') return jsonText(cell)
  if (shape.kind === 'array' && Array.isArray(cell)) {
    return `[${cell.map((item) => jsonOf(item, Array.isArray(item) ? shape : shape.of, place, zoned)).join(',')}]`
  }
  if (shape.kind === 'composite' && isObject(cell)) {
    const fields = Object.entries(cell).map(([name, value]) => {
      const field = shape.fields.get(name)
      // The server would ignore it.
      if (!field) throw misfit(place, 'an object has a field that the type of the column does not have')
      return `${JSON.stringify(name)}:${jsonOf(value, field, place, false)}`
    })
    return `{${fields.join(',')}}`
  }
  if (shape.kind === 'range' && typeof cell === 'string') return JSON.stringify(range(cell, shape.of, place))
  // The server's own text form, such as `{1,2}`.
  if (typeof cell === 'string' && isReadHere(shape)) {
    throw misfit(place, `${shape.kind === 'array' ? 'an array' : 'an object'} is needed, not a text`)
  }
  return jsonText(cell)
}

type Scalar = Extract<Shape, { kind: 'scalar' }>

function scalarOf(cell: Cell, shape: Scalar, place: CellPlace, zoned: boolean): string {
  const { name, modifier } = shape
  if (name === 'json' || name === 'jsonb') return jsonText(cell)
  if (name === 'bit' || name === 'varbit') return JSON.stringify(bits(cell, shape, place))
  if (name === 'bytea') return JSON.stringify(typeof cell === 'string' ? bytea(cell) : hex(jsonText(cell)))
  if (name === 'float4' || name === 'float8') {
    const digits = isNumber(cell) ? cell.value : typeof cell === 'string' ? cell : ''
    if (!floatKeeps(digits, name === 'float4' ? 32 : 64)) {
      throw misfit(place, 'a number has more digits than the column stores')
    }
  }
  if (READ_HERE.has(name) && typeof cell !== 'string' && name !== 'money') {
    throw misfit(place, `a ${name === 'interval' ? 'interval' : 'date or time'} is needed, as text`)
  }
  if (typeof cell !== 'string') return jsonText(cell)
  return JSON.stringify(text(cell, name, modifier, place, zoned))
}

function text(cell: string, name: string, modifier: number | undefined, place: CellPlace, zoned: boolean): string {
  if (name === 'date') return date(cell, place)
  if (MOMENTS.has(name)) return moment(cell, modifier ?? 6, place, zoned || name === 'timestamptz')
  if (CLOCKS.has(name)) return clock(cell, modifier ?? 6, place, name === 'timetz')
  if (name === 'interval' && /^[\s\d.+-]*$/.test(cell)) throw misfit(place, 'an interval must state its units')
  // The server silently cuts off spaces beyond the length, and any characters if the type has a fixed length.
  if (name === 'varchar' && modifier !== undefined && cell.endsWith(' ') && [...cell].length > modifier) {
    throw misfit(place, 'a text is too long')
  }
  if ((name === 'name' && Buffer.byteLength(cell) > 63) || (name === 'char' && Buffer.byteLength(cell) > 1)) {
    throw misfit(place, 'a text is too long')
  }
  if (name === 'money' && !/^-?\d+(\.\d+)?$/.test(cell))
    throw misfit(place, 'an amount must be written as a plain number')
  return cell
}

const DATE_FORM = 'a date must be written as 2026-02-28'
const MOMENT_FORM = 'a date and time is written as 2026-02-28T23:59:58.123Z'

function date(cell: string, place: CellPlace): string {
  if (isInfinite(cell)) return cell
  const written = readMoment(cell)
  if (!written) throw misfit(place, DATE_FORM)
  if (written.time === undefined) return cell
  const day = dayOf(written)
  if (day === undefined) throw misfit(place, 'the column stores only the date, so the time would be lost')
  return day
}

function moment(cell: string, digits: number, place: CellPlace, zoned: boolean): string {
  if (isInfinite(cell)) return cell
  const written = readMoment(cell)
  if (!written) throw misfit(place, MOMENT_FORM)
  const { fraction } = written
  if (!written.zoned || zoned) return cutFraction(cell, fraction, digits)
  // The zone would be lost without an error.
  const inUtc = atOffset(written, 0)
  if (inUtc === undefined) throw misfit(place, MOMENT_FORM)
  return inUtc + fraction.slice(0, digits === 0 ? 0 : digits + 1)
}

function clock(cell: string, digits: number, place: CellPlace, zoned: boolean): string {
  const written = readTime(cell)
  if (!written) throw misfit(place, 'a time must be written as 23:59:58')
  // A time of day cannot be converted to another zone without its date.
  if (written.zoned && !zoned) throw misfit(place, 'the column stores no time zone')
  return cutFraction(cell, written.fraction, digits)
}

function isInfinite(cell: string): boolean {
  return /^\s*[-+]?infinity\s*$/i.test(cell)
}

/** `[2026-01-01,2026-02-01)`, and several of them in braces. */
function range(cell: string, of: Shape, place: CellPlace): string {
  if (of.kind !== 'scalar' || !READ_HERE.has(of.name)) return cell
  return cell.replace(/"[^"]*"|[^[\](){},"]+/g, (part) => {
    const bound = part.replace(/^"|"$/g, '').trim()
    if (bound === '' || /^empty$/i.test(bound)) return part
    return `"${text(bound, of.name, of.modifier, place, false)}"`
  })
}

/** A number is written with as many bits as the column has; a text is a bit pattern. */
function bits(cell: Cell, { name, modifier = 1 }: Scalar, place: CellPlace): string {
  if (typeof cell === 'string') return /^[bx]/i.test(cell) ? cell : pattern(cell, place)
  const isWhole = isNumber(cell) && /^\d{1,40}$/.test(cell.value)
  if (name === 'varbit' || !isWhole) throw misfit(place, 'bits must be written as a text of 0 and 1')
  const digits = BigInt(cell.value).toString(2)
  if (digits.length > modifier) throw misfit(place, 'a number has more bits than the column')
  return digits.padStart(modifier, '0')
}

function pattern(cell: string, place: CellPlace): string {
  if (!/^[01]*$/.test(cell)) throw misfit(place, 'bits must be written as a text of 0 and 1')
  return cell
}

/**
 * `\x…` is PostgreSQL's hex form. Any other text stands for its UTF-8 bytes; a backslash in it is a plain character.
 */
function bytea(cell: string): string {
  return cell.startsWith('\\x') ? cell : hex(cell)
}

function hex(cell: string): string {
  return `\\x${Buffer.from(cell, 'utf8').toString('hex')}`
}

/** Bytes that the payload contains as base64. */
function bytes(cell: Buffer, shape: Shape, place: CellPlace): string {
  if (shape.kind === 'scalar' && shape.name === 'bytea') return `\\x${cell.toString('hex')}`
  const decoded = cell.toString('utf8')
  const isText = shape.kind === 'other' || (shape.kind === 'scalar' && TEXTS.has(shape.name))
  if (!isText || !Buffer.from(decoded, 'utf8').equals(cell)) throw misfit(place, 'the column does not store bytes')
  return shape.kind === 'scalar' ? text(decoded, shape.name, shape.modifier, place, false) : decoded
}

function isReadHere(shape: Shape): boolean {
  const seen = new Set<Shape>()
  const look = (part: Shape): boolean => {
    if (seen.has(part)) return false
    seen.add(part)
    if (part.kind === 'scalar') return READ_HERE.has(part.name)
    if (part.kind === 'composite') return [...part.fields.values()].some(look)
    return part.kind !== 'other' && look(part.of)
  }
  return look(shape)
}

function isObject(cell: Cell): cell is object {
  return typeof cell === 'object' && cell !== null && !Array.isArray(cell) && !isNumber(cell)
}
