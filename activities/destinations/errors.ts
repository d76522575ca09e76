// The one error that a destination throws. Its code decides whether the delivery is tried again.
import type { DeliveryCode } from '../../db/states.ts'

const RETRYABLE: ReadonlySet<DeliveryCode> = new Set<DeliveryCode>([
  'DESTINATION_UNAVAILABLE',
  'THROTTLED',
  'TIMEOUT',
  'UNEXPECTED',
  'WORKER_LOST',
])

export interface DeliveryErrorOptions {
  /** What really happened; goes to the redacted log alone, never to a row or to Temporal. */
  cause?: unknown
  /** The destination's own wish, in milliseconds from now; the next attempt never starts earlier. */
  retryAfterMs?: number | undefined
  /** Overrules what the code says (OAuth2: an `UNAUTHORIZED` with a token that may simply have been old). */
  retryable?: boolean | undefined
  /** What the destination had answered by then. */
  response?: Response | undefined
  /** The destination is gone for good (HTTP 410): a registered one is disabled. */
  gone?: boolean | undefined
  /**
   * The destination is well and has answered; the failure is this delivery's own (one recipient was put off), whatever its
   * code says. Neither its circuit nor its being disabled goes by it.
   */
  answered?: boolean | undefined
  /** Further facts worth keeping in the attempt's metadata, as a receipt has them; never a secret. */
  metadata?: Record<string, unknown> | undefined
  /**
   * What the next attempt of this delivery must know: it comes back as `message.progress`. As JSON has it. Left out,
   * whatever an earlier attempt left stays.
   */
  progress?: unknown
}

/** What a destination answered, in the words of its protocol. Text is already capped, and made storable by the caller. */
export interface Response {
  /** HTTP status, SMTP reply code …; null where the protocol has none. */
  status: number | null
  body: string | null
}

/**
 * A failed send. `message` is shown to the tenant and stored: short, safe, no secret, no foreign stack.
 * Final: `REJECTED`, `UNAUTHORIZED`, `MISCONFIGURED`, `EGRESS_DENIED` …; tried again: `DESTINATION_UNAVAILABLE`,
 * `THROTTLED`, `TIMEOUT`, `UNEXPECTED`.
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
