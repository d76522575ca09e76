// Whose turn it is under an ordering key. Whoever ends a delivery tells the next one; a word that is lost with its process
// costs time only, for the sweep finds the one whose turn it is.
import { jobId } from '../../db/distributions/job-id.ts'
import { findNext } from '../../db/distributions/ordering.ts'
import { withTenant } from '../../db/pool.ts'
import type { DistributionRef } from '../../workflows/messages.ts'
import type { ActivityDeps } from '../deps.ts'

/** Tells those who are next after something of `ref` has ended, at one destination or at all. Never throws. */
export async function passTurn(
  deps: ActivityDeps,
  { tenant_id, distribution_id }: DistributionRef,
  destination: string | null,
): Promise<void> {
  try {
    const next = await withTenant(
      deps.pool,
      tenant_id,
      (db) => findNext(db, tenant_id, jobId(distribution_id), destination),
      { statementTimeoutMs: 2000 },
    )
    const runs = deps.runs()
    for (const { distribution_id, destinations } of next) {
      await runs?.signalTurn({ tenant_id, distribution_id }, destinations)
    }
  } catch (error) {
    deps.logger.warn({ err: error, tenant_id, distribution_id }, 'the next under an ordering key was not told')
  }
}
