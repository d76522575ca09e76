// One deadline for a whole send or probe, from the first look-up to the last byte, also where a client library never
// settles. What holds sockets says so, and is closed the moment that time is up or the caller gives up.
import { DeliveryError } from '../errors.ts'

/** One try within its deadline. */
export interface Attempt {
  /** Fires when time is up, with a DeliveryError TIMEOUT as its reason, or with the caller's own reason. */
  signal: AbortSignal
  /** Milliseconds until time is up; at least 1. */
  remainingMs(): number
  /** What the destination is now expected to do, as in "did not greet within 30 s"; stands in the error's message. */
  expect(what: string): void
  /**
   * Calls `close` at once when the signal fires, or has fired: it must end the socket without waiting for anybody.
   * The answer takes it back.
   */
  onStop(close: () => void): () => void
}

export interface DeadlineOptions {
  timeoutMs: number
  signal: AbortSignal
  /** What is expected at first. */
  expects?: string
}

/**
 * Runs `work` and returns what it returns. When time is up or `signal` fires first, whatever was registered with
 * `onStop` is closed and the call ends at once; how `work` ends after that is nobody's business any more.
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
    // Its failure after the end would otherwise be nobody's.
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
