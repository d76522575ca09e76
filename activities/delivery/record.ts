// `record`: closes an attempt with its outcome and updates its delivery. Idempotent.
import { setTimeout as sleep } from 'node:timers/promises'
import { disableGone } from '../../db/destinations/auto-disable.ts'
import { giveBackSlot } from '../../db/destinations/slots.ts'
import type { AttemptOutcome } from '../../db/distributions/attempts.ts'
import { acceptLateSuccess, closeAttempt, keepLateProgress } from '../../db/distributions/attempts.ts'
import { jobId } from '../../db/distributions/job-id.ts'
import { withTenant } from '../../db/pool.ts'
import type { DeliverInput } from '../../workflows/messages.ts'
import type { ActivityDeps } from '../deps.ts'
import { resumeWaiting } from '../distribution/resume.ts'
import { type CircuitChange, noteOutcome } from './circuit.ts'

/**
 * Writes an outcome and retries for `close_within_ms`. False when the database did not store it in that time, also when
 * the database does not answer at all. A try that has not ended by then is not aborted.
 */
export async function recordFor(deps: ActivityDeps, input: DeliverInput, outcome: AttemptOutcome): Promise<boolean> {
  const waiting = new AbortController()
  const late = sleep(deps.timing.close_within_ms, false, { signal: waiting.signal }).catch(() => false)
  try {
    return await Promise.race([
      recordUntil(performance.now() + deps.timing.close_within_ms, deps, input, outcome),
      late,
    ])
  } finally {
    waiting.abort()
  }
}

async function recordUntil(
  deadline: number,
  deps: ActivityDeps,
  input: DeliverInput,
  outcome: AttemptOutcome,
): Promise<boolean> {
  for (;;) {
    try {
      await record(deps, input, outcome)
      return true
    } catch (error) {
      deps.logger.warn({ err: error, attempt_id: outcome.attempt_id }, 'closing the attempt failed')
      if (performance.now() >= deadline) return false
      await sleep(Math.min(500, deps.timing.close_within_ms))
    }
  }
}

/** Closes the attempt and updates its delivery; idempotent. Returns whether the delivery is final. */
export async function record(deps: ActivityDeps, input: DeliverInput, outcome: AttemptOutcome): Promise<boolean> {
  const id = jobId(input.distribution_id)
  const { changes, target } = await withTenant(
    deps.pool,
    input.tenant_id,
    async (db) => {
      const closed = await closeAttempt(db, id, input.destination, outcome)
      if (!closed && outcome.status === 'success') await acceptLateSuccess(db, id, input.destination, outcome)
      if (!closed && outcome.progress !== undefined) await keepLateProgress(db, id, input.destination, outcome)
      // Rows that many attempts share come last, so that their locks are short.
      const changes = closed ? await noteOutcome(db, closed, outcome) : []
      if (closed && outcome.slotted) await giveBackSlot(db, closed.tenant_id, closed.target, closed.delivery_id)
      if (outcome.gone && (await disableGone(db, id, input.destination))) changes.push('disabled')
      return { changes, target: closed?.target }
    },
    { statementTimeoutMs: 2000, planOnce: true },
  )
  for (const change of changes) reportChange(deps, input, outcome, change, target)
  // Not awaited: the outcome is already stored.
  if (target && changes.includes('closed')) void resumeWaiting(deps, { tenant_id: input.tenant_id, target })
  return outcome.status !== 'retry'
}

/** After the commit, so that each change is counted and logged once. */
function reportChange(
  deps: ActivityDeps,
  { tenant_id, distribution_id, destination }: DeliverInput,
  { code, response_status, gone }: AttemptOutcome,
  change: CircuitChange,
  target: string | undefined,
): void {
  deps.metrics.circuits.inc({ change })
  const facts = { tenant_id, distribution_id, destination, target }
  if (change === 'closed') deps.logger.info(facts, 'circuit closed')
  else {
    const disabled = gone ? 'destination disabled: it answered 410 Gone' : 'destination disabled by its failures'
    deps.logger.warn({ ...facts, code, response_status }, change === 'opened' ? 'circuit opened' : disabled)
  }
}
