// AMQP 0-9-1 (RabbitMQ): one message per attempt, published as mandatory on a channel in confirm mode. It is delivered when
// a queue has received it and the broker has confirmed it.

import { defineDestination } from '../destination.ts'
import { DeliveryError } from '../errors.ts'
import { deadlineMs, probeMs } from '../fields.ts'
import { keepConnections } from '../network/connections.ts'
import { withinDeadline } from '../network/deadline.ts'
import { targetOf } from '../network/target.ts'
import { hasPlaceholders, literalText } from '../template/placeholders.ts'
import { type AmqpConfig, amqpConfig, portOf } from './config.ts'
import { contentOf, routeOf } from './content.ts'
import { publish } from './publish.ts'
import { openSession, type Session, type Settings } from './session.ts'

/** Opening takes seven round trips and a login. Brokers keep an idle connection as long as its heartbeat arrives. */
const IDLE_MS = 30_000

const connections = keepConnections<Session>({
  idleMs: IDLE_MS,
  async check(session) {
    if (session.isBlocked()) throw new Error('blocked')
    // A limit for consumers; there are none here, so it has no effect.
    await session.channel.prefetch(0)
  },
  destroy: (session) => session.destroy(),
  close: (session) => void session.close(),
})

export const amqp = defineDestination({
  protocol: 'AMQP',
  config: amqpConfig,
  example: {
    host: 'broker.example',
    vhost: '/reports',
    exchange: 'reports',
    routing_key: '{data_type}',
    credentials: 'broker',
  },
  documentation: {
    delivered: 'the broker confirmed it and had a queue for it',
    repeat: '`message_id`',
    again: 'no queue yet, nack, memory alarm, timeout, network',
    final: 'missing exchange, no permission, too large',
  },
  gzip: true,
  target: (config) => targetOf(config.host, portOf(config)),
  deadlineMs,

  async deliver(config, message, signal, { egress }) {
    signal.throwIfAborted()
    const route = routeOf(config, message)
    const content = await contentOf(config, message)
    const settings = settingsOf(config)
    await withinDeadline({ timeoutMs: config.timeout_seconds * 1000, signal }, (attempt) =>
      connections.use(
        { egress, tenant_id: message.tenant_id, config: settings },
        attempt,
        () => openSession(settings, attempt, egress),
        (session) => publish(session, { ...route, ...content }, attempt),
      ),
    )
    return { status: null, body: null, metadata: { message_id: message.delivery_id, ...route } }
  },

  /** Logs in and asks whether the exchange or queue exists, if it is the same for every message. */
  async probe(config, signal, { egress }) {
    const timeoutMs = probeMs(config)
    await withinDeadline({ timeoutMs, signal }, async (attempt) => {
      const session = await openSession(settingsOf(config), attempt, egress)
      const off = attempt.onStop(session.destroy)
      try {
        attempt.expect('answer whether the exchange or queue exists')
        await look(session, config)
        await session.close()
      } finally {
        session.destroy()
        off()
      }
    })
  },
})

/** A passive declaration, which changes nothing. */
async function look({ channel, ended }: Session, { queue, exchange }: AmqpConfig): Promise<void> {
  const name = queue ?? exchange!
  if (hasPlaceholders(name)) return
  const plain = literalText(name)
  try {
    await (queue === undefined ? channel.checkExchange(plain) : channel.checkQueue(plain))
  } catch (error) {
    const why = ended() ?? error
    // A user who may publish may lack the permission to ask.
    if (!(why instanceof DeliveryError && why.response?.status === 403)) throw why
  }
}

/** Deliveries may share a connection when these fields are equal. */
function settingsOf({ host, port, security, tls, vhost, username, password, heartbeat_seconds }: AmqpConfig): Settings {
  return { host, port, security, tls, vhost, username, password, heartbeat_seconds }
}
