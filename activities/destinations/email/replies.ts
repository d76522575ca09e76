// What a reply code means (RFC 5321, 4.2; RFC 4954, 6). By the code alone, never by its text.
import { DeliveryError, type Response } from '../errors.ts'
import type { Reply } from './session.ts'

/** Authentication required, too weak, failed, or to be encrypted. */
const UNAUTHORIZED = new Set([530, 534, 535, 538])
/** The service closes or is overloaded, or has no room: as a rule, too much at once. */
const THROTTLED = new Set([421, 452])

export function isTaken(code: number): boolean {
  return code >= 200 && code < 300
}

/** Will be the same the next time. */
export function isRefused(code: number): boolean {
  return code >= 500
}

/** RFC 3463, 2: stands first in the text of a reply. */
const ENHANCED = /^[245]\.\d{1,3}\.\d{1,3}(?!\S)/
/** RFC 3463, 3.6: too many recipients for one transaction. */
const TOO_MANY = /^[45]\.5\.3(?!\S)/
/** RFC 5321, 4.5.3.1.10: 452 when there are too many recipients, and 552 from older servers, which is as temporary. */
const MAYBE_TOO_MANY = new Set([452, 552])

/** The reply says, by its enhanced code, that a transaction has too many recipients. */
export function saysTooMany(reply: Reply): boolean {
  return reply.code >= 400 && TOO_MANY.test(reply.lines[0] ?? '')
}

/**
 * To be asked for a recipient behind an accepted one. Without an enhanced code the same reply may be about the recipient's
 * own mailbox: the next transaction, which begins with that recipient, shows which.
 */
export function mayMeanTooMany(reply: Reply): boolean {
  return saysTooMany(reply) || (MAYBE_TOO_MANY.has(reply.code) && !ENHANCED.test(reply.lines[0] ?? ''))
}

export function codeFor(code: number) {
  if (UNAUTHORIZED.has(code)) return 'UNAUTHORIZED'
  if (isRefused(code)) return 'REJECTED'
  return THROTTLED.has(code) ? 'THROTTLED' : 'DESTINATION_UNAVAILABLE'
}

export function responseOf(reply: Reply): Response {
  return { status: reply.code, body: reply.text }
}

/** @param to what was answered, such as "EHLO" */
export function replyFailure(reply: Reply, to: string): DeliveryError {
  return new DeliveryError(codeFor(reply.code), `the server answered ${reply.code} to ${to}`, {
    response: responseOf(reply),
  })
}
