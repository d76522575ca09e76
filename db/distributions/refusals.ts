// Why a cancel or a retry cannot be applied, in words for the person who asked, by API or in Temporal.
import type { RetryOutcome, requestCancel } from './commands.ts'

export const NOT_FOUND = 'there is no such distribution'

/** Null when the cancel was accepted, now or earlier. */
export function cancelRefusal(asked: Awaited<ReturnType<typeof requestCancel>>): string | null {
  if (asked.outcome === 'requested') return null
  if (asked.outcome === 'missing') return NOT_FOUND
  // The answer to an earlier cancel may have been lost, so a repeat is accepted.
  if (asked.asked && asked.status === 'cancelled') return null
  const late = asked.asked ? ': the request to cancel it came too late' : ''
  return `the distribution is already ${asked.status}${late}`
}

/** Null when the retry was accepted. */
export function retryRefusal(outcome: RetryOutcome): string | null {
  if (outcome.outcome === 'reset') return null
  if (outcome.outcome === 'missing') return NOT_FOUND
  if (outcome.outcome === 'cancelling') return 'the distribution is being cancelled'
  const { status, unknown, needs_force } = outcome
  if (unknown.length > 0) return `not a destination of this distribution: ${unknown.join(', ')}`
  const hint = needs_force
    ? 'no destination was chosen; use "force": true to evaluate the rules again'
    : 'none of the requested deliveries failed, was skipped or was cancelled'
  return `nothing to retry: the distribution is ${status}, and ${hint}`
}
