// The contract on RabbitMQ: each place is a durable queue in a virtual host whose name needs escaping in URLs.
import { type AmqpConfig, amqpConfig } from '../../../activities/destinations/amqp/config.ts'
import { amqp } from '../../../activities/destinations/amqp/index.ts'
import { createAmqpReader } from '../../support/receivers/amqp-reader.ts'
import { startRabbitmq } from '../../support/receivers/rabbitmq.ts'
import { type At, contract, SECRET, WRONG } from './contract.ts'

const USER = 'distributor'
const VHOST = '/contract'

await contract({
  destination: amqp,
  repeat: 'recognisable',
  programs: ['rabbitmq'],
  tls: 'first',
  notSecret: ['routing_key'],
  async start() {
    const rabbitmq = await startRabbitmq({ user: USER, password: SECRET, vhosts: [VHOST] })
    const read = createAmqpReader({ port: rabbitmq.port, vhost: VHOST, username: USER, password: SECRET })
    let places = 0

    const configured = ({ host, port, timeout_seconds }: At, given: Partial<AmqpConfig>) => {
      const base = { host, port, security: 'none', vhost: VHOST, username: USER, password: SECRET }
      return { ...amqpConfig.parse({ ...base, ...given }), timeout_seconds }
    }

    return {
      port: rabbitmq.port,
      async place() {
        const queue = `place-${places++}`
        await read.declare(queue)
        return {
          config: (at) => configured(at, { queue }),
          secured: (at, tls) => configured(at, { queue, security: 'tls', tls }),
          locked: (at) => configured(at, { queue, password: WRONG }),
          refused: (at) => configured(at, { exchange: `no-${queue}`, routing_key: queue }),
          arrived: async () =>
            (await read.all(queue)).map(({ content, properties }) => ({
              body: content,
              delivery_id: properties.messageId,
            })),
        }
      },
      restart: () => rabbitmq.restart(),
      async close() {
        await read.close()
        await rabbitmq.close()
      },
    }
  },
})
