// Payloads as rules see them: every digit of a number counts, so that 64-bit integers and long decimals compare as they were
// written.
import { readTree, readTreeInTurns, type Tree, type Wanted } from '../document/tree.ts'

/** A number as it was written. */
export class Digits {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
  /** Embedded in other JSON it may lose digits; `exactText` loses none. */
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

/** @throws TooManyValues as soon as more than `most` would have to be built */
export function readExactInTurns(bytes: Buffer, wanted: Wanted, most: number): Promise<Exact | undefined> {
  return readTreeInTurns(bytes, { number, wanted, most })
}

/** The value as JSON text, digits as they were; longer ones end in `…`. */
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
  // Half of a pair of surrogates would be no text to PostgreSQL.
  return `${text.slice(0, max).replace(/[\ud800-\udbff]$/, '')}…`
}

/** The same without exactness: numbers become doubles, prototypes ordinary. */
export function plain(value: Exact): unknown {
  return JSON.parse(exactText(value))
}

/** Compares two numbers by all of their digits: negative, 0 or positive, as `sort` wants it. */
export function compareDigits(a: Digits, b: Digits): number {
  if (isShort(a.text) && isShort(b.text)) return Number(a.text) - Number(b.text)
  const [x, y] = [normalise(a.text), normalise(b.text)]
  if (x.sign !== y.sign) return x.sign - y.sign
  if (x.sign === 0) return 0
  if (x.magnitude !== y.magnitude) return x.sign * (x.magnitude - y.magnitude)
  if (x.digits === y.digits) return 0
  // Without leading and trailing zeros: digit by digit, and a longer one with the same beginning is larger.
  return x.sign * (x.digits < y.digits ? -1 : 1)
}

/** The same text for equal numbers, and for no others. */
export function canonicalDigits({ text }: Digits): string {
  const { sign, magnitude, digits } = normalise(text)
  return `${sign} ${digits} ${magnitude}`
}

/** A double tells any two decimals of 15 digits apart. */
function isShort(text: string): boolean {
  return text.length <= 15 && !text.includes('e') && !text.includes('E')
}

function normalise(text: string): { sign: number; magnitude: number; digits: string } {
  const [, minus, whole = '', fraction = '', exponent = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? []
  const all = whole + fraction
  let start = 0
  while (all[start] === '0') start += 1
  let end = all.length
  while (end > start && all[end - 1] === '0') end -= 1
  if (start === end) return { sign: 0, magnitude: 0, digits: '' }
  const magnitude = whole.length - start + Number(exponent)
  return { sign: minus === '-' ? -1 : 1, magnitude, digits: all.slice(start, end) }
}
