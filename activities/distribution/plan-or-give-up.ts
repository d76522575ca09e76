// `plan` for rows that may be invalid: a distribution that cannot be planned ends as failed, with an operator event,
// instead of being planned again and again.
import type { EndRequest } from '../../db/distributions/end.ts'
import { jobOf } from '../../db/distributions/job-id.ts'
import { isRowAtFault, refusalText } from '../../db/refused.ts'
import type { PlanInput, RowPlan } from '../../workflows/messages.ts'
import type { ActivityDeps } from '../deps.ts'
import type { RuleCache } from '../rules/rule-cache.ts'
import { end } from './end.ts'
import { plan, UnreadableJob } from './plan.ts'

/** An error that looks permanent may still be temporary, so the distribution fails only at this try. */
const MAX_TRIES = 3

/** The plan, or null when there is no such job. `tries` counts the tries of the ordinary activity. */
export async function planOrGiveUp(
  deps: ActivityDeps,
  ref: PlanInput,
  rules: RuleCache,
  tries: number,
): Promise<RowPlan | null> {
  try {
    return await plan(deps.pool, ref, rules)
  } catch (error) {
    const request = givingUp(error, tries)
    if (!request) throw error
    const ended = await end(deps, jobOf(ref), request)
    if (ended.outcome === 'missing') return null
    // It has not expired yet.
    if (ended.outcome === 'open') throw error
    deps.logger.error(
      { ...ref, err: error, error_code: request.code },
      'a distribution could not be planned and failed',
    )
    const { round } = ended
    return { final: true, round, delay_ms: 0, expires_in_ms: 0, cancel_requested: false, deliveries: [] }
  }
}

function givingUp(error: unknown, tries: number): Extract<EndRequest, { cause: 'given_up' }> | null {
  const cause = 'given_up'
  if (error instanceof UnreadableJob) return { cause, code: 'MISCONFIGURED', reason: error.message }
  if (tries < MAX_TRIES) return null
  if (isRowAtFault(error)) {
    return { cause, code: 'UNEXPECTED', reason: `The distribution could not be planned: ${refusalText(error)}` }
  }
  // For any other error the tries end when the distribution expires.
  return { cause, code: 'EXPIRED', reason: 'The distribution expired before it could be planned' }
}
