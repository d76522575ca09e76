// What is said beside a plan: kept with the job, and so bounded.
import type { Candidate } from '../../db/rules/rule-lookups.ts'
import type { RuleOf } from './rule.ts'

const MAX_WARNINGS = 100
const MAX_LENGTH = 500

/** The first ones, shortened; how many there were beside. */
export function boundedWarnings(warnings: readonly string[]): string[] {
  const kept = warnings.slice(0, MAX_WARNINGS).map((text) => {
    // Half of a pair of surrogates would be no text to PostgreSQL.
    return text.length > MAX_LENGTH ? `${text.slice(0, MAX_LENGTH).replace(/[\ud800-\udbff]$/, '')}…` : text
  })
  const more = warnings.length - kept.length
  return more > 0 ? [...kept, `${more} more warnings are left out`] : kept
}

/** The destinations that a rule names and that are not there (any more); null when all are. */
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
