// One connection to a broker with one channel in confirm mode, from the first byte to its end. Whatever ends it is kept,
// so that everybody who waits on it gets the same answer; an end that nobody waits for disturbs nobody.
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { ChannelModel, ConfirmChannel } from 'amqplib'
import type { Attempt } from '../deadline.ts'
import type { Egress } from '../egress.ts'
import { DeliveryError } from '../errors.ts'
import { codeOf, networkFailure } from '../network.ts'
import { tlsConnection, tlsMaterial } from '../tls.ts'
import {
  CHANNEL_CLOSE,
  CONNECTION_CLOSE,
  CONNECTION_START,
  CONNECTION_TUNE,
  type Frame,
  openConnection,
} from './client.ts'
import type { AmqpConfig } from './config.ts'
import { type Reply, replyFailure } from './failure.ts'

/** What a connection is made of; messages may differ in all else. */
export type Line = Pick<
  AmqpConfig,
  'host' | 'port' | 'security' | 'tls' | 'vhost' | 'username' | 'password' | 'heartbeat_seconds'
>

/** A broker that goes on and on is left; it never has more to say than a message that it returns. */
const MAX_WORDS = 1024 * 1024
/** How long a farewell may take. */
const FAREWELL_MS = 1_000

export interface Session {
  channel: ConfirmChannel
  /** Calls when the broker takes no messages for now, being short of memory or disk, or at once. The answer takes it back. */
  onBlocked(listener: () => void): () => void
  isBlocked(): boolean
  /** Why the session ended, as a DeliveryError wherever it is no bug; undefined while it lives, as far as is known. */
  ended(): unknown
  /** The same once amqplib says that it has ended; its own events may come later than that. */
  endedWith(error: unknown): unknown
  /** Allows the broker to send so many bytes more than usual from now on. */
  allow(bytes: number): void
  /** Ends the socket at once. */
  destroy(): void
  /** Says farewell, and ends the socket within a second in any case. */
  leave(): Promise<void>
}

/** @throws DeliveryError, and leaves nothing open; what is neither the broker's nor the network's fault as it is */
export async function openSession(line: Line, attempt: Attempt, egress: Egress): Promise<Session> {
  const secure = line.security === 'tls'
  if (/\0/.test(line.username + line.password)) {
    throw new DeliveryError('MISCONFIGURED', 'username or password has a NUL character, which cannot be sent')
  }
  attempt.expect('accept the connection')
  const socket = egress.connect({
    host: line.host,
    port: line.port ?? (secure ? 5671 : 5672),
    ...(secure && { tls: tlsConnection(tlsMaterial(line.tls)) }),
  })
  const end = createEnd(socket, [line.password])
  const off = attempt.onStop(end.destroy)
  try {
    await once(socket.setNoDelay(true), secure ? 'secureConnect' : 'connect')
    attempt.expect('greet')
    const model = await openConnection(socket, line, {
      onFrame(frame) {
        end.hear(frame)
        if (frame.id === CONNECTION_START) attempt.expect('accept the login')
        if (frame.id === CONNECTION_TUNE) attempt.expect('open the virtual host')
      },
      onEnd(error) {
        end.because(error)
        // Not left to amqplib, which would wait for the other side.
        socket.destroy()
      },
    })
    end.opened()
    attempt.expect('open a channel')
    return await openChannel(model, end)
  } catch (error) {
    const why = end.reason() ?? end.because(error)
    end.destroy()
    throw why
  } finally {
    off()
  }
}

async function openChannel(model: ChannelModel, end: End): Promise<Session> {
  const blocked = { now: false, listeners: new Set<() => void>() }
  model.on('blocked', () => {
    blocked.now = true
    for (const listener of blocked.listeners) listener()
  })
  model.on('unblocked', () => {
    blocked.now = false
  })
  const channel = await model.createConfirmChannel()
  channel.on('error', end.because)
  channel.on('close', () => end.because(undefined))
  return {
    channel,
    isBlocked: () => blocked.now,
    onBlocked(listener) {
      blocked.listeners.add(listener)
      if (blocked.now) listener()
      return () => blocked.listeners.delete(listener)
    },
    ended: end.reason,
    endedWith: end.because,
    allow: end.allow,
    destroy: end.destroy,
    async leave() {
      const timer = setTimeout(end.destroy, FAREWELL_MS).unref()
      await model.close().catch(() => {})
      clearTimeout(timer)
      end.destroy()
    },
  }
}

interface End {
  hear(frame: Frame): void
  opened(): void
  allow(bytes: number): void
  /** Keeps the first reason, and answers it. */
  because(error: unknown): unknown
  reason(): unknown
  destroy(): void
}

/** Why a session ended: the broker's last words count most, then the network's, then amqplib's. */
function createEnd(socket: Socket, secrets: string[]): End {
  let reason: unknown
  let reply: Reply | undefined
  let atLogin = true
  let allowance = MAX_WORDS
  // For all of the socket's life: an idle one may break at any time.
  socket.on('error', because)

  function because(error: unknown): unknown {
    reason ??= reply ? replyFailure(reply, secrets, atLogin) : lost(error)
    return reason
  }

  function lost(error: unknown): unknown {
    const failure = networkFailure(error)
    if (failure instanceof DeliveryError || /^E[A-Z0-9]+$/.test(codeOf(error) ?? '')) return failure
    // amqplib gives its own errors no codes: a hang-up, a missed heartbeat, bytes that are no frame.
    const says = socket.readableEnded
      ? 'the broker closed the connection'
      : atLogin
        ? 'the answer could not be understood as AMQP 0-9-1'
        : 'the broker has gone silent, or cannot be understood'
    return new DeliveryError('DESTINATION_UNAVAILABLE', says, { cause: error })
  }

  return {
    hear(frame) {
      if (frame.id === CONNECTION_CLOSE || frame.id === CHANNEL_CLOSE) {
        reply ??= { code: Number(frame.fields?.replyCode), text: String(frame.fields?.replyText ?? '') }
      }
      if (socket.bytesRead > allowance) {
        socket.destroy(new DeliveryError('DESTINATION_UNAVAILABLE', 'the broker sends without end'))
      }
    },
    opened() {
      atLogin = false
    },
    allow(bytes) {
      allowance = socket.bytesRead + bytes + MAX_WORDS
    },
    because,
    reason: () => reason,
    destroy: () => {
      // A broker that has stopped reading would otherwise take the message all the same, as soon as it reads on. Under TLS
      // Node 20 has no reset.
      if (!socket.destroyed && !(socket instanceof TLSSocket)) socket.resetAndDestroy()
      // With an error, for amqplib hears of nothing else; and at once, where a reset waits for what is written.
      socket.destroy(new DeliveryError('DESTINATION_UNAVAILABLE', 'the connection was given up'))
    },
  }
}
