// The rules of a tenant, read once and asked often: reading them anew for every distribution would cost more than asking.
import type { Db } from '../db/pool.ts'
import { loadRules, type RuleState, readRuleState } from '../db/rules.ts'
import { type RuleSet, ruleSet } from './rules/rule.ts'

/** So many tenants' rules are remembered by one worker. */
const MAX_TENANTS = 100

export interface RuleCache {
  /** The rules as they are in the database now, and what else a plan needs to know of the tenant. */
  rulesOf(db: Db, tenantId: string): Promise<{ state: RuleState; set: RuleSet }>
}

const NO_RULES: RuleSet = { rules: [], unreadable: [], payload: null }

export function createRuleCache(): RuleCache {
  const known = new Map<string, { fingerprint: string; set: RuleSet }>()
  return {
    async rulesOf(db, tenantId) {
      const state = await readRuleState(db, tenantId)
      if (state.enabled === 0) return { state, set: NO_RULES }
      const present = known.get(tenantId)
      if (present?.fingerprint === state.fingerprint) return { state, set: present.set }
      const set = ruleSet(await loadRules(db))
      known.delete(tenantId)
      known.set(tenantId, { fingerprint: state.fingerprint, set })
      if (known.size > MAX_TENANTS) known.delete(known.keys().next().value!)
      return { state, set }
    },
  }
}
