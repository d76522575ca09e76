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
