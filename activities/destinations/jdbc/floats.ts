// Integers in floating-point columns, which keep only 53 or 24 bits of them.

const NUMBER = /^\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*$/i

/**
 * Whether the column can store the number. A fraction may be rounded to the nearest stored value, as usual. An integer
 * (an id, an account) must stay the same, and a number other than zero must not become zero.
 */
export function floatKeeps(digits: string, bits: 32 | 64): boolean {
  // The server decides about `NaN`, `Infinity` and texts that are not numbers.
  if (!NUMBER.test(digits)) return true
  const value = bits === 64 ? Number(digits) : Math.fround(Number(digits))
  if (!Number.isFinite(value)) return true
  const isZero = !/[1-9]/.test(digits.replace(/e.*$/i, ''))
  if (value === 0) return isZero
  const given = wholeNumber(digits)
  if (given === undefined) return true
  return given === wholeNumber(bits === 64 ? String(value) : shortest32(value)) || given === wholeNumber(exact(value))
}

/** The digits of an integer without trailing zeros, and the number of these zeros; undefined for any other number. */
function wholeNumber(text: string): string | undefined {
  const [, whole = '', fraction = '', exponent = '0'] = /^\s*[-+]?(\d*)\.?(\d*)(?:e([-+]?\d+))?\s*$/i.exec(text) ?? []
  const significant = (whole + fraction).replace(/^0+/, '')
  const trimmed = significant.replace(/0+$/, '')
  const zeros = Number(exponent) - fraction.length + (significant.length - trimmed.length)
  return zeros < 0 ? undefined : `${trimmed}e${zeros}`
}

/** The shortest decimal form of the same 32-bit number. */
function shortest32(value: number): string {
  for (let digits = 6; digits < 9; digits++) {
    const text = value.toPrecision(digits)
    if (Math.fround(Number(text)) === value) return text
  }
  return value.toPrecision(9)
}

function exact(value: number): string {
  return Number.isInteger(value) ? BigInt(value).toString() : String(value)
}
