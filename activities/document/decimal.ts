// Exact decimal numbers. JavaScript compares doubles, in which 619919.09 is not a multiple of 0.01 and 9007199254740993
// equals …992. Here a number is its decimal digits and an exponent. It is never expanded, so the cost is linear in the text
// of the number and independent of its exponent.

export interface Decimal {
  sign: -1 | 0 | 1
  /** Without zeros at either end. */
  digits: string
  /** The power of ten of the last digit. */
  exponent: number
}

/** Larger exponents are treated as this one; no real payload has them. */
const MAX_EXPONENT = 1e15

/** Parses a JSON number, or the text that `String` makes of a double. */
export function decimalOf(text: string): Decimal {
  const [, minus, whole = '', fraction = '', power = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? []
  const all = whole + fraction
  let start = 0
  while (all[start] === '0') start += 1
  let end = all.length
  while (end > start && all[end - 1] === '0') end -= 1
  if (start === end) return { sign: 0, digits: '', exponent: 0 }
  const exponent = Math.max(-MAX_EXPONENT, Math.min(MAX_EXPONENT, Number(power)))
  return {
    sign: minus === '-' ? -1 : 1,
    digits: all.slice(start, end),
    exponent: exponent - fraction.length + all.length - end,
  }
}

/** The same text for equal numbers, and for no others. */
export function canonical({ sign, digits, exponent }: Decimal): string {
  return sign === 0 ? '0' : `${sign < 0 ? '-' : ''}${digits}e${exponent}`
}

/** Negative, 0 or positive, as in the callback of `sort`. */
export function compareDecimals(a: Decimal, b: Decimal): number {
  if (a.sign !== b.sign) return a.sign - b.sign
  const [x, y] = [a.digits.length + a.exponent, b.digits.length + b.exponent]
  if (x !== y) return x < y ? -a.sign : a.sign
  if (a.digits === b.digits) return 0
  return a.digits < b.digits ? -a.sign : a.sign
}

export function isWhole({ exponent }: Decimal): boolean {
  return exponent >= 0
}

/** Digits that become one BigInt at a time. */
const CHUNK = 15

/** Whether `value` is a multiple of `of`; only 0 is a multiple of 0. */
export function isMultiple(value: Decimal, of: Decimal): boolean {
  if (value.sign === 0) return true
  if (of.sign === 0) return false
  const shift = value.exponent - of.exponent
  // The value has a digit below the last one of the divisor.
  if (shift < 0) return false
  const divisor = BigInt(of.digits)
  let rest = 0n
  for (let at = 0; at < value.digits.length; at += CHUNK) {
    const chunk = value.digits.slice(at, at + CHUNK)
    rest = (rest * 10n ** BigInt(chunk.length) + BigInt(chunk)) % divisor
  }
  return (rest * powerOfTen(shift, divisor)) % divisor === 0n
}

function powerOfTen(exponent: number, modulus: bigint): bigint {
  let result = 1n % modulus
  let base = 10n % modulus
  for (let left = BigInt(exponent); left > 0n; left >>= 1n) {
    if (left & 1n) result = (result * base) % modulus
    base = (base * base) % modulus
  }
  return result
}
