// Looks up the destinations that a request names, and suggests names for unknown ones.
import { findDestinations, type KnownDestination } from '../../db/distributions/plan.ts'
import type { Db } from '../../db/pool.ts'
import { knownNames } from '../../db/rules/rule-lookups.ts'
import { nearestName } from '../schemas/issues.ts'

export interface KnownDestinations {
  found: ReadonlyMap<string, KnownDestination>
  /** For unknown names, the most similar known name. */
  meant: ReadonlyMap<string, string>
}

/** Only the first unknown names get a suggestion: each is compared with up to a thousand names. */
const MAX_SUGGESTED = 20

/** Looks all of them up at once. */
export async function knownDestinations(
  db: Db,
  named: readonly { name: string; inline: boolean }[],
): Promise<KnownDestinations> {
  const found = await findDestinations(db, [...new Set(named.map(({ name }) => name))])
  // An inline destination may have any name.
  const missing = new Set(named.flatMap(({ name, inline }) => (inline || found.has(name) ? [] : [name])))
  const names = missing.size > 0 ? await knownNames(db) : []
  const meant = new Map<string, string>()
  for (const name of [...missing].slice(0, MAX_SUGGESTED)) {
    const near = nearestName(name, names)
    if (near !== undefined) meant.set(name, near)
  }
  return { found, meant }
}
