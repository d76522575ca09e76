// The warnings of a plan. Bounded, because they are stored with the job.
import type { Candidate } from '../../db/rules/rule-lookups.ts'
import type { RuleOf } from './rule.ts'

const MAX_WARNINGS = 100
const MAX_LENGTH = 500

/** The first ones, shortened, and the number of the others. */
export function boundedWarnings(warnings: readonly string[]): string[] {
  const kept = warnings.slice(0, MAX_WARNINGS).map((text) => {
    // PostgreSQL refuses a text that ends with half of a surrogate pair.
    return text.length > MAX_LENGTH ? `${text.slice(0, MAX_LENGTH).replace(/[\ud800-\udbff]$/, '')}…` : text
  })
  const more = warnings.length - kept.length
  return more > 0 ? [...kept, `${more} more warnings are left out`] : kept
}

/** The destinations that a rule names and that do not exist; null when all exist. */
export function absentNames(
  { actions }: RuleOf<'routing' | 'filtering' | 'transformation'>,
  known: ReadonlyMap<string, Candidate>,
): string | null {
  const absent = (actions.destinations ?? []).filter((name) => !isLiving(known.get(name)))
  if (absent.length === 0) return null
  const more = absent.length > 3 ? ` and ${absent.length - 3} more` : ''
  return absent.slice(0, 3).join(', ') + more
}

export function isLiving(candidate: Candidate | undefined): boolean {
  return candidate !== undefined && !candidate.deleted
}
