// Validates a rule before it is stored; each problem has its path.
import { ACTIONS } from '../../activities/rules/actions.ts'
import { type Leaf, readConditions } from '../../activities/rules/conditions.ts'
import { exactText, readExact } from '../../activities/rules/exact.ts'
import type { Db } from '../../db/pool.ts'
import { findUnknownTargets, knownNames } from '../../db/rules/rule-lookups.ts'
import type { LeafRow } from '../../db/rules/rules.ts'
import type { RuleType } from '../../db/states.ts'
import type { AppDeps } from '../http/context.ts'
import { type Detail, invalid } from '../http/errors.ts'
import { fieldPath } from '../http/json.ts'
import { didYouMean, issuesOf, nearestName } from '../schemas/issues.ts'
import { costlyIssues } from './shape-check.ts'

export interface GivenRule {
  rule_type: RuleType
  /** JSON text. */
  conditions: string
  actions: unknown
  /** A shared rule names destinations of each tenant, so they cannot be checked. */
  shared: boolean
}

/** Maximum characters as JSON. */
const MAX_CONDITIONS = 131_072
const MAX_ACTIONS = 262_144

/** Slow checks of the shape in the actions of a rule. Do not call it within a transaction. */
export function shapeIssues(shaper: AppDeps['shaper'], tenantId: string, actions: unknown, at: string[] = []) {
  const { shape } = (actions ?? {}) as { shape?: unknown }
  return costlyIssues(shaper, tenantId, shape, [...at, 'actions', 'shape'])
}

/**
 * Returns the rows of its comparisons, or throws a 400 with every problem.
 * @param found the problems that `shapeIssues` found
 * @param at the path of the rule in the request
 */
export async function checkRule(
  db: Db,
  given: GivenRule,
  found: readonly Detail[],
  at: string[] = [],
): Promise<LeafRow[]> {
  const details: Detail[] = [...found]
  refuseHuge(given, at)
  const conditions = readConditions(readExact(given.conditions))
  if ('issues' in conditions) {
    details.push(
      ...conditions.issues.map(({ path, issue }) => ({ field: fieldPath([...at, 'conditions', ...path]), issue })),
    )
  }
  const schema = ACTIONS[given.rule_type]
  const actions = schema.safeParse(given.actions)
  if (!actions.success) details.push(...issuesOf(schema, actions.error, [...at, 'actions']))
  else if (!given.shared && ('destinations' in actions.data || 'tags' in actions.data)) {
    details.push(...(await unknownTargets(db, actions.data, [...at, 'actions'])))
  }
  if (details.length > 0 || 'issues' in conditions) throw invalid(details)
  return conditions.leaves.map(leafRow)
}

function refuseHuge({ conditions, actions }: GivenRule, at: string[]): void {
  const fail = (field: string, max: number) => {
    throw invalid([{ field: fieldPath([...at, field]), issue: `must have at most ${max} characters of JSON` }])
  }
  if (conditions.length > MAX_CONDITIONS) fail('conditions', MAX_CONDITIONS)
  if (JSON.stringify(actions ?? null).length > MAX_ACTIONS) fail('actions', MAX_ACTIONS)
}

function leafRow({ path, operator, value }: Leaf): LeafRow {
  return { path: path.text, operator, value: exactText(value) }
}

/** Names and tags that do not exist: the rule would select no destination. */
async function unknownTargets(
  db: Db,
  { destinations = [], tags = [] }: { destinations?: string[] | undefined; tags?: string[] | undefined },
  at: string[],
): Promise<Detail[]> {
  const unknown = await findUnknownTargets(db, destinations, tags)
  if (unknown.names.size + unknown.tags.size === 0) return []
  const names = unknown.names.size > 0 ? await knownNames(db) : []
  return [
    ...destinations.flatMap((name, index) =>
      unknown.names.has(name)
        ? [
            {
              field: fieldPath([...at, 'destinations', index]),
              issue: `no destination is registered as ${JSON.stringify(name)}${didYouMean(nearestName(name, names))}`,
            },
          ]
        : [],
    ),
    ...tags.flatMap((tag, index) =>
      unknown.tags.has(tag)
        ? [{ field: fieldPath([...at, 'tags', index]), issue: `no destination has the tag ${JSON.stringify(tag)}` }]
        : [],
    ),
  ]
}

/** The same check for the names of a default route. */
export async function unknownDestinations(db: Db, destinations: string[], at: string): Promise<Detail[]> {
  const details = await unknownTargets(db, { destinations }, [])
  return details.map(({ field, issue }) => ({ field: field.replace(/^destinations/, at), issue }))
}
