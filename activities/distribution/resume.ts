// When a destination has recovered, the deliveries that wait for it are resumed before their delays are over: a few at
// first and then more, so that the destination does not get all of them at once.
import { refOf } from '../../db/distributions/job-id.ts'
import type { ResumeRef } from '../../db/distributions/resume.ts'
import { anyWaits, type ResumeProgress, resumeDeliveries, resumeProgress } from '../../db/distributions/resume.ts'
import { LIMITS } from '../../db/limits.ts'
import { withTenant } from '../../db/pool.ts'
import type { ResumeStep } from '../../workflows/messages.ts'
import type { ActivityDeps } from '../deps.ts'

/** Deliveries that the first step resumes; a step follows a second after the one before. */
const FIRST_WINDOW = 10
const LARGEST_WINDOW = LIMITS.resumeWindow.value
/** Runs that are signalled at once. */
const AT_ONCE = 50
/** While a circuit is half open, one delivery may probe. The second one does it if the first has already ended. */
const HALF_OPEN_PAGE = 2

/**
 * Begins to resume the deliveries that wait for this target, if any. Never throws, because they also retry by themselves.
 */
export async function resumeWaiting(deps: ActivityDeps, ref: ResumeRef & { target: string }): Promise<void> {
  const { tenant_id, target } = ref
  try {
    if (await withTenant(deps.pool, tenant_id, (db) => anyWaits(db, tenant_id, target), { planOnce: true }))
      await deps.runs()?.resume(ref)
  } catch (error) {
    deps.logger.warn({ err: error, ...ref }, 'the deliveries that wait for a destination were not resumed')
  }
}

/**
 * Resumes as many deliveries as the window allows; deliveries that were resumed before and have not started count too.
 * The window doubles while deliveries start and succeed, and halves when the destination fails or its limits defer
 * them.
 */
export async function resumeStep(
  deps: ActivityDeps,
  ref: ResumeRef,
  step: number,
  before: number = FIRST_WINDOW,
): Promise<ResumeStep> {
  const { tenant_id, target } = ref
  const done = await withTenant(
    deps.pool,
    tenant_id,
    async (db) => {
      const progress = await resumeProgress(db, tenant_id, target)
      const { readiness, untaken } = progress
      const window = step === 0 ? before : nextWindow(before, progress)
      const page = readiness === 'half_open' ? HALF_OPEN_PAGE : window - untaken
      const resumed = readiness === 'away' || page <= 0 ? [] : await resumeDeliveries(db, ref, page)
      return { readiness, window, resumed, waits: page <= 0 }
    },
    { planOnce: true },
  )
  const runs = deps.runs()
  for (let from = 0; from < done.resumed.length; from += AT_ONCE) {
    const some = done.resumed.slice(from, from + AT_ONCE)
    await Promise.all(some.map((id) => runs?.signalReread(refOf({ tenant_id, id }))))
  }
  return { more: done.readiness === 'ready' && (done.resumed.length > 0 || done.waits), window: done.window }
}

export function nextWindow(window: number, { failing, untaken, put_off }: ResumeProgress): number {
  if (failing || put_off > 0) return Math.max(FIRST_WINDOW, Math.floor(window / 2))
  return untaken <= window / 4 ? Math.min(LARGEST_WINDOW, window * 2) : window
}
