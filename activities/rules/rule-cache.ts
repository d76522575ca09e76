// The rules of each tenant, read once and asked often: reading them anew for every distribution would cost more than
// asking. Of rules that changed, only those are read again.
import { setImmediate } from 'node:timers/promises'
import type { StoredRule } from '../../db/rules/rules.ts'
import { type RuleSet, readRule, ruleSet } from './rule.ts'

/** So many tenants' rules are remembered by one process, and so many characters of them; those in use in any case. */
const MAX_TENANTS = 100
const MAX_SIZE = 32 * 1024 * 1024
/** Rules are read where everybody's distributions are planned: after this time the others go on. */
const AT_ONCE_MS = 20

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
  size: number
}

const NO_RULES = ruleSet([])

export function rememberRules(): RememberedRules {
  const tenants = new Map<string, Remembered>()
  let size = 0
  const forget = (tenantId: string) => {
    size -= tenants.get(tenantId)?.size ?? 0
    tenants.delete(tenantId)
  }
  const remember = (tenantId: string, remembered: Remembered) => {
    tenants.set(tenantId, remembered)
    size += remembered.size
  }
  return {
    async of(tenantId, { enabled, fingerprint }, load) {
      if (enabled === 0) {
        forget(tenantId)
        return NO_RULES
      }
      const present = tenants.get(tenantId)
      // The oldest is forgotten first; this one is in use.
      forget(tenantId)
      if (present?.fingerprint === fingerprint) {
        remember(tenantId, present)
        return present.set
      }
      const read = new Map<string, Read>()
      const stored = await load()
      let since = performance.now()
      for (const row of stored) {
        read.set(keyOf(row), present?.read.get(keyOf(row)) ?? readRule(row))
        if (performance.now() - since < AT_ONCE_MS) continue
        await setImmediate()
        since = performance.now()
      }
      const set = ruleSet(stored, (row) => read.get(keyOf(row))!)
      // Somebody else may have been as far meanwhile.
      forget(tenantId)
      remember(tenantId, { fingerprint, set, read, size: stored.reduce((sum, one) => sum + sizeOf(one), 0) })
      while (tenants.size > 1 && (tenants.size > MAX_TENANTS || size > MAX_SIZE)) forget(tenants.keys().next().value!)
      return set
    },
  }
}

function keyOf({ id, version }: StoredRule): string {
  return `${id} ${version}`
}

function sizeOf({ conditions, actions }: StoredRule): number {
  return conditions.length + JSON.stringify(actions).length
}
