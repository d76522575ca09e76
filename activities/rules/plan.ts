// Makes a plan from facts and rules: which destinations are served, how, and why. Distributions and dry runs use the same code;
// lookups are passed in.

import type { Candidate } from '../../db/rules/rule-lookups.ts'
import type { RuleType } from '../../db/states.ts'
import { createPace } from '../document/time-slices.ts'
import { choose, member, row } from './choose.ts'
import { evaluate } from './evaluate.ts'
import { freshWork } from './operators.ts'
import type { Facts } from './paths.ts'
import type { Considered, Lookups, RulePlan, Submitted } from './planned.ts'
import type { Rule, RuleOf, RuleSet } from './rule.ts'
import { absentNames, boundedWarnings } from './warnings.ts'

const MAX_DESTINATIONS = 1000
/** Beyond the limit above a destination gets a skipped row, which a retry can send; beyond this limit it gets no row. */
const MAX_ROWS = 2000

export async function planByRules(
  set: RuleSet,
  facts: Facts,
  submitted: readonly Submitted[],
  defaults: readonly string[],
  lookups: Lookups,
): Promise<RulePlan> {
  const considered: Considered[] = []
  const work = freshWork()
  const pace = createPace()
  const ask = async <T extends RuleType>(type: T, unless = false): Promise<RuleOf<T>[]> => {
    const matched: RuleOf<T>[] = []
    let stopped = unless
    for (const rule of set.rules as Rule[]) {
      if (rule.rule_type !== type) continue
      const { id, name, shared, rule_type, priority } = rule
      const due = pace()
      if (due) await due
      const steps = evaluate(rule.condition, facts, work)
      let step = stopped ? null : steps.next()
      while (step && !step.done) {
        await pace()
        step = steps.next()
      }
      const outcome = step?.value ?? null
      considered.push({ id, name, shared, rule_type, priority, outcome })
      if (!outcome?.matched) continue
      matched.push(rule as unknown as RuleOf<T>)
      if (rule.actions.stop) stopped = true
    }
    return matched
  }

  const filtering = await ask('filtering')
  const all = filtering.find(({ actions }) => !actions.destinations && !actions.tags)
  const routing = submitted.length > 0 ? [] : await ask('routing', all !== undefined)
  const transformation = await ask('transformation', all !== undefined)
  const prioritization = await ask('prioritization', all !== undefined)
  for (const { issue, ...row } of set.unreadable) considered.push({ ...row, outcome: null, unreadable: issue })

  const choosing = [...filtering, ...routing, ...transformation]
  const asked = choosing.map(({ actions }) => actions)
  const candidates = await lookups.destinations(
    [
      ...new Set([
        ...submitted.flatMap(({ name, inline }) => (inline ? [] : [name])),
        ...asked.flatMap(({ destinations = [] }) => destinations),
        ...(submitted.length > 0 ? [] : defaults),
      ]),
    ],
    [...new Set(asked.flatMap(({ tags = [] }) => tags))],
  )
  const known = new Map(candidates.map((candidate) => [candidate.name, candidate]))
  const plan: RulePlan = {
    chosen_by: 'submission',
    destinations: [],
    dropped: all ? { rule: all.name, reason: all.actions.reason ?? null } : null,
    priority: firstSet(prioritization, 'priority'),
    expires_in_seconds: firstSet(prioritization, 'expires_in_seconds'),
    max_retries: firstSet(prioritization, 'max_retries'),
    warnings: [
      ...set.unreadable.map(({ name, issue }) => `The rule ${name} cannot be read: ${issue}`),
      ...considered.flatMap(({ name, outcome }) =>
        outcome?.undecided ? [`The rule ${name} is not decided, and counts as not matched: see the explanation`] : [],
      ),
    ],
    considered,
  }
  for (const rule of choosing) {
    const absent = absentNames(rule, known)
    if (absent === null) continue
    // Not every tenant has the destinations that a shared rule names; that is no reason for a warning.
    if (rule.shared)
      considered.find(({ id }) => id === rule.id)!.note =
        `ignores destinations that this tenant does not have: ${absent}`
    else plan.warnings.push(`The rule ${rule.name} names destinations that do not exist: ${absent}`)
  }
  if (all) plan.warnings.push(dropped(all, 'The distribution was'))
  const dropping = (name: string) => filtering.find((rule) => concerns(rule, name, known.get(name)))

  if (submitted.length > 0) {
    for (const { name, inline } of submitted) {
      plan.destinations.push(inline ? row(name, null, null) : member(name, known.get(name), null, false))
    }
  } else if (!all) {
    await choose(plan, routing, known, candidates, dropping, lookups)
    plan.chosen_by = plan.destinations.length > 0 ? 'rules' : 'none'
    if (plan.destinations.length === 0) {
      for (const name of new Set(defaults)) plan.destinations.push(member(name, known.get(name), null, true))
      if (defaults.length > 0) plan.chosen_by = 'default'
    }
  } else plan.chosen_by = 'none'

  const leftOut = plan.destinations.splice(MAX_ROWS).length
  if (leftOut > 0) plan.warnings.push(`The rules chose too many destinations: ${leftOut} of them are left out`)
  for (const [index, planned] of plan.destinations.entries()) {
    const rule = dropping(planned.name)
    if (rule) {
      Object.assign(planned, {
        status: 'skipped',
        error_code: null,
        error_message: dropped(rule, 'This destination was'),
        standby: false,
      })
      if (!all) plan.warnings.push(dropped(rule, `The destination ${planned.name} was`))
      continue
    }
    if (index >= MAX_DESTINATIONS && planned.status === 'pending') {
      const error_message = `The rules chose more than ${MAX_DESTINATIONS} destinations`
      Object.assign(planned, { status: 'skipped', error_code: 'MISCONFIGURED', error_message, standby: false })
    }
    const shaping = transformation.find((one) => !isScoped(one) || concerns(one, planned.name, known.get(planned.name)))
    if (shaping) planned.shape = shaping.actions.shape
  }
  for (const { name, candidate } of plan.destinations) {
    if (candidate?.status === 'deprecated') plan.warnings.push(`The destination ${name} is deprecated`)
  }
  plan.warnings = boundedWarnings(plan.warnings)
  return plan
}

type Scoped = RuleOf<'filtering'> | RuleOf<'transformation'>

function isScoped({ actions }: Scoped): boolean {
  return actions.destinations !== undefined || actions.tags !== undefined
}

/** Whether a rule concerns this destination; a filter without names and tags concerns all. */
function concerns(rule: Scoped, name: string, candidate: Candidate | undefined): boolean {
  if (!isScoped(rule)) return true
  const { destinations, tags } = rule.actions
  return Boolean(destinations?.includes(name) || tags?.some((tag) => candidate?.tags.includes(tag)))
}

function dropped(rule: RuleOf<'filtering'>, what: string): string {
  return `${what} dropped by the rule ${rule.name}${rule.actions.reason ? `: ${rule.actions.reason}` : ''}`
}

function firstSet<K extends 'priority' | 'expires_in_seconds' | 'max_retries'>(
  rules: RuleOf<'prioritization'>[],
  key: K,
) {
  const rule = rules.find(({ actions }) => actions[key] !== undefined)
  return rule ? { value: rule.actions[key]!, rule: rule.name } : null
}
