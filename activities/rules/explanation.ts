// Explains why a distribution went to its destinations, with the tested values. Bounded, because it is stored with the job.
import type { RuleType } from '../../db/states.ts'
import type { Outcome } from './evaluate.ts'
import { type Exact, exactText } from './exact.ts'
import type { Considered, PlannedDestination, RulePlan } from './planned.ts'

export interface ExplanationOptions {
  /** False: only paths, because the payload is sealed. */
  values: boolean
  /** Characters that are shown of a value. */
  max_value: number
  /** Bytes for all rules together; rules beyond that are only counted. */
  max_bytes: number
  /** For a condition that does not hold, only the test that failed. */
  brief: boolean
}

/** For the explanation that is stored with the job. */
export const KEPT: ExplanationOptions = { values: true, max_value: 200, max_bytes: 16_384, brief: true }
/** For the answer to a dry run. */
export const SHOWN: ExplanationOptions = { values: true, max_value: 1000, max_bytes: 4_194_304, brief: false }

/** A type, not an interface, so that it can be used as an object with any keys. */
export type ExplainedCondition = {
  matched: boolean
  all?: ExplainedCondition[]
  any?: ExplainedCondition[]
  not?: ExplainedCondition
  path?: string
  /** The element of a list for which it holds. */
  at?: string
  operator?: string
  /** JSON text, shortened: numbers keep their digits. */
  value?: string
  /** JSON text of the value at the path; absent when there is none. */
  actual?: string
  missing?: true
  time_zone?: string
  note?: string
}

export interface ExplainedRule {
  id: string
  name: string
  /** Shared by all tenants. */
  shared?: true
  rule_type: RuleType
  priority: number
  /** Null: not evaluated. */
  matched: boolean | null
  conditions?: ExplainedCondition
  note?: string
}

export interface Explanation {
  chosen_by: RulePlan['chosen_by']
  rules: ExplainedRule[]
  /** Number of rules that are left out because of their size. */
  rules_omitted: number
  destinations: ExplainedDestination[]
  destinations_omitted: number
  dropped: RulePlan['dropped']
  priority: RulePlan['priority']
  expires_in_seconds: RulePlan['expires_in_seconds']
  max_retries: RulePlan['max_retries']
  warnings: string[]
}

export interface ExplainedDestination {
  name: string
  protocol: string | null
  status: PlannedDestination['status']
  error_code: string | null
  error_message: string | null
  rule: string | null
  failover_group: number | null
  standby: boolean
  required: boolean
  shaped: boolean
}

/** Rules that matched come first, so that they are left out last. */
export function explain(plan: RulePlan, options: ExplanationOptions): Explanation {
  const budget = { left: options.max_bytes }
  const keep = <T>(list: T[]): T[] => {
    const kept: T[] = []
    for (const one of list) {
      budget.left -= Buffer.byteLength(JSON.stringify(one))
      if (budget.left < 0) break
      kept.push(one)
    }
    return kept
  }
  const rank = ({ outcome }: Considered) => (outcome?.matched ? 0 : outcome ? 1 : 2)
  const ordered = plan.considered.toSorted((a, b) => rank(a) - rank(b))
  const rules = keepLazily(ordered, (one) => [explainRule(one, options), outline(one)], budget)
  const destinations = keep(
    plan.destinations.map(
      ({ name, candidate, status, error_code, error_message, rule, failover_group, standby, required, shape }) => ({
        name,
        protocol: candidate?.protocol ?? null,
        status,
        error_code,
        error_message,
        rule,
        failover_group,
        standby,
        required,
        shaped: shape !== null,
      }),
    ),
  )
  const { chosen_by, dropped, priority, expires_in_seconds, max_retries } = plan
  return {
    chosen_by,
    rules,
    rules_omitted: ordered.length - rules.length,
    destinations,
    destinations_omitted: plan.destinations.length - destinations.length,
    dropped,
    priority,
    expires_in_seconds,
    max_retries,
    warnings: plan.warnings,
  }
}

/**
 * Keeps for each rule the longest form that fits the budget. Rules beyond the budget are not even explained, because there may
 * be a thousand of them.
 */
function keepLazily<T, U>(list: T[], formsOf: (one: T) => U[], budget: { left: number }): U[] {
  const kept: U[] = []
  for (const one of list) {
    const fitting = formsOf(one).find((form) => Buffer.byteLength(JSON.stringify(form)) <= budget.left)
    if (fitting === undefined) break
    budget.left -= Buffer.byteLength(JSON.stringify(fitting))
    kept.push(fitting)
  }
  // Room for the destinations is reserved.
  budget.left = Math.max(budget.left, 8192)
  return kept
}

/** The shortest form, without the conditions. */
function outline({ id, name, shared, rule_type, priority, outcome }: Considered): ExplainedRule {
  const note = 'its conditions are left out because of their size'
  return { id, name, ...(shared ? { shared } : {}), rule_type, priority, matched: outcome?.matched ?? null, note }
}

function explainRule(
  { id, name, shared, rule_type, priority, outcome, unreadable, note }: Considered,
  options: ExplanationOptions,
): ExplainedRule {
  const rule = { id, name, ...(shared ? { shared } : {}), rule_type, priority }
  if (unreadable) return { ...rule, matched: false, note: `cannot be read: ${unreadable}` }
  if (!outcome) return { ...rule, matched: null, note: 'was not evaluated: an earlier rule stopped the evaluation' }
  const conditions = explainOutcome(outcome, options)
  if (outcome.undecided)
    return { ...rule, matched: false, conditions, note: 'is not decided, and counts as not matched' }
  return { ...rule, matched: outcome.matched, conditions, ...(note ? { note } : {}) }
}

function explainActual(actual: Exact | undefined, { values, max_value }: ExplanationOptions) {
  if (actual === undefined) return { missing: true as const }
  return values ? { actual: exactText(actual, max_value) } : {}
}

function explainOutcome(outcome: Outcome, options: ExplanationOptions): ExplainedCondition {
  if (outcome.kind === 'not') return { matched: outcome.matched, not: explainOutcome(outcome.of[0]!, options) }
  if (outcome.kind !== 'leaf') {
    // If an `all` does not hold, the last test decided.
    const brief = options.brief && outcome.kind === 'all' && !outcome.matched && !outcome.undecided
    const asked = brief ? outcome.of.slice(-1) : outcome.of
    return { matched: outcome.matched, [outcome.kind]: asked.map((one) => explainOutcome(one, options)) }
  }
  const { leaf, actual, elements, at, matched, note } = outcome
  return {
    matched,
    path: leaf.path.text,
    ...(at === undefined ? {} : { at }),
    operator: leaf.operator,
    ...(options.values ? { value: exactText(leaf.value, options.max_value) } : {}),
    ...(elements === undefined ? explainActual(actual, options) : {}),
    ...(leaf.path.root === 'time' ? { time_zone: leaf.timeZone } : {}),
    ...(note ? { note } : {}),
  }
}
