// Converts a payload to rows of columns and values. Numbers keep every digit.
import { JsonFault, TOKEN } from '../../document/scan.ts'
import type { Message } from '../destination.ts'
import { DeliveryError } from '../errors.ts'
import { fillTemplate } from '../template/placeholders.ts'
import type { ColumnSource, JdbcConfig } from './config.ts'
import { parseJson, parseJsonInSlices } from './json.ts'
import { type Located, locateRows } from './locate.ts'
import { parsePath, valueAt } from './paths.ts'

/**
 * The value for a column: a text, a boolean, null, a LosslessNumber, an object or array of these, or bytes.
 */
export type Cell = unknown

export interface Row {
  /** The columns that the row fills; all others get their defaults. */
  columns: string[]
  cells: Cell[]
}

export interface Rows {
  count: number
  /**
   * The rows in their order, each built only when it is read: with many columns, even a small payload can have more
   * cells than fit in memory.
   * @throws DeliveryError REJECTED for a row without a required value
   */
  each(): Generator<Row>
}

/** Larger rows are parsed beforehand, in slices, so that they do not block the event loop. */
const LARGE_ROW = 1_048_576

/** @throws DeliveryError REJECTED for a payload without rows; MISCONFIGURED for a placeholder without a value */
export async function rowsOf(config: JdbcConfig, message: Message): Promise<Rows> {
  const { starts, ends } = await locate(config.rows_path, message)
  const large = new Map<number, object>()
  for (const [index, start] of starts.entries()) {
    if (ends[index]! - start < LARGE_ROW) continue
    large.set(index, (await parseJsonInSlices(message.body.subarray(start, ends[index]))) as object)
  }
  const shape = config.columns === undefined ? keysOf : mapping(config.columns, message)
  return {
    count: starts.length,
    *each() {
      for (const [index, start] of starts.entries()) {
        const object = large.get(index) ?? (parseJson(message.body.subarray(start, ends[index])) as object)
        const row = shape(object, index + 1)
        if (config.delivery_id_column !== undefined) fill(row, config.delivery_id_column, message.delivery_id)
        if (row.columns.length === 0) throw rejected(`row ${index + 1} fills no column`)
        yield row
      }
    },
  }
}

async function locate(rowsPath: string | undefined, { body, content_type }: Message): Promise<Located> {
  try {
    const found = await locateRows(body, rowsPath === undefined ? [] : parsePath(rowsPath)!)
    const where = rowsPath === undefined ? 'the payload' : `"${rowsPath}" in the payload`
    if (found.token === undefined) throw rejected(`${where} is missing; rows are an object or an array of objects`)
    if (!found.odd) return found
    const kind = KINDS[found.odd.token]
    if (found.token === TOKEN.openArray) {
      throw rejected(`${where} has ${kind} for row ${found.odd.index + 1}; rows are objects`)
    }
    throw rejected(`${where} is ${kind}; rows are an object or an array of objects`)
  } catch (error) {
    if (!(error instanceof JsonFault)) throw error
    throw rejected(`the payload (${content_type.slice(0, 100)}) is not JSON; rows are made from JSON`)
  }
}

const KINDS: Record<number, string> = {
  [TOKEN.null]: 'null',
  [TOKEN.openArray]: 'an array',
  [TOKEN.number]: 'a number',
  [TOKEN.string]: 'a text',
  [TOKEN.true]: 'a boolean',
  [TOKEN.false]: 'a boolean',
}

function keysOf(object: object): Row {
  return { columns: Object.keys(object), cells: Object.values(object) }
}

function mapping(columns: Record<string, ColumnSource>, message: Message): (object: object, number: number) => Row {
  const readers = Object.entries(columns).map(([column, source]) => ({ column, read: reader(column, source, message) }))
  return (object, number) => {
    const row: Row = { columns: [], cells: [] }
    for (const { column, read } of readers) {
      const cell = read(object, number)
      if (cell === undefined) continue
      row.columns.push(column)
      row.cells.push(cell)
    }
    return row
  }
}

function reader(column: string, source: ColumnSource, message: Message): (object: object, number: number) => Cell {
  if (typeof source === 'string') {
    const path = parsePath(source)!
    return (object) => valueAt(object, path)
  }
  if ('value' in source) {
    const text = fillTemplate(source.value, message)
    return () => text
  }
  const path = parsePath(source.path)!
  return (object, number) => {
    const found = valueAt(object, path)
    if (source.required && (found === undefined || found === null)) {
      throw rejected(`row ${number} has no value at "${source.path}", which column "${column}" requires`)
    }
    if (source.decode === undefined || found === undefined || found === null) return found
    const bytes = typeof found === 'string' ? decodeBase64(found) : undefined
    if (!bytes) throw rejected(`row ${number} has no base64 at "${source.path}" for column "${column}"`)
    return bytes
  }
}

/**
 * Accepts both base64 alphabets, with or without padding. Undefined for anything else: Node would skip invalid
 * characters.
 */
function decodeBase64(text: string): Buffer | undefined {
  if (!/^[A-Za-z0-9+/_-]*={0,2}$/.test(text) || text.replace(/=+$/, '').length % 4 === 1) return undefined
  return Buffer.from(text, 'base64')
}

function fill(row: Row, column: string, cell: Cell): void {
  if (row.columns.includes(column)) throw rejected(`the payload must not fill "${column}", which holds the delivery id`)
  row.columns.push(column)
  row.cells.push(cell)
}

function rejected(message: string): DeliveryError {
  return new DeliveryError('REJECTED', message)
}
