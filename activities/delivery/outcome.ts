// Converts the result of a send into the outcome that the attempt's row stores. Pure.

import { nowDate } from '../../db/clock.ts'
import type { AttemptOutcome } from '../../db/distributions/attempts.ts'
import { UnsealError } from '../../db/secrets.ts'
import type { Receipt } from '../destinations/destination.ts'
import { DeliveryError } from '../destinations/errors.ts'
import { storable, storableJson } from '../destinations/storable.ts'
import { type Backoff, retryDelay } from './backoff.ts'

export const WORKER_LOST = {
  code: 'WORKER_LOST' as const,
  message: 'The worker stopped before the outcome was known',
}

/** The send was aborted from outside; it is unknown what the receiver got. */
export class Aborted extends Error {}

export interface EndedAttempt {
  attempt: { id: string; attempt_number: number }
  /** Whether the delivery may be retried if this attempt fails. */
  retriesLeft: boolean
  /** Counts from 1 within the round; determines the back-off. */
  failures: number
  /** Time until the distribution expires. */
  lifeMs?: number
  /** The attempt holds one of the destination's slots. */
  slotted?: boolean
}

/**
 * The outcome in a form that PostgreSQL accepts. A destination may answer any bytes, and then the row could not be closed.
 */
export function outcomeOf(opened: EndedAttempt, sent: Receipt | Error, backoff: Backoff): AttemptOutcome {
  const outcome = rawOutcome(opened, sent, backoff)
  return {
    ...outcome,
    message: outcome.message === null ? null : storable(outcome.message),
    response_body: outcome.response_body === null ? null : storable(outcome.response_body),
    metadata: storableJson(outcome.metadata),
    ...(outcome.progress !== undefined && { progress: storableJson(outcome.progress) }),
  }
}

function rawOutcome(opened: EndedAttempt, sent: Receipt | Error, backoff: Backoff): AttemptOutcome {
  const base = {
    attempt_id: opened.attempt.id,
    attempt_number: opened.attempt.attempt_number,
    completed_at: nowDate().toISOString(),
    gone: false,
    metadata: {},
    ...(opened.slotted ? { slotted: true } : {}),
  }
  if (!(sent instanceof Error)) {
    return {
      ...base,
      status: 'success',
      code: null,
      message: null,
      response_status: sent.status,
      response_body: sent.body,
      retry_delay_ms: null,
      metadata: sent.metadata ?? {},
    }
  }
  if (sent instanceof Aborted) {
    return {
      ...base,
      status: 'retry',
      ...WORKER_LOST,
      response_status: null,
      response_body: null,
      retry_delay_ms: backoff.first_ms,
      metadata: { outcome: 'unknown' },
    }
  }
  const failure = asDeliveryError(sent)
  const { failures, lifeMs } = opened
  // An attempt that was lost with a process may be retried once beyond the budget; the next opening decides.
  const again = failure.retryable && (opened.retriesLeft || failure.code === 'WORKER_LOST')
  return {
    ...base,
    status: again ? 'retry' : 'failed',
    code: failure.code,
    message: failure.message,
    response_status: failure.response?.status ?? null,
    response_body: failure.response?.body ?? null,
    retry_delay_ms: again ? retryDelay({ failures, lifeMs, retryAfterMs: failure.retryAfterMs }, backoff) : null,
    gone: failure.gone,
    ...(failure.answered && { answered: true }),
    metadata: failure.metadata ?? {},
    ...(failure.progress !== undefined && { progress: failure.progress }),
  }
}

function asDeliveryError(error: Error): DeliveryError {
  if (error instanceof DeliveryError) return error
  if (error instanceof UnsealError) {
    return new DeliveryError('MISCONFIGURED', 'A credential of the destination cannot be decrypted', { cause: error })
  }
  return new DeliveryError('UNEXPECTED', 'An unexpected error; see the log entries with this attempt id', {
    cause: error,
  })
}

/** `info` when the tenant or the destination caused the failure; higher when the cause is in this system. */
export function logLevelOf(sent: Receipt | Error): 'info' | 'warn' | 'error' {
  if (!(sent instanceof Error)) return 'info'
  if (sent instanceof Aborted) return 'warn'
  if (!(sent instanceof DeliveryError)) return 'error'
  return sent.code === 'UNEXPECTED' || sent.code === 'WORKER_LOST' ? 'warn' : 'info'
}

/** The cause of a failure: for the log, never for the tenant. */
export function causeOf(sent: Receipt | Error): unknown {
  if (!(sent instanceof Error)) return undefined
  return sent instanceof DeliveryError ? sent.cause : sent
}
