// Whole numbers in columns of floating-point numbers, which have 53 or 24 bits for them.

const NUMBER = /^\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*$/i

/**
 * Whether the column keeps the number: a fraction becomes the nearest one that it has, as everywhere; a whole number
 * (an id, an account) is not changed, and what is not zero does not become zero.
 */
export function floatKeeps(digits: string, bits: 32 | 64): boolean {
  // `NaN`, `Infinity` and what is no number at all: the server knows.
  if (!NUMBER.test(digits)) return true
  const value = bits === 64 ? Number(digits) : Math.fround(Number(digits))
  if (!Number.isFinite(value)) return true
  const isZero = !/[1-9]/.test(digits.replace(/e.*$/i, ''))
  if (value === 0) return isZero
  const given = wholeNumber(digits)
  if (given === undefined) return true
  return given === wholeNumber(bits === 64 ? String(value) : shortest32(value)) || given === wholeNumber(exact(value))
}

/** The digits of a whole number without its zeros at the end, and how many there are; undefined for any other. */
function wholeNumber(text: string): string | undefined {
  const [, whole = '', fraction = '', exponent = '0'] = /^\s*[-+]?(\d*)\.?(\d*)(?:e([-+]?\d+))?\s*$/i.exec(text) ?? []
  const significant = (whole + fraction).replace(/^0+/, '')
  const trimmed = significant.replace(/0+$/, '')
  const zeros = Number(exponent) - fraction.length + (significant.length - trimmed.length)
  return zeros < 0 ? undefined : `${trimmed}e${zeros}`
}

/** As few digits as mean the same number of 32 bits. */
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
