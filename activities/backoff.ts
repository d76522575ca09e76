// How long a failed delivery waits before its next attempt.

export interface Backoff {
  /** Wait after the first failure, in milliseconds; doubled with each further one. */
  first_ms: number
  /** Never longer than this, jitter apart. */
  max_ms: number
}

export const BACKOFF: Backoff = { first_ms: 1000, max_ms: 600_000 }

/** A destination's own wish is honoured up to one hour. */
const LONGEST_RETRY_AFTER_MS = 3_600_000
/** Upward only, so that a wait is never shorter than what it stands for. */
const JITTER = 0.2

/**
 * Milliseconds to wait after the `failures`-th failure of a round (1, 2, 4 … s), never less than `retryAfterMs`.
 * A wish of 0 means «at once» (a token that was dropped).
 */
export function retryDelay(
  failures: number,
  retryAfterMs: number | undefined,
  backoff: Backoff = BACKOFF,
  random: () => number = Math.random,
): number {
  if (retryAfterMs === 0) return 0
  const own = Math.min(backoff.max_ms, backoff.first_ms * 2 ** Math.min(failures - 1, 30))
  const wished = Math.min(retryAfterMs ?? 0, LONGEST_RETRY_AFTER_MS)
  return Math.ceil(Math.max(own, wished) * (1 + random() * JITTER))
}
