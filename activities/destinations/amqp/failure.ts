// What a broker's refusals mean, by their reply codes (AMQP 0-9-1, 1.1 and 1.2, with RabbitMQ's additions).

import type { DeliveryErrorOptions } from '../errors.ts'
import { DeliveryError } from '../errors.ts'
import { redact } from '../secrets/redaction/index.ts'
import { storable } from '../storable.ts'

export interface Reply {
  code: number
  text: string
}

type Meaning = [code: DeliveryError['code'], says: string, options?: DeliveryErrorOptions]

/** While connection and channel are opened. */
const AT_LOGIN: Record<number, Meaning> = {
  403: ['UNAUTHORIZED', 'the broker refused the login'],
  // RabbitMQ says the same of a limit that is reached, which passes: hence it is tried again.
  530: [
    'MISCONFIGURED',
    'the broker does not let this user into the virtual host: it is missing or not permitted, or there are all the connections or channels that there may be',
    { retryable: true },
  ],
}

const LATER: Record<number, Meaning> = {
  311: ['REJECTED', 'the broker refuses the message as too large'],
  // Queues come and go with those who read them, and with the node that they live on.
  312: ['REJECTED', 'no queue takes the message', { retryable: true }],
  320: ['DESTINATION_UNAVAILABLE', 'the broker ended the connection'],
  402: ['MISCONFIGURED', 'the broker does not know the virtual host'],
  403: ['UNAUTHORIZED', 'the broker does not let this user publish there'],
  404: ['MISCONFIGURED', 'the broker has no such exchange or queue'],
  406: ['REJECTED', 'the broker refuses the message: it is too large, or has a property that is not taken there'],
  501: ['REJECTED', 'the message does not fit into what the broker reads'],
  502: ['REJECTED', 'the broker cannot read the message'],
  530: ['MISCONFIGURED', 'the broker does not allow this'],
  540: ['REJECTED', 'the broker does not have what the message asks for'],
}

/** @param secrets what may not come back in the broker's own words */
export function replyFailure(reply: Reply, secrets: string[], atLogin = false): DeliveryError {
  const [code, says, options] = (atLogin ? AT_LOGIN[reply.code] : undefined) ??
    LATER[reply.code] ?? ['DESTINATION_UNAVAILABLE', 'the broker ended the conversation']
  const text = redact(storable(reply.text), secrets)
  return new DeliveryError(code, `${says} (${reply.code})`, {
    ...options,
    response: { status: reply.code, body: text.slice(0, 500) },
  })
}
