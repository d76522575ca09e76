// Interprets reply codes (RFC 5321, 4.2; RFC 4954, 6). Only the codes decide, never the text.
import { DeliveryError, type Response } from '../errors.ts'
import type { Reply } from './session.ts'

/** Authentication is required, too weak, failed, or needs encryption. */
const UNAUTHORIZED = new Set([530, 534, 535, 538])
/** The service closes the connection, is overloaded or lacks storage: usually too many mails at once. */
const THROTTLED = new Set([421, 452])

export function isPositive(code: number): boolean {
  return code >= 200 && code < 300
}

/** Permanent: another attempt would get the same reply. */
export function isRefused(code: number): boolean {
  return code >= 500
}

/** The enhanced code of RFC 3463, 2, at the beginning of a reply's text. */
const ENHANCED = /^[245]\.\d{1,3}\.\d{1,3}(?!\S)/
/** RFC 3463, 3.6: too many recipients for one transaction. */
const TOO_MANY = /^[45]\.5\.3(?!\S)/
/** RFC 5321, 4.5.3.1.10: 452 for too many recipients; older servers send 552, which is temporary too. */
const MAYBE_TOO_MANY = new Set([452, 552])

/** Whether the enhanced code means that a transaction has too many recipients. */
export function saysTooMany(reply: Reply): boolean {
  return reply.code >= 400 && TOO_MANY.test(reply.lines[0] ?? '')
}

/**
 * For a recipient after an accepted one. Without an enhanced code, the reply may concern this recipient's mailbox instead.
 * The next transaction begins with this recipient, and its reply shows the reason.
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

/** @param to the command, such as "EHLO" */
export function replyFailure(reply: Reply, to: string): DeliveryError {
  return new DeliveryError(codeFor(reply.code), `the server answered ${reply.code} to ${to}`, {
    response: responseOf(reply),
  })
}
