// `destinations.usage_count` and `last_used`, collected per worker and written at intervals. If every attempt wrote
// them, all attempts to a busy destination would wait for the lock of its row.

import { addUsage } from '../db/destinations/usage.ts'
import { type Pool, withTenant } from '../db/pool.ts'

export interface Usage {
  count(tenantId: string, destinationId: string): void
  /** Writes the counts since the last call; counts that cannot be written are kept for the next call. */
  flush(): Promise<void>
}

export function createUsage(pool: Pool): Usage {
  let counted = new Map<string, Map<string, number>>()
  const add = (tenantId: string, destinationId: string, by: number) => {
    const ofTenant = counted.get(tenantId) ?? new Map<string, number>()
    counted.set(tenantId, ofTenant.set(destinationId, (ofTenant.get(destinationId) ?? 0) + by))
  }
  return {
    count: (tenantId, destinationId) => add(tenantId, destinationId, 1),
    async flush() {
      const taken = counted
      counted = new Map()
      for (const [tenantId, counts] of taken) {
        try {
          await withTenant(pool, tenantId, (db) => addUsage(db, counts), { planOnce: true })
        } catch {
          for (const [destinationId, by] of counts) add(tenantId, destinationId, by)
        }
      }
    },
  }
}
