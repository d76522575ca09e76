// A JSON document as a tree in which no number loses a digit.
import { isLosslessNumber, LosslessNumber } from 'lossless-json'
import { readTree, type Tree } from '../document/tree.ts'

/** A number that JavaScript would write differently (`1.0`, 64-bit integers) keeps its text. */
export type Json = Tree<number | LosslessNumber>

/** Why a document cannot be written in a format; the message contains only its paths and keys. */
export class FormatError extends Error {}

/**
 * If a key occurs twice, the last one counts.
 * @throws JsonFault
 */
export function parseDocument(body: Buffer): Json {
  return readTree(body, { number: numberOf })!
}

function numberOf(text: string): number | LosslessNumber {
  const value = Number(text)
  return String(value) === text ? value : new LosslessNumber(text)
}

export function isObject(value: Json | undefined): value is { [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !isLosslessNumber(value)
}

/** A text as it is, a number by its digits; nested values as JSON. */
export function textOf(value: Json): string {
  if (value === null) return ''
  if (typeof value === 'string') return value
  if (typeof value === 'object' && !isLosslessNumber(value)) return toJson(value)
  return String(value)
}

/** JSON without white space; numbers keep their digits. */
export function toJson(value: Json): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if (isLosslessNumber(value)) return value.value
  if (Array.isArray(value)) return `[${value.map(toJson).join(',')}]`
  const fields = Object.entries(value).map(([key, child]) => `${JSON.stringify(key)}:${toJson(child)}`)
  return `{${fields.join(',')}}`
}
