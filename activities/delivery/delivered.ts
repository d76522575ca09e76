// What one call of `deliver` comes to, in words that know nothing of Temporal.

import type { AttemptOutcome } from '../../db/distributions/attempts.ts'
import type { DeliveryCode } from '../../db/states.ts'

/** What became of one call. `ordered`: others may wait for its end. */
export type Delivered =
  /** The row is final, or `finish` will end it. */
  | { kind: 'over'; ordered?: boolean }
  | { kind: 'success'; ordered?: boolean }
  | { kind: 'failed'; code: DeliveryCode; message: string; ordered?: boolean }
  /** Others of its ordering key come first; a signal comes when they have ended. `recheck`: perhaps without one. */
  | { kind: 'held'; recheck: boolean }
  /** Its row was resumed since: another call does the work. */
  | { kind: 'resumed' }
  /** To be called again after `delay_ms`; `deferred` when it cost no attempt. */
  | { kind: 'later'; delay_ms: number; code: DeliveryCode; message: string; deferred: boolean }
  /** Sent, but the row could not be closed in time. */
  | { kind: 'unrecorded'; outcome: AttemptOutcome }
  /** Stopped by an order to cancel, in the middle of the send: `finish` closes the attempt. */
  | { kind: 'aborted' }
