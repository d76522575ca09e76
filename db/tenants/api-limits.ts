// Counts requests to the API over all of its processes, in one statement. A definer function, because it runs outside a
// transaction of the tenant.
import type { Db } from '../pool.ts'

/**
 * Counts so many requests of a tenant's key: 0 if they are allowed, otherwise the milliseconds to wait, and nothing is
 * counted. Null if neither the tenant nor the key has a limit.
 */
export async function takeApiRequests(db: Db, tenantId: string, key: string, requests: number): Promise<number | null> {
  const { rows } = await db.query<{ wait: number | null }>('select take_api_requests($1, $2, $3) as wait', [
    tenantId,
    key,
    requests,
  ])
  return rows[0]!.wait
}
