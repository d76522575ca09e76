// One request on the wire and its answer, within one deadline. Never sends twice, never follows a redirect.

import { DeliveryError } from '../errors.ts'
import { withinDeadline } from '../network/deadline.ts'
import type { Egress } from '../network/egress.ts'
import type { TlsMaterial } from '../network/tls.ts'
import { Answer, READ_CAP } from './answer.ts'
import { acquireConnection } from './connections.ts'
import { httpFailure } from './failure.ts'

/** Silence within a body ends the attempt, however much time is left. */
const IDLE_BODY_MS = 30_000

export interface WireRequest {
  tenant_id: string
  url: URL
  method: string
  /** Lower-case names; values as HTTP carries them (latin1). */
  headers: Record<string, string>
  body: Buffer | null
  tls?: TlsMaterial
  /** From now to the last byte, the resolution of the name included. */
  timeoutMs: number
  /** How much of the answer's body is kept as text. */
  maxResponseBytes: number
}

export interface WireAnswer {
  status: number
  headers: Record<string, string | string[] | undefined>
  /** Storable text, at most `maxResponseBytes` of it. */
  body: string | null
  /** Why the body can not be read although it came whole: a matter of its content coding. The status counts. */
  unreadable: string | undefined
  /** What went wrong on the connection after the status was known: stalled, cut off. A 2xx with one is no success. */
  failure: DeliveryError | undefined
}

/**
 * Sends once and reads the answer, whatever its status. Aborting closes the socket at once.
 * @throws DeliveryError when no status came; `signal.reason` when aborted; anything else is a bug
 */
export async function exchange(request: WireRequest, signal: AbortSignal, egress: Egress): Promise<WireAnswer> {
  signal.throwIfAborted()
  const { tenant_id, url, tls = {}, timeoutMs } = request
  const answer = new Answer()
  const connection = acquireConnection(egress, { tenant_id, origin: url.origin, tls })
  let failure: DeliveryError | undefined
  try {
    await withinDeadline({ timeoutMs, signal, expects: 'finish its answer' }, receive)
    if (answer.cut) connection.destroy()
    else connection.release()
  } catch (error) {
    connection.destroy()
    signal.throwIfAborted()
    failure = asFailure(error, answer)
  }
  const { body, unreadable } = await answer.text(request.maxResponseBytes)
  // An answer that came whole stands, also when somebody has given up meanwhile: the receiver has the document.
  if (failure) signal.throwIfAborted()
  return { status: answer.status, headers: answer.headers, body, unreadable, failure }

  async function receive(): Promise<void> {
    connection.expectAnswer()
    const response = await connection.client.request({
      path: url.pathname + url.search,
      method: request.method as 'POST',
      headers: request.headers,
      body: request.body,
      headersTimeout: timeoutMs,
      bodyTimeout: Math.min(timeoutMs, IDLE_BODY_MS),
    })
    response.body.on('error', () => {})
    answer.status = response.statusCode
    answer.headers = response.headers
    await answer.read(response.body, Math.max(READ_CAP, request.maxResponseBytes))
    // undici takes a reset for the end of an answer that closes its connection, even in the middle of a chunk.
    const broken = connection.error()
    if (broken && !answer.cut && !answer.hasStatedLength()) throw broken
  }
}

/** Before a status every failure is thrown; after it, it stands beside the status. */
function asFailure(error: unknown, answer: Answer): DeliveryError {
  const failure = httpFailure(error)
  if (answer.status === 0 || !(failure instanceof DeliveryError)) throw failure
  return failure
}
