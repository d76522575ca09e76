// Intervals and timeouts of the activities. They are passed as data, so that tests can use shorter ones.
import { BACKOFF, type Backoff } from './delivery/backoff.ts'

export interface Timing {
  /** Time between two heartbeats of a delivery. The first one comes after this time, so a fast send needs none. */
  heartbeat_ms: number
  /** A worker without a heartbeat for this time counts as lost, and another worker retries the delivery. */
  lost_after_ms: number
  /**
   * The lease of a destination's slot or probe ends this long after the destination's own deadline. It covers opening and
   * closing the attempt, and the time until a lost worker is found.
   */
  lease_margin_ms: number
  /** How long to try to write the outcome of a send, before it is returned to the workflow's history instead. */
  close_within_ms: number
  /** For delays without a protocol, such as those of a deferred delivery. */
  backoff: Backoff
}

/** The times in production. */
export const TIMING: Timing = {
  heartbeat_ms: 1000,
  lost_after_ms: 30_000,
  lease_margin_ms: 30_000,
  close_within_ms: 5000,
  backoff: BACKOFF,
}
