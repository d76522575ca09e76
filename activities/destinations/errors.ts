// The error that destinations throw. Its code decides whether the delivery is retried.
import type { DeliveryCode } from '../../db/states.ts'

const RETRYABLE: ReadonlySet<DeliveryCode> = new Set<DeliveryCode>([
  'DESTINATION_UNAVAILABLE',
  'THROTTLED',
  'TIMEOUT',
  'UNEXPECTED',
  'WORKER_LOST',
])

export interface DeliveryErrorOptions {
  /** The original error. It is only logged, without secrets; never stored in a row or in Temporal. */
  cause?: unknown
  /** The time that the destination asks to wait, in milliseconds from now. The next attempt does not start earlier. */
  retryAfterMs?: number | undefined
  /** Overrides the code, for example for an `UNAUTHORIZED` with an OAuth2 token that may have expired. */
  retryable?: boolean | undefined
  /** The part of the destination's answer that arrived before the failure. */
  response?: Response | undefined
  /** The destination is permanently gone (HTTP 410): a registered one is disabled. */
  gone?: boolean | undefined
  /**
   * The destination works and has answered; only this delivery failed (one recipient was deferred). The failure counts neither
   * for its circuit nor for disabling it, whatever the code.
   */
  answered?: boolean | undefined
  /** More facts for the attempt's metadata, as in a receipt. Never a secret. */
  metadata?: Record<string, unknown> | undefined
  /**
   * JSON for the next attempt of this delivery, which gets it as `message.progress`. If absent, the progress of an earlier
   * attempt stays.
   */
  progress?: unknown
}

/** The answer of a destination in the terms of its protocol. The text is already short and can be stored. */
export interface Response {
  /** HTTP status, SMTP reply code and the like; null if the protocol has none. */
  status: number | null
  body: string | null
}

/**
 * A failed send. `message` is stored and shown to the tenant: it is short, and holds no secret and no stack trace.
 * `DESTINATION_UNAVAILABLE`, `THROTTLED`, `TIMEOUT` and `UNEXPECTED` are retried; the other codes are final.
 */
export class DeliveryError extends Error {
  readonly code: DeliveryCode
  readonly retryable: boolean
  readonly retryAfterMs: number | undefined
  readonly response: Response | undefined
  readonly gone: boolean
  readonly answered: boolean
  readonly metadata: Record<string, unknown> | undefined
  readonly progress: unknown

  constructor(code: DeliveryCode, message: string, options: DeliveryErrorOptions = {}) {
    super(message, { cause: options.cause })
    this.name = 'DeliveryError'
    this.code = code
    this.retryable = options.retryable ?? RETRYABLE.has(code)
    this.retryAfterMs = options.retryAfterMs
    this.response = options.response
    this.gone = options.gone ?? false
    this.answered = options.answered ?? false
    this.metadata = options.metadata
    this.progress = options.progress
  }
}
