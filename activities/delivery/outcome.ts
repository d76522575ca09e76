// What a send came to, in the words of its row: pure.

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

/** The send was stopped from outside; what the receiver got is unknown. */
export class Aborted extends Error {}

export interface EndedAttempt {
  attempt: { id: string; attempt_number: number }
  /** A failure of this attempt may be tried again. */
  retriesLeft: boolean
  /** Counts from 1 within the round; the back-off's exponent. */
  failures: number
  /** What is left of the distribution's life. */
  lifeMs?: number
  /** It holds one of the destination's slots. */
  slotted?: boolean
}

/** Fit for its row, whatever a destination put into it: a row that is refused could never be closed. */
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
  // What was lost with a process may be tried once more than the budget says; the next opening decides.
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
    return new DeliveryError('MISCONFIGURED', 'A credential of the destination can not be read', { cause: error })
  }
  return new DeliveryError('UNEXPECTED', 'An unexpected error; the log has it under the attempt id', { cause: error })
}

/** A failure is the tenant's or the destination's problem (info) unless the cause is on this side. */
export function logLevelOf(sent: Receipt | Error): 'info' | 'warn' | 'error' {
  if (!(sent instanceof Error)) return 'info'
  if (sent instanceof Aborted) return 'warn'
  if (!(sent instanceof DeliveryError)) return 'error'
  return sent.code === 'UNEXPECTED' || sent.code === 'WORKER_LOST' ? 'warn' : 'info'
}

/** For the log alone. */
export function causeOf(sent: Receipt | Error): unknown {
  if (!(sent instanceof Error)) return undefined
  return sent instanceof DeliveryError ? sent.cause : sent
}
