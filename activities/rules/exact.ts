// Payloads for rules: numbers keep every digit, so that 64-bit integers and long decimals are compared exactly.
import { canonical, compareDecimals, decimalOf } from '../document/decimal.ts'
import { readTree, readTreeInSlices, type Tree, type Wanted } from '../document/tree.ts'

/** A number as it was written. */
export class Digits {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
  /** Inside other JSON it may lose digits; `exactText` loses none. */
  toJSON(): number {
    return Number(this.text)
  }
}

export type Exact = Tree<Digits>

const number = (text: string) => new Digits(text)

/** @throws JsonFault */
export function readExact(text: string | Buffer, wanted?: Wanted): Exact | undefined {
  const bytes = typeof text === 'string' ? Buffer.from(text, 'utf8') : text
  return readTree(bytes, { number, ...(wanted && { wanted }) })
}

/** @throws TooManyValues if the wanted parts have more than `most` values */
export function readExactInSlices(bytes: Buffer, wanted: Wanted, most: number): Promise<Exact | undefined> {
  return readTreeInSlices(bytes, { number, wanted, most })
}

/** The value as JSON text with all digits; a text longer than `max` is cut and ends in `…`. */
export function exactText(value: Exact | undefined, max = Number.POSITIVE_INFINITY): string {
  let text = ''
  const write = (part: Exact | undefined): void => {
    if (text.length > max) return
    if (part === undefined) text += 'null'
    else if (part instanceof Digits) text += part.text
    else if (typeof part === 'string') text += JSON.stringify(part.length > max ? part.slice(0, max + 1) : part)
    else if (Array.isArray(part)) {
      text += '['
      for (let i = 0; i < part.length && text.length <= max; i++) {
        if (i > 0) text += ','
        write(part[i])
      }
      text += ']'
    } else if (typeof part === 'object' && part !== null) {
      text += '{'
      let first = true
      for (const key of Object.keys(part)) {
        if (text.length > max) break
        text += `${first ? '' : ','}${JSON.stringify(key)}:`
        first = false
        write(part[key])
      }
      text += '}'
    } else text += JSON.stringify(part)
  }
  write(value)
  if (text.length <= max) return text
  // PostgreSQL refuses a text that ends with half of a surrogate pair.
  return `${text.slice(0, max).replace(/[\ud800-\udbff]$/, '')}…`
}

/** The value as ordinary JavaScript: numbers become doubles. */
export function plain(value: Exact): unknown {
  return JSON.parse(exactText(value))
}

/** Compares two numbers by all of their digits: negative, 0 or positive, as in the callback of `sort`. */
export function compareDigits(a: Digits, b: Digits): number {
  if (isShort(a.text) && isShort(b.text)) return Number(a.text) - Number(b.text)
  return compareDecimals(decimalOf(a.text), decimalOf(b.text))
}

/** The same text for equal numbers, and for no others. */
export function canonicalDigits({ text }: Digits): string {
  return canonical(decimalOf(text))
}

/** Two different decimals of up to 15 digits always have different doubles. */
function isShort(text: string): boolean {
  return text.length <= 15 && !text.includes('e') && !text.includes('E')
}
