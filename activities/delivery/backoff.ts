// How long a failed delivery waits before its next attempt.
import type { Protocol } from '../../db/states.ts'
import { retryDelaysSeconds } from '../destinations/fields.ts'
import { findProtocol } from '../destinations/registry.ts'

export interface Backoff {
  /** Wait after the first failure, in milliseconds; doubled with each further one. */
  first_ms: number
  /** The longest wait, without jitter. */
  max_ms: number
  /** Instead of doubling: the waits after the first failure, the second, and so on. The last one repeats. */
  delays_ms?: readonly number[]
}

export const BACKOFF: Backoff = { first_ms: 1000, max_ms: 600_000 }

/** The delays of the destination's configuration, else those of its protocol, else the common ones. */
export function backoffFor(protocol: Protocol, configuration: Record<string, unknown> = {}): Backoff {
  const retries = findProtocol(protocol)?.retries
  if (!retries) return BACKOFF
  const own = ownDelays.safeParse(configuration.retry_delays_seconds)
  const delays = own.success && own.data ? own.data : retries.delays_seconds
  return { ...BACKOFF, delays_ms: delays.map((seconds) => seconds * 1000) }
}

const ownDelays = retryDelaysSeconds()

/** The longest delay that a destination may ask for (Retry-After): one hour. */
const LONGEST_RETRY_AFTER_MS = 3_600_000
/** Jitter only lengthens a wait, so that it is never shorter than configured or than the destination asked for. */
const JITTER = 0.2
/**
 * A retry that is moved forward happens at least this long before the expiry, so that the attempt has time to finish.
 */
const LAST_ATTEMPT_MS = 30_000
/**
 * A retry is not moved to less than this from now; otherwise there would be more and more retries shortly before the
 * expiry.
 */
const SHORTEST_FIT_MS = 5_000

export interface Failure {
  /** Failures in this round, from 1. */
  failures: number
  /**
   * The delay that the destination asked for. 0 means at once, for example after a rejected access token was dropped.
   */
  retryAfterMs?: number | undefined
  /** Time until the distribution expires. */
  lifeMs?: number | undefined
}

/** Milliseconds to wait after a failure, never less than `retryAfterMs`. */
export function retryDelay(
  { failures, retryAfterMs, lifeMs }: Failure,
  backoff: Backoff = BACKOFF,
  random: () => number = Math.random,
): number {
  if (retryAfterMs === 0) return 0
  const { delays_ms, first_ms, max_ms } = backoff
  const own = delays_ms
    ? delays_ms[Math.min(failures, delays_ms.length) - 1]!
    : Math.min(max_ms, first_ms * 2 ** Math.min(failures - 1, 30))
  const spread = 1 + random() * JITTER
  const wished = Math.min(retryAfterMs ?? 0, LONGEST_RETRY_AFTER_MS)
  const ours = delays_ms && lifeMs !== undefined ? withinLife(own * spread, lifeMs) : own * spread
  return Math.ceil(Math.max(ours, wished * spread))
}

/** Moves a retry that would come after the expiry to shortly before it: delays may be longer than the life. */
function withinLife(delayMs: number, lifeMs: number): number {
  const latest = lifeMs - Math.min(LAST_ATTEMPT_MS, lifeMs / 2)
  return latest < SHORTEST_FIT_MS ? delayMs : Math.min(delayMs, latest)
}
