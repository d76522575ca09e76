// Patterns of `matches`, in RE2 syntax. RE2 has no backtracking, so the time is proportional to pattern size times text length;
// both are bounded.
import { RE2JS } from 're2js'

export const MAX_PATTERN = 500
/** Instructions of a compiled pattern. */
const MAX_PROGRAM = 500
/** Characters of a text that a pattern is tested against. */
export const MAX_MATCHED_TEXT = 10_000
export interface Pattern {
  text: string
  program: number
  /** Whether it matches anywhere in the text. */
  found(text: string): boolean
}

export function readPattern(text: string): Pattern | { issue: string } {
  if (text.length > MAX_PATTERN) return { issue: `must have at most ${MAX_PATTERN} characters` }
  let compiled: RE2JS
  try {
    compiled = RE2JS.compile(text)
  } catch (error) {
    const why = error instanceof Error ? error.message.replace(/^error parsing regexp: /, '') : 'unreadable'
    return { issue: `is not an RE2 pattern (no look-around, no back-references): ${why.slice(0, 200)}` }
  }
  const program = compiled.programSize()
  if (program > MAX_PROGRAM) return { issue: 'is too large a pattern: repeat less' }
  return { text, program, found: (given) => compiled.matcher(given).find() }
}
