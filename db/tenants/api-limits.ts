// Requests to the API, counted over all of its processes by one statement; a definer function, for it is asked before there
// is a transaction of the tenant's.
import type { Db } from '../pool.ts'

/**
 * Takes so many requests of a tenant's key at once: 0 when they may go, else the milliseconds to wait, and nothing was
 * taken. Null when neither the tenant nor the key has a limit.
 */
export async function takeApiRequests(db: Db, tenantId: string, key: string, requests: number): Promise<number | null> {
  const { rows } = await db.query<{ wait: number | null }>('select take_api_requests($1, $2, $3) as wait', [
    tenantId,
    key,
    requests,
  ])
  return rows[0]!.wait
}
