// `plan` for rows that may hold anything: one that nobody can plan ends as failed, with an event, and is not tried for ever.

import { giveUp } from '../../db/distributions/finish.ts'
import { jobId } from '../../db/distributions/job-id.ts'
import { peekRound } from '../../db/distributions/plan.ts'
import { withTenant } from '../../db/pool.ts'
import { isRowAtFault, refusalText } from '../../db/refused.ts'
import type { DeliveryCode } from '../../db/states.ts'
import { countEvent } from '../../db/webhooks/event-windows.ts'
import type { DistributionRef, Plan } from '../../workflows/messages.ts'
import { passTurn } from '../delivery/turns.ts'
import type { ActivityDeps } from '../deps.ts'
import { countEnd } from '../metrics.ts'
import type { RuleCache } from '../rules/rule-cache.ts'
import { plan, UnreadableJob } from './plan.ts'

/** An error that seems to be the row's own may be that of a moment: it counts from this try on. */
const PATIENCE = 3

/** The plan, or null when there is no such job. `tries` counts the tries of the ordinary activity. */
export async function planOrGiveUp(
  deps: ActivityDeps,
  ref: DistributionRef,
  rules: RuleCache,
  tries: number,
): Promise<Plan | null> {
  try {
    return await plan(deps.pool, ref, rules)
  } catch (error) {
    if (error instanceof UnreadableJob) return await endUnplanned(deps, ref, error, 'MISCONFIGURED', error.message)
    if (tries < PATIENCE) throw error
    if (isRowAtFault(error)) {
      const message = `The distribution could not be planned: ${refusalText(error)}`
      return await endUnplanned(deps, ref, error, 'UNEXPECTED', message)
    }
    // Whatever it is, it does not outlive the distribution.
    const message = 'The distribution expired before it could be planned'
    return (await endUnplanned(deps, ref, error, 'EXPIRED', message)) ?? Promise.reject(error)
  }
}

/** Ends the job as failed, with `EXPIRED` only if it has expired; null when it has not, or is not there. */
async function endUnplanned(
  deps: ActivityDeps,
  ref: DistributionRef,
  cause: unknown,
  code: Extract<DeliveryCode, 'MISCONFIGURED' | 'UNEXPECTED' | 'EXPIRED'>,
  reason: string,
): Promise<Plan | null> {
  const { tenant_id, distribution_id } = ref
  const id = jobId(distribution_id)
  const ended = await withTenant(deps.pool, tenant_id, async (db) => {
    const job = await peekRound(db, id)
    if (!job || (code === 'EXPIRED' && !job.expired)) return null
    const finished = await giveUp(db, id, job.round, reason, code)
    if (finished.outcome === 'final' && finished.ended) {
      await countEvent(db, tenant_id, 'distributions.failed', code, { distribution_id, reason })
    }
    return { round: job.round, finished }
  })
  if (!ended) return null
  const { round, finished } = ended
  countEnd(deps.metrics, tenant_id, finished)
  deps.logger.error(
    { err: cause, tenant_id, distribution_id, error_code: code },
    'a distribution was given up unplanned',
  )
  if (finished.outcome === 'final' && finished.ordered) await passTurn(deps, ref, null)
  return { final: true, round, delay_ms: 0, expires_in_ms: 0, cancel_requested: false, deliveries: [] }
}
