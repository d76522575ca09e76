// The rules of each tenant, parsed once and used often: parsing them for every distribution would cost more than evaluating
// them. When some rules change, only those are parsed again.
import { setImmediate } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
import type { StoredRule } from '../../db/rules/rules.ts'
import { type RuleSet, readRule, ruleSet } from './rule.ts'

/** Tenants whose rules one process caches. */
const MAX_TENANTS = 100
/** Characters of all cached rules; a tenant with more is cached alone. */
const MAX_SIZE = 32 * 1024 * 1024
/** Parsing pauses after this time, so that other distributions are planned meanwhile. */
const AT_ONCE_MS = 20

export interface RuleCache {
  /** The rules of the version that the fingerprint names; `load` reads them when the cache has another version. */
  get(
    tenantId: string,
    state: { enabled: number; fingerprint: string },
    load: () => Promise<StoredRule[]>,
  ): Promise<RuleSet>
}

type Parsed = ReturnType<typeof readRule>

interface Entry {
  fingerprint: string
  set: RuleSet
  parsed: Map<string, Parsed>
  size: number
}

const NO_RULES = ruleSet([])

export function createRuleCache(): RuleCache {
  const entries = new LRUCache<string, Entry>({
    max: MAX_TENANTS,
    maxSize: MAX_SIZE,
    sizeCalculation: ({ size }) => Math.min(Math.max(size, 1), MAX_SIZE),
  })
  return {
    async get(tenantId, { enabled, fingerprint }, load) {
      if (enabled === 0) {
        entries.delete(tenantId)
        return NO_RULES
      }
      const present = entries.get(tenantId)
      if (present?.fingerprint === fingerprint) return present.set
      const parsed = new Map<string, Parsed>()
      const stored = await load()
      let since = performance.now()
      for (const row of stored) {
        parsed.set(keyOf(row), present?.parsed.get(keyOf(row)) ?? readRule(row))
        if (performance.now() - since < AT_ONCE_MS) continue
        await setImmediate()
        since = performance.now()
      }
      const set = ruleSet(stored, (row) => parsed.get(keyOf(row))!)
      const size = stored.reduce((sum, one) => sum + sizeOf(one), 0)
      entries.set(tenantId, { fingerprint, set, parsed, size })
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
