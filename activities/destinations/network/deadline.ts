// One deadline for a whole send or probe, from the DNS look-up to the last byte, even if a client library never settles.
// Whoever opens a socket registers it with `onStop`, so that it is closed when the time is up or the caller aborts.
import { DeliveryError } from '../errors.ts'

/** One send or probe within its deadline. */
export interface Attempt {
  /** Fires when the time is up, with a DeliveryError TIMEOUT as its reason, or with the caller's reason. */
  signal: AbortSignal
  /** Milliseconds until the time is up; at least 1. */
  remainingMs(): number
  /** Says what the destination has to do now, for the message of a timeout: "did not greet within 30 s". */
  expect(what: string): void
  /**
   * Calls `close` when the signal fires, or at once if it has fired already. `close` must end the socket without waiting.
   * Returns a function that unregisters it.
   */
  onStop(close: () => void): () => void
}

export interface DeadlineOptions {
  timeoutMs: number
  signal: AbortSignal
  /** What the destination has to do first. */
  expects?: string
}

/**
 * Runs `work` and returns its result. If the time is up or `signal` fires first, everything registered with `onStop` is
 * closed and the call ends at once; what `work` does after that is ignored.
 * @throws DeliveryError TIMEOUT when time is up; `signal.reason` when aborted; else what `work` throws
 */
export async function withinDeadline<T>(options: DeadlineOptions, work: (attempt: Attempt) => Promise<T>): Promise<T> {
  const { timeoutMs, signal } = options
  signal.throwIfAborted()
  const until = performance.now() + timeoutMs
  const controller = new AbortController()
  const closers = new Set<() => void>()
  let expected = options.expects ?? 'answer'
  let giveUp: (reason: unknown) => void = () => {}
  const given = new Promise<never>((_, reject) => {
    giveUp = reject
  })
  given.catch(() => {})
  const stop = (reason: unknown) => {
    giveUp(reason)
    controller.abort(reason)
    for (const close of closers) close()
    closers.clear()
  }
  const onAbort = () => stop(signal.reason)
  const timer = setTimeout(
    () => stop(new DeliveryError('TIMEOUT', `the destination did not ${expected} within ${seconds(timeoutMs)} s`)),
    timeoutMs,
  )
  signal.addEventListener('abort', onAbort, { once: true })
  const attempt: Attempt = {
    signal: controller.signal,
    remainingMs: () => Math.max(until - performance.now(), 1),
    expect(what) {
      expected = what
    },
    onStop(close) {
      if (controller.signal.aborted) close()
      else closers.add(close)
      return () => closers.delete(close)
    },
  }
  try {
    const working = work(attempt)
    // It may still fail after the end, when nobody waits for it.
    working.catch(() => {})
    return await Promise.race([working, given])
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', onAbort)
  }
}

function seconds(ms: number): number {
  return Math.ceil(ms / 1000)
}
