// Whether a text contains another one, at a cost that is linear in both. JavaScript's own search compares again from the start
// after each partial match: ten thousand characters within a million took five seconds.

/** For shorter texts JavaScript's own search always costs less than the linear one. */
const SHORT = 16

/** @param wanted of at most 65,535 characters */
export function textSearch(wanted: string): (text: string) => boolean {
  if (wanted.length <= SHORT) return (text) => text.includes(wanted)
  let borders: Uint16Array | undefined
  return (text) => {
    if (text.length < wanted.length) return false
    borders ??= bordersOf(wanted)
    return isWithin(text, wanted, borders)
  }
}

/**
 * For each prefix of the text: how many characters at its end equal those at its start (Knuth, Morris and Pratt). They need not
 * be compared again after a mismatch.
 */
function bordersOf(wanted: string): Uint16Array {
  const borders = new Uint16Array(wanted.length)
  let same = 0
  for (let at = 1; at < wanted.length; at++) {
    const code = wanted.charCodeAt(at)
    while (same > 0 && wanted.charCodeAt(same) !== code) same = borders[same - 1]!
    if (wanted.charCodeAt(same) === code) same++
    borders[at] = same
  }
  return borders
}

function isWithin(text: string, wanted: string, borders: Uint16Array): boolean {
  let same = 0
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    while (same > 0 && wanted.charCodeAt(same) !== code) same = borders[same - 1]!
    if (wanted.charCodeAt(same) === code) same++
    if (same === wanted.length) return true
  }
  return false
}
