// Whose destination has recovered need not wait until they would have asked again: they are woken, a few at first and then
// more, so that what has just come back is not met by all of them at once.
import { withTenant } from '../db/pool.ts'
import { anyWaits, readiness, wakeDeliveries } from '../db/wake.ts'
import type { WakeRef, WakeStep } from '../workflows/messages.ts'
import type { ActivityDeps } from './deps.ts'

/** One step comes a second after the one before. */
const FIRST_PAGE = 10
const LARGEST_PAGE = 50
/** While a circuit is half open one may try; another one, should that one have ended meanwhile. */
const HALF_OPEN_PAGE = 2

/** Begins to wake those that wait for this target, where there are any. Never throws: they would come by themselves. */
export async function wakeWaiting(deps: ActivityDeps, ref: WakeRef & { target: string }): Promise<void> {
  const { tenant_id, target } = ref
  try {
    if (await withTenant(deps.pool, tenant_id, (db) => anyWaits(db, tenant_id, target))) await deps.runs()?.wake(ref)
  } catch (error) {
    deps.logger.warn({ err: error, ...ref }, 'those that wait for a destination were not woken')
  }
}

export async function wakeStep(deps: ActivityDeps, ref: WakeRef, step: number): Promise<WakeStep> {
  const { tenant_id, target } = ref
  const { state, woken } = await withTenant(deps.pool, tenant_id, async (db) => {
    const state = await readiness(db, tenant_id, target)
    const page = state === 'half_open' ? HALF_OPEN_PAGE : Math.min(LARGEST_PAGE, FIRST_PAGE * 2 ** Math.min(step, 10))
    return { state, woken: state === 'away' ? [] : await wakeDeliveries(db, ref, page) }
  })
  const runs = deps.runs()
  await Promise.all(woken.map((distribution_id) => runs?.signalLook({ tenant_id, distribution_id })))
  return { more: state === 'ready' && woken.length > 0 }
}
