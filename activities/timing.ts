// How long the parts wait for each other by design: data, so that a test can hand in shorter times than production has.
import { BACKOFF, type Backoff } from './delivery/backoff.ts'

export interface Timing {
  /** Between two heartbeats of a delivery. They begin only after this time, so that a fast send costs no further call. */
  heartbeat_ms: number
  /** A worker without a heartbeat for so long counts as lost, and the delivery is tried again elsewhere. */
  lost_after_ms: number
  /**
   * The lease of a destination's slot or of its one trial ends so long after the destination's own deadline: what opening
   * and closing take, and the time until a lost worker is found.
   */
  lease_margin_ms: number
  /** So long the outcome of a send is tried to be written before it goes into the history instead. */
  close_within_ms: number
  /** Of whatever has no protocol, such as a delivery that is put off. */
  backoff: Backoff
}

/** Those of production. */
export const TIMING: Timing = {
  heartbeat_ms: 1000,
  lost_after_ms: 30_000,
  lease_margin_ms: 30_000,
  close_within_ms: 5000,
  backoff: BACKOFF,
}
