// The destinations that a request names: those that are registered, and for the others the names that were meant.
import { findDestinations, type KnownDestination } from '../../db/distributions/plan.ts'
import type { Db } from '../../db/pool.ts'
import { knownNames } from '../../db/rules/rule-lookups.ts'
import { nearestName } from '../schemas/issues.ts'

export interface KnownDestinations {
  found: ReadonlyMap<string, KnownDestination>
  /** For a name that was not found the one that it is like. */
  meant: ReadonlyMap<string, string>
}

/** Of a request with more mistaken names the others go without a suggestion: each is compared with a thousand. */
const MAX_SUGGESTED = 20

/** Looks all of them up at once. */
export async function knownDestinations(
  db: Db,
  named: readonly { name: string; inline: boolean }[],
): Promise<KnownDestinations> {
  const found = await findDestinations(db, [...new Set(named.map(({ name }) => name))])
  // An inline destination is called as it likes.
  const missing = new Set(named.flatMap(({ name, inline }) => (inline || found.has(name) ? [] : [name])))
  const names = missing.size > 0 ? await knownNames(db) : []
  const meant = new Map<string, string>()
  for (const name of [...missing].slice(0, MAX_SUGGESTED)) {
    const near = nearestName(name, names)
    if (near !== undefined) meant.set(name, near)
  }
  return { found, meant }
}
