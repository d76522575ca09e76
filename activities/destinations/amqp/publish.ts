// Publishes one message and waits for its confirmation.
import type { Options } from 'amqplib'
import { DeliveryError } from '../errors.ts'
import type { Attempt } from '../network/deadline.ts'
import { type Reply, replyFailure } from './failure.ts'
import type { Session } from './session.ts'

export interface Publication {
  exchange: string
  routing_key: string
  body: Buffer
  properties: Options.Publish
}

/** A confirmation may already be on its way when an alarm starts; after that, none comes until the alarm ends. */
const BLOCKED_MS = 1_000

/**
 * Resolves when the broker has confirmed the message. If no queue receives it, the broker returns it first.
 * No other message may be unconfirmed in the session.
 * @throws DeliveryError
 */
export function publish(session: Session, { exchange, routing_key, body, properties }: Publication, attempt: Attempt) {
  const { channel } = session
  if (session.isBlocked()) return Promise.reject(blocked())
  attempt.expect('confirm the message')
  // A returned message includes its body.
  session.expect(body.length)
  return new Promise<void>((resolve, reject) => {
    let returned: Reply | undefined
    let refused = false
    let timer: NodeJS.Timeout | undefined
    const onReturn = ({ fields, properties: { messageId } }: ReturnedMessage) => {
      if (messageId === properties.messageId) returned = { code: fields.replyCode, text: fields.replyText }
    }
    const onNack = () => {
      refused = true
    }
    const settle = (outcome: () => void) => {
      clearTimeout(timer)
      offBlocked()
      channel.off('return', onReturn)
      channel.off('nack', onNack)
      outcome()
    }
    const offBlocked = session.onBlocked(() => {
      timer ??= setTimeout(() => settle(() => reject(blocked())), BLOCKED_MS)
    })
    channel.on('return', onReturn)
    // Before amqplib's own listener, which calls onConfirm.
    channel.prependListener('nack', onNack)
    const onConfirm = (error: unknown) =>
      settle(() => {
        if (returned) reject(replyFailure(returned, []))
        else if (error) reject(refused ? nacked() : session.endedWith(error))
        else if (session.isSent()) resolve()
        // TLS counts sent bytes one turn of the event loop later, and a near broker may answer before that.
        else setImmediate(() => (session.isSent() ? resolve() : reject(tooEarly())))
      })
    try {
      channel.publish(exchange, routing_key, body, { ...properties, mandatory: true }, onConfirm)
    } catch (error) {
      settle(() => reject(session.ended() ?? error))
    }
  })
}

interface ReturnedMessage {
  fields: { replyCode: number; replyText: string }
  properties: { messageId?: string }
}

function blocked(): DeliveryError {
  return new DeliveryError('THROTTLED', 'the broker accepts no messages at the moment: it is low on memory or disk')
}

function nacked(): DeliveryError {
  return new DeliveryError(
    'THROTTLED',
    'the broker did not accept the message (basic.nack): a queue is full or has failed',
  )
}

function tooEarly(): DeliveryError {
  return new DeliveryError('DESTINATION_UNAVAILABLE', 'the broker confirmed the message before it was sent completely')
}
