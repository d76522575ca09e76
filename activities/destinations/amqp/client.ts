// Runs amqplib on a connected socket. Its public `connect` is not used: it returns the connection only after the broker has
// opened it. If the broker closes earlier, an error without a listener would end this process, and the reply code for a
// missing virtual host would be lost.
import { type EventEmitter, once } from 'node:events'
import { createRequire } from 'node:module'
import type { Socket } from 'node:net'
import { dirname, join } from 'node:path'
import type { Writable } from 'node:stream'
import { type ChannelModel, credentials } from 'amqplib'

/** A frame from the broker; content and heartbeats have no `id`. */
export interface Frame {
  id?: number
  fields?: Record<string, unknown>
}

/** Class and method ids (AMQP 0-9-1, 1.4 and 1.5). */
export const CONNECTION_START = (10 << 16) | 10
export const CONNECTION_TUNE = (10 << 16) | 30
export const CONNECTION_CLOSE = (10 << 16) | 50
export const CHANNEL_CLOSE = (20 << 16) | 40

/** The largest frame that both sides may send; RabbitMQ proposes the same. */
const FRAME_MAX = 131_072
/** Some brokers send larger frames than negotiated. */
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

/** The package does not export these two classes; they are used here in the same way as in its `connect`. */
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
  /** The connection has ended; may be called more than once. No error if the broker sent `connection.close`. */
  onEnd(error: Error | undefined): void
}

/** Opens the connection: start, tune and open (AMQP 0-9-1, 2.2.4). */
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
    // If it fails, the connection has ended and reports the reason.
    sendFrames(connection, channel, body, send).catch(() => {})
    return true
  }
  connection.on('error', onEnd).on('close', onEnd)
  // amqplib handles `error` and `end`. A reset socket only emits `close`, and the heartbeat timer would continue.
  socket.once('close', () => connection.emit('frameError', new Error('the socket was closed')))
  const { mechanism, response } = credentials.plain(login.username, login.password)
  return new Promise((resolve, reject) => {
    connection.open(
      {
        // Without the last two, the broker reports neither a memory alarm nor a refused login, but closes after a pause.
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
        // It repeats the errors of the connection, which onEnd handles.
        resolve(new model.ChannelModel(connection).on('error', () => {}))
      },
    )
  })
}

/** Sends frame by frame: amqplib would copy the whole body, and keep the copy until the broker has read it. */
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
