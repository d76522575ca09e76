// One connection to a broker with one channel in confirm mode. The reason of its end is the broker's reply code if there is
// one, else the network error, else the error of amqplib.
import type { Socket } from 'node:net'
import type { ChannelModel, ConfirmChannel } from 'amqplib'
import { DeliveryError } from '../errors.ts'
import type { Attempt } from '../network/deadline.ts'
import type { Egress } from '../network/egress.ts'
import { codeOf, networkFailure } from '../network/failures.ts'
import { connectGuarded, type GuardedConnection } from '../network/guarded.ts'
import { tlsConnection, tlsMaterial } from '../network/tls.ts'
import { CHANNEL_CLOSE, CONNECTION_CLOSE, CONNECTION_START, CONNECTION_TUNE, openConnection } from './client.ts'
import { type AmqpConfig, portOf } from './config.ts'
import { replyFailure } from './failure.ts'

/** The settings of a connection. Messages with equal settings may use the same one. */
export type Settings = Pick<
  AmqpConfig,
  'host' | 'port' | 'security' | 'tls' | 'vhost' | 'username' | 'password' | 'heartbeat_seconds'
>

/** How long closing may take. */
const CLOSE_MS = 1_000
/** How many frames of a message wait for the socket. */
const MAX_FRAMES = 4
/** How many bytes a broker may send in addition to a returned message. */
const MAX_EXTRA_BYTES = 1024 * 1024

export interface Session {
  channel: ConfirmChannel
  /**
   * Calls `listener` when the broker is blocked (low on memory or disk), or at once if it is blocked already.
   * Returns a function that removes the listener.
   */
  onBlocked(listener: () => void): () => void
  isBlocked(): boolean
  /** Why the session ended; undefined while it is open. */
  ended(): unknown
  /** The same when a call of amqplib reports the end: its events may come later. */
  endedWith(error: unknown): unknown
  /** Call before each message with its size: so many bytes must be sent, and may be returned. */
  expect(bytes: number): void
  /** Whether the bytes have been sent. */
  isSent(): boolean
  /** Ends the connection at once. */
  destroy(): void
  /** Closes the connection, and ends it when the broker does not answer in time. */
  close(): Promise<void>
}

/** @throws DeliveryError; no connection is left open then */
export async function openSession(settings: Settings, attempt: Attempt, egress: Egress): Promise<Session> {
  if (/\0/.test(settings.username + settings.password)) {
    throw new DeliveryError('MISCONFIGURED', 'username or password contains a NUL character, which cannot be sent')
  }
  const tls = settings.security === 'tls' ? { tls: tlsConnection(tlsMaterial(settings.tls)) } : {}
  return connectGuarded({ host: settings.host, port: portOf(settings), ...tls }, attempt, egress, (connection) =>
    startSession(settings, connection, attempt),
  )
}

async function startSession(settings: Settings, connection: GuardedConnection, attempt: Attempt): Promise<Session> {
  const { socket, orLost, end } = connection
  let isOpen = false
  let mayReceive = MAX_EXTRA_BYTES
  let mustSend = 0
  const endedWith = (error: unknown) => end(connectionFailure(error, socket, isOpen))

  attempt.expect('greet')
  try {
    const opening = openConnection(socket, settings, {
      onFrame({ id, fields }) {
        if (id === CONNECTION_START) attempt.expect('accept the login')
        if (id === CONNECTION_TUNE) attempt.expect('open the virtual host')
        if (id === CONNECTION_CLOSE || id === CHANNEL_CLOSE) {
          const reply = { code: Number(fields?.replyCode), text: String(fields?.replyText ?? '') }
          end(replyFailure(reply, [settings.password], !isOpen))
        }
        if (socket.bytesRead > mayReceive) {
          end(new DeliveryError('DESTINATION_UNAVAILABLE', 'the broker sends more data than expected'))
        }
      },
      onEnd: endedWith,
    })
    const model = await orLost(opening)
    attempt.expect('open a channel')
    const blocked = watchBlocked(model)
    const channel = await orLost(model.createConfirmChannel({ highWaterMark: MAX_FRAMES }))
    isOpen = true
    channel.on('error', endedWith)
    channel.on('close', () => endedWith(undefined))
    return {
      channel,
      ...blocked,
      ended: connection.reason,
      endedWith,
      expect(bytes) {
        mayReceive = socket.bytesRead + bytes + MAX_EXTRA_BYTES
        mustSend = socket.bytesWritten + bytes
      },
      isSent: () => socket.bytesWritten - socket.writableLength >= mustSend,
      destroy: connection.destroy,
      async close() {
        const timer = setTimeout(connection.destroy, CLOSE_MS).unref()
        // If the broker does not answer, the promise of `close` never settles.
        await new Promise((resolve) => {
          model.once('close', resolve)
          model.close().catch(resolve)
        })
        clearTimeout(timer)
        connection.destroy()
      },
    }
  } catch (error) {
    throw endedWith(error)
  }
}

function watchBlocked(model: ChannelModel): Pick<Session, 'onBlocked' | 'isBlocked'> {
  const listeners = new Set<() => void>()
  let isBlocked = false
  model.on('blocked', () => {
    isBlocked = true
    for (const listener of listeners) listener()
  })
  model.on('unblocked', () => {
    isBlocked = false
  })
  return {
    isBlocked: () => isBlocked,
    onBlocked(listener) {
      listeners.add(listener)
      if (isBlocked) listener()
      return () => listeners.delete(listener)
    },
  }
}

/** @returns a DeliveryError, except for errors of this machine */
function connectionFailure(error: unknown, socket: Socket, isOpen: boolean): unknown {
  const failure = networkFailure(error)
  if (failure instanceof DeliveryError || /^E[A-Z0-9]+$/.test(codeOf(error) ?? '')) return failure
  // amqplib's own errors have no codes: a closed connection, a missed heartbeat, an invalid frame.
  const message = socket.readableEnded
    ? 'the broker closed the connection'
    : isOpen
      ? 'the broker no longer answers, or its answer is not AMQP 0-9-1'
      : 'the answer is not AMQP 0-9-1'
  return new DeliveryError('DESTINATION_UNAVAILABLE', message, { cause: error })
}
