// What one call of `deliver` comes to, in words that know nothing of Temporal.

import type { AttemptOutcome } from '../../db/distributions/attempts.ts'
import type { DeliveryCode } from '../../db/states.ts'

/** What became of one call. `ordered`: others may wait for its end. */
export type Delivered =
  /** The row is final, or `finish` will end it. */
  | { kind: 'over'; ordered?: boolean }
  | { kind: 'success'; ordered?: boolean }
  | { kind: 'failed'; code: DeliveryCode; message: string; ordered?: boolean }
  /** Others of its ordering key come first; it is told when they have ended. `look`: it may not be, and is to look again. */
  | { kind: 'held'; look: boolean }
  /** Its row was woken since: another call does the work. */
  | { kind: 'overtaken' }
  /** To be called again after `delay_ms`; `deferred` when it cost no attempt. */
  | { kind: 'later'; delay_ms: number; code: DeliveryCode; message: string; deferred: boolean }
  /** Sent, but the row could not be closed in time. */
  | { kind: 'unrecorded'; outcome: AttemptOutcome }
  /** Stopped by an order to cancel, in the middle of the send: `finish` closes the attempt. */
  | { kind: 'aborted' }
