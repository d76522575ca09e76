// How long a failed delivery waits before its next attempt.
import type { Protocol } from '../../db/states.ts'
import { retryDelaysSeconds } from '../destinations/fields.ts'
import { findProtocol } from '../destinations/registry.ts'

export interface Backoff {
  /** Wait after the first failure, in milliseconds; doubled with each further one. */
  first_ms: number
  /** Never longer than this, jitter apart. */
  max_ms: number
  /** In place of doubling: the wait after the first failure, the second …; the last one stays. */
  delays_ms?: readonly number[]
}

export const BACKOFF: Backoff = { first_ms: 1000, max_ms: 600_000 }

/** What the destination's configuration states, else what its protocol's definition does, else the common delays. */
export function backoffFor(protocol: Protocol, configuration: Record<string, unknown> = {}): Backoff {
  const retries = findProtocol(protocol)?.retries
  if (!retries) return BACKOFF
  const own = ownDelays.safeParse(configuration.retry_delays_seconds)
  const delays = own.success && own.data ? own.data : retries.delays_seconds
  return { ...BACKOFF, delays_ms: delays.map((seconds) => seconds * 1000) }
}

const ownDelays = retryDelaysSeconds()

/** A destination's own wish is honoured up to one hour. */
const LONGEST_RETRY_AFTER_MS = 3_600_000
/** Upward only, so that a wait is never shorter than what it stands for. */
const JITTER = 0.2
/** A retry that is brought forward leaves this much of the life for the attempt itself. */
const LAST_ATTEMPT_MS = 30_000
/** A retry is not brought forward to an earlier moment than this: there would be ever more of them towards the end. */
const SHORTEST_FIT_MS = 5_000

export interface Failure {
  /** Of the round, counted from 1. */
  failures: number
  /** The destination's wish; 0 means «at once» (a token that was dropped). */
  retryAfterMs?: number | undefined
  /** What is left of the distribution's life. */
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

/** Delays of minutes may be longer than a life: a retry that would come after its end comes shortly before it. */
function withinLife(delayMs: number, lifeMs: number): number {
  const latest = lifeMs - Math.min(LAST_ATTEMPT_MS, lifeMs / 2)
  return latest < SHORTEST_FIT_MS ? delayMs : Math.min(delayMs, latest)
}
