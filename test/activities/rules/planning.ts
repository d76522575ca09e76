// A plan made of rules and destinations that are only written down.
import { readExact } from '../../../activities/rules/exact.ts'
import type { Facts } from '../../../activities/rules/paths.ts'
import { planByRules } from '../../../activities/rules/plan.ts'
import type { RulePlan } from '../../../activities/rules/planned.ts'
import { ruleSet } from '../../../activities/rules/rule.ts'
import { momentOf } from '../../../activities/rules/time.ts'
import type { Candidate } from '../../../db/rules/rule-lookups.ts'
import type { StoredRule } from '../../../db/rules/rules.ts'

export interface ARule extends Partial<Omit<StoredRule, 'conditions' | 'actions'>> {
  conditions?: unknown
  actions: unknown
}

export function candidate(name: string, over: Partial<Candidate> = {}): Candidate {
  return { id: name, name, protocol: 'REST', status: 'active', deleted: false, tags: [], unhealthy: false, ...over }
}

export const FACTS: Facts = {
  payload: readExact('{"country": "IT"}'),
  metadata: readExact('{}'),
  data_type: 'report',
  tenant_id: 'acme',
  priority: 'normal',
  time: momentOf(new Date('2026-01-15T09:30:00Z')),
}
export const ITALY = { path: 'payload.country', operator: 'equal', value: 'IT' }
export const FRANCE = { path: 'payload.country', operator: 'equal', value: 'FR' }

export interface Given {
  rules?: ARule[]
  registered?: (string | Candidate)[]
  submitted?: (string | { inline: string })[]
  defaults?: string[]
  turn?: number
  failures?: Record<string, number>
}

export async function planned(given: Given): Promise<RulePlan> {
  const registered = (given.registered ?? ['a', 'b', 'c']).map((one) =>
    typeof one === 'string' ? candidate(one) : one,
  )
  const rules = (given.rules ?? []).map(
    (rule, index): StoredRule => ({
      id: `r${index}`,
      version: '1',
      shared: false,
      name: `r${index}`,
      rule_type: 'routing',
      priority: 100 - index,
      ...rule,
      conditions: JSON.stringify(rule.conditions ?? {}),
    }),
  )
  const submitted = (given.submitted ?? []).map((one) =>
    typeof one === 'string' ? { name: one, inline: false } : { name: one.inline, inline: true },
  )
  return planByRules(ruleSet(rules), FACTS, submitted, given.defaults ?? [], {
    destinations: async (names, tags) =>
      registered.filter(
        ({ name, tags: own, deleted }) => names.includes(name) || (!deleted && own.some((tag) => tags.includes(tag))),
      ),
    turns: async (ids) => new Map(ids.map((id) => [id, given.turn ?? 0])),
    failures: async () => new Map(Object.entries(given.failures ?? {})),
  })
}

export const shown = ({ destinations }: RulePlan) =>
  destinations.map(({ name, status, standby, error_code }) =>
    [name, status === 'pending' ? '' : status, standby ? 'standby' : '', error_code ?? ''].filter(Boolean).join(' '),
  )
export const route = (destinations: string[], over: Record<string, unknown> = {}, conditions: unknown = {}): ARule => ({
  conditions,
  actions: { destinations, ...over },
})
