// Which destinations the routing rules choose, by name, tag and strategy. Pure except for the lookups that are passed in.

import type { Candidate } from '../../db/rules/rule-lookups.ts'
import { type Member, pick } from './balance.ts'
import type { Lookups, PlannedDestination, RulePlan } from './planned.ts'
import type { RuleOf } from './rule.ts'
import { isLiving } from './warnings.ts'

/** Adds the destinations that the routing rules choose to the plan: each once, by the first rule that chooses it. */
export async function choose(
  plan: RulePlan,
  rules: RuleOf<'routing'>[],
  known: ReadonlyMap<string, Candidate>,
  candidates: Candidate[],
  dropping: (name: string) => unknown,
  lookups: Lookups,
): Promise<void> {
  const balanced = rules.filter(({ actions }) => actions.strategy === 'load_balance')
  const members = new Map(rules.map((rule) => [rule, membersOf(rule, candidates, known)]))
  const turns = balanced.length > 0 ? await lookups.turns(balanced.map(({ id }) => id)) : new Map<string, number>()
  const failing = balanced.filter(({ actions }) => actions.balance === 'least_failing')
  const failures =
    failing.length > 0
      ? await lookups.failures([...new Set(failing.flatMap((rule) => members.get(rule)!))])
      : new Map<string, number>()
  const chosen = new Map<string, PlannedDestination>()
  const add = (planned: PlannedDestination): PlannedDestination => {
    chosen.set(planned.name, planned)
    plan.destinations.push(planned)
    return planned
  }
  /** The groups of failover rules: one destination of each group must succeed. */
  const groups: string[][] = []
  for (const [group, rule] of rules.entries()) {
    const names = members.get(rule)!
    if (names.length === 0 && !rule.shared) {
      plan.warnings.push(
        `The rule ${rule.name} chose nothing: no destination has the tag ${rule.actions.tags?.join(' or ')}`,
      )
    }
    const take = (name: string) => add(member(name, known.get(name), rule.name, true))
    /** Sent in any case, even if it is a standby of another rule. */
    const send = (name: string) => {
      const planned = chosen.get(name) ?? take(name)
      planned.standby = false
      planned.required = planned.failover_group !== null
    }
    switch (rule.actions.strategy) {
      case 'all':
        for (const name of names) send(name)
        break
      case 'failover': {
        const own: string[] = []
        for (const name of names) {
          const present = chosen.get(name)
          // A member of another group stays in that group.
          if ((present && present.failover_group !== null) || dropping(name)) {
            if (!present) take(name)
            continue
          }
          const planned = present ?? take(name)
          planned.failover_group = group
          // If another rule sends to it anyway, it becomes the first of the group, and is needed even if the group succeeds.
          planned.required = present !== undefined
          if (planned.status !== 'pending') continue
          planned.standby = !present && own.length > 0
          own.push(name)
        }
        if (own.length > 0) {
          groups.push(own)
          break
        }
        // All members stay in other groups. One group that can only end with one of these members is enough.
        const all = new Set(names)
        if (groups.some((members) => members.every((name) => all.has(name)))) break
        const first = names.find((name) => !dropping(name) && chosen.get(name)?.status === 'pending')
        if (first !== undefined) send(first)
        break
      }
      case 'load_balance': {
        const open = names.filter((name) => !dropping(name))
        const going = open.find((name) => {
          const present = chosen.get(name)
          return present?.status === 'pending' && !present.standby
        })
        const usable = open.filter((name) => isUsable(known.get(name)))
        const { balance = 'round_robin', weights = {} } = rule.actions
        const turn = turns.get(rule.id) ?? 0
        const among = (usable.length > 0 ? usable : open).map(
          (name): Member => ({
            name,
            weight: Object.hasOwn(weights, name) ? weights[name]! : 1,
            failing: failures.get(name) ?? 0,
            unhealthy: known.get(name)?.unhealthy ?? false,
          }),
        )
        if (going !== undefined) send(going)
        else if (among.length > 0) send(pick(among, balance, turn).name)
        else for (const name of names) send(name)
      }
    }
  }
}

/** First by name, in the order of the rule, then by tag, in the order of the names. A shared rule ignores unknown names. */
function membersOf(
  { actions, shared }: RuleOf<'routing'>,
  candidates: Candidate[],
  known: ReadonlyMap<string, Candidate>,
): string[] {
  const named = (actions.destinations ?? []).filter((name) => !shared || isLiving(known.get(name)))
  const tagged = candidates.filter(({ deleted, tags }) => !deleted && actions.tags?.some((tag) => tags.includes(tag)))
  return [...new Set([...named, ...tagged.map(({ name }) => name).sort()])]
}

function isUsable(candidate: Candidate | undefined): boolean {
  return (
    candidate !== undefined &&
    isLiving(candidate) &&
    (candidate.status === 'active' || candidate.status === 'deprecated')
  )
}

export function row(name: string, candidate: Candidate | null, rule: string | null): PlannedDestination {
  return {
    name,
    candidate,
    status: 'pending',
    error_code: null,
    error_message: null,
    rule,
    failover_group: null,
    standby: false,
    required: false,
    shape: null,
  }
}

/** A registered destination. An inactive one is skipped if a rule chose it, and its delivery waits if the submission named it. */
export function member(
  name: string,
  candidate: Candidate | undefined,
  rule: string | null,
  byRules: boolean,
): PlannedDestination {
  const planned = row(name, candidate ?? null, rule)
  if (!candidate || candidate.deleted) {
    return {
      ...planned,
      status: 'failed',
      error_code: 'DESTINATION_DELETED',
      error_message: byRules
        ? `The ${rule === null ? 'default route' : `rule ${rule}`} names it, but it is deleted`
        : 'The destination was deleted before it was served',
    }
  }
  if (byRules && candidate.status === 'inactive') {
    return {
      ...planned,
      status: 'skipped',
      error_code: 'DESTINATION_DISABLED',
      error_message: 'The destination was disabled when the rules chose it',
    }
  }
  return planned
}
