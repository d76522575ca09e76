// One deadline for a whole send or probe, from the DNS look-up to the last byte, even if a client library never settles.
// Code that opens a socket registers it with `onStop`, so that it is closed at the deadline or when the caller aborts.
import { DeliveryError } from '../errors.ts'

/** One send or probe within its deadline. */
export interface Attempt {
  /** Fires at the deadline, with a DeliveryError TIMEOUT as its reason, or with the caller's reason. */
  signal: AbortSignal
  /** Milliseconds until the deadline; at least 1. */
  remainingMs(): number
  /** Sets what the destination has to do next, for the message of a timeout: "did not greet within 30 s". */
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
  /** The first `expect`. */
  expects?: string
}

/**
 * Runs `work` and returns its result. If the deadline passes or `signal` fires first, everything registered with `onStop` is
 * closed and the call ends at once; the result of `work` is then ignored.
 * @throws DeliveryError TIMEOUT at the deadline; `signal.reason` when aborted; else the error of `work`
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
    // It may still fail after the deadline, when nothing awaits it.
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
