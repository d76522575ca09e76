// Reads the Retry-After of an HTTP receiver.
import { now } from '../../../db/clock.ts'

/** No destination can ask for a longer wait. */
export const MAX_RETRY_AFTER_MS = 3_600_000

/**
 * Both forms of Retry-After (RFC 9110, 10.2.3), in milliseconds from now. A date is compared with our clock and with the
 * response's Date, and the longer wait counts, so that a receiver with a wrong clock gets no request too early.
 */
export function retryAfterMs(
  headers: Record<string, string | string[] | undefined>,
  at: number = now(),
): number | undefined {
  const value = single(headers['retry-after'])?.trim()
  if (value === undefined) return undefined
  if (/^\d{1,10}$/.test(value)) return Math.min(Number(value) * 1000, MAX_RETRY_AFTER_MS)
  // Only HTTP dates: Date.parse alone would accept "-5" and "1.5".
  if (!/^[A-Z][a-z]{2,8},? /.test(value)) return undefined
  const until = Date.parse(value)
  if (Number.isNaN(until)) return undefined
  const theirs = Date.parse(single(headers.date) ?? '')
  const delay = Math.max(until - at, Number.isNaN(theirs) ? 0 : until - theirs, 0)
  return Math.min(delay, MAX_RETRY_AFTER_MS)
}

function single(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value
}
