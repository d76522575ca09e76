// One connection to a broker with one channel in confirm mode. Why it ended is said by the broker's reply code if it sent
// one, else by the network, else by amqplib.
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

/** What a connection is made of; messages with the same may share it. */
export type Line = Pick<
  AmqpConfig,
  'host' | 'port' | 'security' | 'tls' | 'vhost' | 'username' | 'password' | 'heartbeat_seconds'
>

/** How long closing may take. */
const CLOSE_MS = 1_000
/** How many frames of a message wait for the socket. */
const MAX_FRAMES = 4
/** How many bytes a broker may send besides a message that it returns. */
const MAX_UNASKED_BYTES = 1024 * 1024

export interface Session {
  channel: ConfirmChannel
  /**
   * Calls `listener` when the broker takes no messages for now, being short of memory or disk, or at once if that is so.
   * Returns a function that removes the listener.
   */
  onBlocked(listener: () => void): () => void
  isBlocked(): boolean
  /** Why the session ended; undefined while it lives. */
  ended(): unknown
  /** The same when amqplib reports an end: its own events may come later. */
  endedWith(error: unknown): unknown
  /** Call before a message of so many bytes: they have to be sent, and may come back. */
  expect(bytes: number): void
  /** Whether the bytes have been sent. */
  gone(): boolean
  /** Ends the connection at once. */
  destroy(): void
  /** Closes the connection, and ends it when the broker does not answer in time. */
  close(): Promise<void>
}

/** @throws DeliveryError; no connection is left open then */
export async function openSession(line: Line, attempt: Attempt, egress: Egress): Promise<Session> {
  if (/\0/.test(line.username + line.password)) {
    throw new DeliveryError('MISCONFIGURED', 'username or password contains a NUL character, which cannot be sent')
  }
  const tls = line.security === 'tls' ? { tls: tlsConnection(tlsMaterial(line.tls)) } : {}
  return connectGuarded({ host: line.host, port: portOf(line), ...tls }, attempt, egress, (connection) =>
    startSession(line, connection, attempt),
  )
}

async function startSession(line: Line, connection: GuardedConnection, attempt: Attempt): Promise<Session> {
  const { socket, orLost, end } = connection
  let isOpen = false
  let mayReceive = MAX_UNASKED_BYTES
  let mustSend = 0
  const endedWith = (error: unknown) => end(connectionFailure(error, socket, isOpen))

  attempt.expect('greet')
  try {
    const opening = openConnection(socket, line, {
      onFrame({ id, fields }) {
        if (id === CONNECTION_START) attempt.expect('accept the login')
        if (id === CONNECTION_TUNE) attempt.expect('open the virtual host')
        if (id === CONNECTION_CLOSE || id === CHANNEL_CLOSE) {
          const reply = { code: Number(fields?.replyCode), text: String(fields?.replyText ?? '') }
          end(replyFailure(reply, [line.password], !isOpen))
        }
        if (socket.bytesRead > mayReceive) {
          end(new DeliveryError('DESTINATION_UNAVAILABLE', 'the broker sends data without end'))
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
        mayReceive = socket.bytesRead + bytes + MAX_UNASKED_BYTES
        mustSend = socket.bytesWritten + bytes
      },
      gone: () => socket.bytesWritten - socket.writableLength >= mustSend,
      destroy: connection.destroy,
      async close() {
        const timer = setTimeout(connection.destroy, CLOSE_MS).unref()
        // The promise of `close` alone would wait for ever for an answer.
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
  // amqplib gives its own errors no codes: a closed connection, a missed heartbeat, bytes that are no frame.
  const message = socket.readableEnded
    ? 'the broker closed the connection'
    : isOpen
      ? 'the broker no longer answers, or its answer is not AMQP 0-9-1'
      : 'the answer could not be understood as AMQP 0-9-1'
  return new DeliveryError('DESTINATION_UNAVAILABLE', message, { cause: error })
}
