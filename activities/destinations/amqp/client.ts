// amqplib over a socket of ours. Its own `connect` makes the socket itself, where the egress guard could not check the
// address nor a deadline close it, and keeps of a refusal only a text. So two of its parts, which its package does not
// export, are put together here as its `connect` does.
import { type EventEmitter, once } from 'node:events'
import { createRequire } from 'node:module'
import type { Socket } from 'node:net'
import { dirname, join } from 'node:path'
import type { Writable } from 'node:stream'
import { type ChannelModel, credentials } from 'amqplib'

/** What the peer sends, one at a time; content and heartbeats have no `id`. */
export interface Frame {
  id?: number
  fields?: Record<string, unknown>
}

/** Class and method of the frames that tell how far the conversation has come (AMQP 0-9-1, 1.4 and 1.5). */
export const CONNECTION_START = (10 << 16) | 10
export const CONNECTION_TUNE = (10 << 16) | 30
export const CONNECTION_CLOSE = (10 << 16) | 50
export const CHANNEL_CLOSE = (20 << 16) | 40

/** The largest frame that both sides may send: what RabbitMQ proposes. */
const FRAME_MAX = 131_072
/** Some brokers do not keep to it. */
const MAX_INCOMING_FRAME = 1024 * 1024
/** Head and end of a frame, in bytes (AMQP 0-9-1, 2.3.5). */
const FRAME_OVERHEAD = 8

interface Connection extends EventEmitter {
  frameMax: number
  channels: ({ buffer: Writable } | null)[]
  sendContent(channel: number, body: Buffer): boolean
  open(fields: Record<string, unknown>, done: (error: Error | null) => void): void
  recvFrame(): Frame | false
}

const require = createRequire(import.meta.url)
const library = join(dirname(require.resolve('amqplib')), 'lib')
const { Connection } = require(join(library, 'connection.js')) as { Connection: new (socket: Socket) => Connection }
const { makeBodyFrame } = require(join(library, 'frame.js')) as {
  makeBodyFrame: (channel: number, piece: Buffer) => Buffer
}
const model = require(join(library, 'channel_model.js')) as {
  ChannelModel: new (connection: Connection) => ChannelModel
}

export interface Login {
  vhost: string
  username: string
  password: string
  heartbeat_seconds: number
}

export interface Listener {
  /** Sees each frame before amqplib acts on it; perhaps more than once. */
  onFrame(frame: Frame): void
  /** The connection has ended; perhaps more than once. amqplib knows no error for an end that the broker has asked for. */
  onEnd(error: Error | undefined): void
}

/** The opening of a connection on a connected socket: greeting, login, limits, virtual host. */
export function openConnection(socket: Socket, login: Login, { onFrame, onEnd }: Listener): Promise<ChannelModel> {
  const connection = new Connection(socket)
  const receive = connection.recvFrame.bind(connection)
  connection.recvFrame = () => {
    const frame = receive()
    if (frame) onFrame(frame)
    return frame
  }
  connection.sendContent = (channel, body) => {
    // Its failure is that of the connection, which says why.
    sendBody(connection, channel, body).catch(() => {})
    return true
  }
  // From the very beginning: amqplib acts on what comes in one packet with the end of the opening before it calls back, and
  // an error that nobody listens for would end the process.
  connection.on('error', onEnd).on('close', onEnd)
  const { mechanism, response } = credentials.plain(login.username, login.password)
  return new Promise((resolve, reject) => {
    // amqplib listens for ends and errors alone; one that is closed in another way would keep its timers.
    socket.once('close', () => {
      const closed = new Error('the socket was closed')
      reject(closed)
      connection.emit('frameError', closed)
    })
    connection.open(
      {
        // Without these two, a refused login is a mere hang-up after a pause, and an alarm a mere silence.
        clientProperties: {
          product: 'Distributor',
          capabilities: {
            publisher_confirms: true,
            'basic.nack': true,
            'connection.blocked': true,
            authentication_failure_close: true,
          },
        },
        mechanism,
        response: response(),
        locale: 'en_US',
        channelMax: 1,
        frameMax: FRAME_MAX,
        maxFrameSize: MAX_INCOMING_FRAME,
        heartbeat: login.heartbeat_seconds,
        virtualHost: login.vhost,
        capabilities: '',
        insist: 0,
      },
      (error) => {
        if (error) return reject(error)
        // It repeats the connection's events.
        resolve(new model.ChannelModel(connection).on('error', () => {}))
      },
    )
  })
}

/** Frame by frame: amqplib would copy the whole body at once, and keep the copy until the broker has read it. */
async function sendBody({ channels, frameMax }: Connection, channel: number, body: Buffer): Promise<void> {
  const { buffer } = channels[channel]!
  const most = frameMax - FRAME_OVERHEAD
  for (let at = 0; at < body.length; at += most) {
    if (!buffer.write(makeBodyFrame(channel, body.subarray(at, at + most)))) await once(buffer, 'drain')
  }
}
