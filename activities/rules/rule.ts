// A rule as it is stored, and as it can be evaluated.
import type { StoredRule } from '../../db/rules/rules.ts'
import type { RuleType } from '../../db/states.ts'
import { type Wanted, wantedParts } from '../document/tree.ts'
import { ACTIONS, type Actions } from './actions.ts'
import { type Issue, type ReadConditions, readConditions } from './conditions.ts'
import { readExact } from './exact.ts'

export type Rule = { [T in RuleType]: RuleOf<T> }[RuleType]

export interface RuleOf<T extends RuleType> extends ReadConditions {
  id: string
  name: string
  shared: boolean
  rule_type: T
  priority: number
  actions: Actions<T>
}

/** The rule, or the problems of its conditions and actions, with their paths. */
export function readRule(stored: StoredRule): Rule | { issues: Issue[] } {
  const { id, name, shared, rule_type, priority } = stored
  const conditions = readConditions(readExact(stored.conditions))
  const actions = ACTIONS[rule_type].safeParse(stored.actions)
  const issues: Issue[] = []
  if ('issues' in conditions)
    issues.push(...conditions.issues.map(({ path, issue }) => ({ path: ['conditions', ...path], issue })))
  if (!actions.success) {
    for (const issue of actions.error.issues) {
      issues.push({
        path: ['actions', ...issue.path.map((step) => (typeof step === 'number' ? step : String(step)))],
        issue: issue.message,
      })
    }
  }
  if ('issues' in conditions || !actions.success) return { issues }
  return { id, name, shared, rule_type, priority, actions: actions.data, ...conditions } as Rule
}

export interface RuleSet {
  /** By priority, the highest first, then by name; the tenant's own rule before a shared one of the same name. */
  rules: Rule[]
  /** Invalid rows that were written by SQL: they never match, and the explanation says why. */
  unreadable: { id: string; name: string; shared: boolean; rule_type: RuleType; priority: number; issue: string }[]
  /** The parts of the payload that must be read; null for none. */
  payload: Wanted | null
}

/** The rules of these rows, in the order of evaluation. */
export function ruleSet(stored: readonly StoredRule[], read: typeof readRule = readRule): RuleSet {
  const rules: Rule[] = []
  const unreadable: RuleSet['unreadable'] = []
  for (const row of stored) {
    const rule = read(row)
    if ('issues' in rule) {
      const { id, name, shared, rule_type, priority } = row
      const first = rule.issues[0]!
      unreadable.push({ id, name, shared, rule_type, priority, issue: `${first.path.join('.')} ${first.issue}` })
    } else rules.push(rule)
  }
  return setOf(rules, unreadable)
}

/** The rules in the order of evaluation. */
export function setOf(rules: readonly Rule[], unreadable: RuleSet['unreadable']): RuleSet {
  const paths = rules.flatMap(({ leaves }) =>
    leaves.filter(({ path }) => path.root === 'payload').map(({ path }) => path.steps),
  )
  return {
    rules: rules.toSorted((a, b) => b.priority - a.priority || byText(a.name, b.name) || +a.shared - +b.shared),
    unreadable,
    payload: paths.length > 0 ? wantedParts(paths) : null,
  }
}

function byText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
