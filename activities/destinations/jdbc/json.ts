// JSON whose numbers keep every digit.
import { LosslessNumber } from 'lossless-json'
import { readTree, readTreeInTurns, type Tree } from '../../document/tree.ts'
import { type Json, toJson } from '../../formats/document.ts'
import { DeliveryError } from '../errors.ts'

const number = (text: string) => new LosslessNumber(text)

/**
 * Of a key that occurs twice the last one counts, as in PostgreSQL's jsonb.
 * @throws JsonFault
 */
export function parseJson(json: string | Buffer): Tree<LosslessNumber> | undefined {
  return readTree(typeof json === 'string' ? Buffer.from(json, 'utf8') : json, { number })
}

/** The same for megabytes: other work has its turn on the event loop meanwhile. */
export function parseJsonInTurns(json: Buffer): Promise<Tree<LosslessNumber> | undefined> {
  return readTreeInTurns(json, { number })
}

/** By what made it: a payload may hold an object that merely looks like one. */
export function isNumber(value: unknown): value is LosslessNumber {
  return value instanceof LosslessNumber
}

/**
 * Without white space.
 * @throws DeliveryError REJECTED for what is nested too deeply, or too large, to be a text
 */
export function jsonText(value: unknown): string {
  return withinDepth(() => toJson(value as Json))
}

/** @throws DeliveryError REJECTED where `write` runs out of stack, or makes a text that is too large */
export function withinDepth(write: () => string): string {
  try {
    return write()
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    throw new DeliveryError('REJECTED', 'a value is nested too deeply, or too large, to be written')
  }
}
