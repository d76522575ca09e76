// The failure for each reply code (AMQP 0-9-1, 1.1 and 1.2, with RabbitMQ's additions).

import type { DeliveryErrorOptions } from '../errors.ts'
import { DeliveryError } from '../errors.ts'
import { redact } from '../secrets/redaction/index.ts'
import { storable } from '../storable.ts'

export interface Reply {
  code: number
  text: string
}

type Meaning = [code: DeliveryError['code'], says: string, options?: DeliveryErrorOptions]

/** Before the channel is open. */
const AT_LOGIN: Record<number, Meaning> = {
  403: ['UNAUTHORIZED', 'the broker refused the login'],
  // Retried, because RabbitMQ sends the same code when a temporary limit is reached.
  530: [
    'MISCONFIGURED',
    'the broker does not open the virtual host for this user: it is missing or forbidden, or a limit of connections or channels is reached',
    { retryable: true },
  ],
}

const LATER: Record<number, Meaning> = {
  311: ['REJECTED', 'the broker refused the message: it is too large'],
  // Retried, because queues are created and deleted with their consumers and their node.
  312: ['REJECTED', 'no queue received the message', { retryable: true }],
  320: ['DESTINATION_UNAVAILABLE', 'the broker closed the connection'],
  402: ['MISCONFIGURED', 'the broker does not know the virtual host'],
  403: ['UNAUTHORIZED', 'the broker does not permit this user to publish there'],
  404: ['MISCONFIGURED', 'the broker has no such exchange or queue'],
  406: ['REJECTED', 'the broker refused the message: it is too large, or has a property that is not accepted there'],
  501: ['REJECTED', 'the broker refused a frame of the message'],
  502: ['REJECTED', 'the broker cannot read the message'],
  530: ['MISCONFIGURED', 'the broker does not allow this'],
  540: ['REJECTED', 'the broker does not implement a feature that the message uses'],
}

/** @param secrets are removed from the broker's text */
export function replyFailure(reply: Reply, secrets: string[], atLogin = false): DeliveryError {
  const [code, says, options] = (atLogin ? AT_LOGIN[reply.code] : undefined) ??
    LATER[reply.code] ?? ['DESTINATION_UNAVAILABLE', 'the broker closed the connection or channel']
  const text = redact(storable(reply.text), secrets)
  return new DeliveryError(code, `${says} (${reply.code})`, {
    ...options,
    response: { status: reply.code, body: text.slice(0, 500) },
  })
}
