// Reads queues with its own client over one connection, and reconnects after the broker was unreachable.
import amqplib, { type Channel, type ChannelModel, type GetMessage } from 'amqplib'

export interface Access {
  port: number
  vhost?: string
  username: string
  password: string
}

export interface AmqpReader {
  /** A durable queue. */
  declare(queue: string, options?: Parameters<Channel['assertQueue']>[1]): Promise<void>
  /** All that has ever arrived, oldest first. */
  all(queue: string): Promise<GetMessage[]>
  /** For other set-up of the broker. */
  channel(): Promise<Channel>
  close(): Promise<void>
}

export function createAmqpReader({ port, vhost = '/', username, password }: Access): AmqpReader {
  const read = new Map<string, GetMessage[]>()
  let open: Promise<{ model: ChannelModel; channel: Channel }> | undefined

  async function connect() {
    const place = { hostname: '127.0.0.1', port, username, password, vhost: encodeURIComponent(vhost) }
    const model = await amqplib.connect(place, { noDelay: true })
    const forget = () => {
      open = undefined
    }
    model.on('error', forget).on('close', forget)
    const channel = await model.createChannel()
    channel.on('error', forget)
    return { model, channel }
  }

  async function channel(): Promise<Channel> {
    open ??= connect()
    return (await open).channel
  }

  return {
    channel,
    async declare(queue, options) {
      await (await channel()).assertQueue(queue, { durable: true, ...options })
    },
    async all(queue) {
      const messages = read.get(queue) ?? []
      read.set(queue, messages)
      const from = await channel()
      for (;;) {
        const message = await from.get(queue, { noAck: true })
        if (!message) return [...messages]
        messages.push(message)
      }
    },
    async close() {
      const { model } = (await open) ?? {}
      await model?.close()
    },
  }
}
