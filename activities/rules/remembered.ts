// The rules of each tenant, read once and asked often: reading them anew for every distribution would cost more than
// asking. Of rules that changed, only those are read again.
import { type RuleSet, readRule, ruleSet, type StoredRule } from './rule.ts'

/** So many tenants' rules are remembered by one process. */
const MAX_TENANTS = 100

export interface RememberedRules {
  /** The rules as the fingerprint says that they are; `load` fetches those that it does not say. */
  of(
    tenantId: string,
    state: { enabled: number; fingerprint: string },
    load: () => Promise<StoredRule[]>,
  ): Promise<RuleSet>
}

type Read = ReturnType<typeof readRule>

interface Remembered {
  fingerprint: string
  set: RuleSet
  read: Map<string, Read>
}

const NO_RULES = ruleSet([])

export function rememberRules(): RememberedRules {
  const tenants = new Map<string, Remembered>()
  return {
    async of(tenantId, { enabled, fingerprint }, load) {
      if (enabled === 0) {
        tenants.delete(tenantId)
        return NO_RULES
      }
      const present = tenants.get(tenantId)
      // The oldest is forgotten first; this one is in use.
      tenants.delete(tenantId)
      if (present?.fingerprint === fingerprint) {
        tenants.set(tenantId, present)
        return present.set
      }
      const read = new Map<string, Read>()
      const set = ruleSet(await load(), (stored) => {
        const key = `${stored.id} ${stored.version}`
        const known = present?.read.get(key) ?? readRule(stored)
        read.set(key, known)
        return known
      })
      tenants.set(tenantId, { fingerprint, set, read })
      if (tenants.size > MAX_TENANTS) tenants.delete(tenants.keys().next().value!)
      return set
    },
  }
}
