// amqplib on a socket that is connected already. Its public `connect` is not used: it opens the socket itself and hands
// the connection out only when the broker has opened it. By then a broker that closes at once has ended this process by an
// error that nobody could listen for, and its reply code to a missing virtual host is lost.
import { type EventEmitter, once } from 'node:events'
import { createRequire } from 'node:module'
import type { Socket } from 'node:net'
import { dirname, join } from 'node:path'
import type { Writable } from 'node:stream'
import { type ChannelModel, credentials } from 'amqplib'

/** What the broker sends; content and heartbeats have no `id`. */
export interface Frame {
  id?: number
  fields?: Record<string, unknown>
}

/** Class and method of frames (AMQP 0-9-1, 1.4 and 1.5). */
export const CONNECTION_START = (10 << 16) | 10
export const CONNECTION_TUNE = (10 << 16) | 30
export const CONNECTION_CLOSE = (10 << 16) | 50
export const CHANNEL_CLOSE = (20 << 16) | 40

/** The largest frame that both sides may send: what RabbitMQ proposes. */
const FRAME_MAX = 131_072
/** Some brokers send larger frames than agreed. */
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

/** The package does not export these two; they are put together here as its `connect` does. */
const require = createRequire(import.meta.url)
const library = join(dirname(require.resolve('amqplib')), 'lib')
const { Connection } = require(join(library, 'connection.js')) as { Connection: new (socket: Socket) => Connection }
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
  /** Called with each frame before amqplib handles it. */
  onFrame(frame: Frame): void
  /** The connection has ended; may be called more than once. There is no error when the broker asked for the end. */
  onEnd(error: Error | undefined): void
}

/** Opens the connection: greeting, login, limits, virtual host. */
export function openConnection(socket: Socket, login: Login, { onFrame, onEnd }: Listener): Promise<ChannelModel> {
  const connection = new Connection(socket)
  const receive = connection.recvFrame.bind(connection)
  connection.recvFrame = () => {
    const frame = receive()
    if (frame) onFrame(frame)
    return frame
  }
  const send = connection.sendContent.bind(connection)
  connection.sendContent = (channel, body) => {
    // When it fails the connection has ended, and says why.
    sendFrames(connection, channel, body, send).catch(() => {})
    return true
  }
  connection.on('error', onEnd).on('close', onEnd)
  // amqplib listens for errors and ends; a reset socket only closes, and the heartbeat would go on.
  socket.once('close', () => connection.emit('frameError', new Error('the socket was closed')))
  const { mechanism, response } = credentials.plain(login.username, login.password)
  return new Promise((resolve, reject) => {
    connection.open(
      {
        // Without the last two, a refused login is only a closed connection after a pause, and a memory alarm is silence.
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
        // It repeats the errors of the connection, which onEnd has been told.
        resolve(new model.ChannelModel(connection).on('error', () => {}))
      },
    )
  })
}

/** One frame after the other: amqplib would copy the whole body at once, and hold the copy until the broker has read it. */
async function sendFrames(
  { channels, frameMax }: Connection,
  channel: number,
  body: Buffer,
  send: Connection['sendContent'],
): Promise<void> {
  const { buffer } = channels[channel]!
  const most = frameMax - FRAME_OVERHEAD
  for (let at = 0; at < body.length; at += most) {
    if (!send(channel, body.subarray(at, at + most))) await once(buffer, 'drain')
  }
}
