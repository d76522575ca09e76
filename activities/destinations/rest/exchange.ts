// One request and its response, within one deadline. Never sends twice, never follows a redirect.

import { DeliveryError } from '../errors.ts'
import { withinDeadline } from '../network/deadline.ts'
import type { Egress } from '../network/egress.ts'
import type { TlsMaterial } from '../network/tls.ts'
import { Answer, READ_CAP } from './answer.ts'
import { acquireConnection } from './connections.ts'
import { httpFailure } from './failure.ts'

/** If a body stops for this long, the attempt ends, even before its deadline. */
const IDLE_BODY_MS = 30_000

export interface WireRequest {
  tenant_id: string
  url: URL
  method: string
  /** Lower-case names; values as HTTP carries them (latin1). */
  headers: Record<string, string>
  body: Buffer | null
  tls?: TlsMaterial
  /** From now to the last byte, the DNS look-up included. */
  timeoutMs: number
  /** How many bytes of the response body are kept. */
  maxResponseBytes: number
}

export interface WireAnswer {
  status: number
  headers: Record<string, string | string[] | undefined>
  /** Storable text of at most `maxResponseBytes`. */
  body: string | null
  /** Why a complete body cannot be decoded. This is no failure: the status decides. */
  unreadable: string | undefined
  /** The connection failed after the status had arrived: stalled, cut off. A 2xx with a failure is no success. */
  failure: DeliveryError | undefined
}

/**
 * Sends once and reads the response, with any status. An abort closes the socket at once.
 * @throws DeliveryError when no status arrived; `signal.reason` when aborted; any other error is a bug
 */
export async function exchange(request: WireRequest, signal: AbortSignal, egress: Egress): Promise<WireAnswer> {
  signal.throwIfAborted()
  const { tenant_id, url, tls = {}, timeoutMs } = request
  const answer = new Answer()
  const connection = acquireConnection(egress, { tenant_id, origin: url.origin, tls })
  let failure: DeliveryError | undefined
  try {
    await withinDeadline({ timeoutMs, signal, expects: 'complete its response' }, receive)
    if (answer.cut) connection.destroy()
    else connection.release()
  } catch (error) {
    connection.destroy()
    signal.throwIfAborted()
    failure = asFailure(error, answer)
  }
  const { body, unreadable } = await answer.text(request.maxResponseBytes)
  // A complete response counts even if the caller has aborted meanwhile: the receiver has the document.
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
    // If a response has no length, undici accepts a reset as its end, even in the middle of a chunk.
    const broken = connection.error()
    if (broken && !answer.cut && !answer.hasStatedLength()) throw broken
  }
}

/** A failure before the status is thrown; a later one is returned with the status. */
function asFailure(error: unknown, answer: Answer): DeliveryError {
  const failure = httpFailure(error)
  if (answer.status === 0 || !(failure instanceof DeliveryError)) throw failure
  return failure
}
