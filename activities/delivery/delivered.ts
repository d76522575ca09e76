// The result of one call of `deliver`, without types of Temporal.

import type { AttemptOutcome } from '../../db/distributions/attempts.ts'
import type { DeliveryCode } from '../../db/states.ts'

/** `ordered`: other distributions with the same ordering key may wait for its end. */
export type Delivered =
  /** The row is final, or `finish` will end it. */
  | { kind: 'over'; ordered?: boolean }
  | { kind: 'success'; ordered?: boolean }
  | { kind: 'failed'; code: DeliveryCode; message: string; ordered?: boolean }
  /**
   * An earlier distribution of the ordering key comes first, and signals when it has ended. `recheck`: that signal may
   * never come, so check again.
   */
  | { kind: 'held'; recheck: boolean }
  /** The row was resumed after this call was scheduled: another call delivers it. */
  | { kind: 'resumed' }
  /** Call again after `delay_ms`. `deferred`: this call used no attempt. */
  | { kind: 'later'; delay_ms: number; code: DeliveryCode; message: string; deferred: boolean }
  /** Sent, but the row could not be closed in time. */
  | { kind: 'unrecorded'; outcome: AttemptOutcome }
  /** A cancel aborted the send: `finish` closes the attempt. */
  | { kind: 'aborted' }
