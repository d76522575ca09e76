// The order of distributions with the same ordering key. The end of a delivery signals the next distribution. A lost
// signal costs only time: the sweep finds the delivery whose turn it is.
import { type JobRef, refOf } from '../../db/distributions/job-id.ts'
import { findNext } from '../../db/distributions/ordering.ts'
import { withTenant } from '../../db/pool.ts'
import type { ActivityDeps } from '../deps.ts'

/** Signals the distributions that are next after `job` has ended at one destination, or (null) at all. Never throws. */
export async function passTurn(deps: ActivityDeps, job: JobRef, destination: string | null): Promise<void> {
  const { tenant_id, id } = job
  try {
    const next = await withTenant(deps.pool, tenant_id, (db) => findNext(db, tenant_id, id, destination), {
      statementTimeoutMs: 2000,
      planOnce: true,
    })
    const runs = deps.runs()
    for (const turn of next) {
      await runs?.signalTurn(refOf({ tenant_id, id: turn.id }), turn.destinations)
    }
  } catch (error) {
    deps.logger.warn({ err: error, ...refOf(job) }, 'the next distribution of an ordering key was not signalled')
  }
}
