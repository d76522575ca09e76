// JSON whose numbers keep every digit.
import { LosslessNumber } from 'lossless-json'
import { readTree, readTreeInSlices, type Tree } from '../../document/tree.ts'
import { type Json, toJson } from '../../formats/document.ts'
import { DeliveryError } from '../errors.ts'

const number = (text: string) => new LosslessNumber(text)

/**
 * If a key occurs twice, the last one counts, as in PostgreSQL's jsonb.
 * @throws JsonFault
 */
export function parseJson(json: string | Buffer): Tree<LosslessNumber> | undefined {
  return readTree(typeof json === 'string' ? Buffer.from(json, 'utf8') : json, { number })
}

/** The same for large texts, in slices, so that it does not block the event loop. */
export function parseJsonInSlices(json: Buffer): Promise<Tree<LosslessNumber> | undefined> {
  return readTreeInSlices(json, { number })
}

/** Checks the class: a payload may contain an object that only looks like a LosslessNumber. */
export function isNumber(value: unknown): value is LosslessNumber {
  return value instanceof LosslessNumber
}

/**
 * Writes JSON without white space.
 * @throws DeliveryError REJECTED when the value is nested too deeply or too large
 */
export function jsonText(value: unknown): string {
  return withinDepth(() => toJson(value as Json))
}

/** @throws DeliveryError REJECTED when `write` runs out of stack, or its text is too large */
export function withinDepth(write: () => string): string {
  try {
    return write()
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    throw new DeliveryError('REJECTED', 'a value is nested too deeply, or too large, to be written')
  }
}
