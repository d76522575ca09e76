// One connection to a broker with one channel in confirm mode, from the first byte to its end. An end that nobody waits for
// disturbs nobody.
import { once } from 'node:events'
import type { ChannelModel, ConfirmChannel } from 'amqplib'
import { DeliveryError } from '../errors.ts'
import type { Attempt } from '../network/deadline.ts'
import type { Egress } from '../network/egress.ts'
import { tlsConnection, tlsMaterial } from '../network/tls.ts'
import { CONNECTION_START, CONNECTION_TUNE, openConnection } from './client.ts'
import { type AmqpConfig, portOf } from './config.ts'
import { createEnd, type End } from './end.ts'

/** What a connection is made of; messages may differ in all else. */
export type Line = Pick<
  AmqpConfig,
  'host' | 'port' | 'security' | 'tls' | 'vhost' | 'username' | 'password' | 'heartbeat_seconds'
>

/** How long a farewell may take. */
const FAREWELL_MS = 1_000

/** So many frames of a message wait for the socket. */
const MAX_FRAMES = 4

export interface Session {
  channel: ConfirmChannel
  /** Calls when the broker takes no messages for now, being short of memory or disk, or at once. The answer takes it back. */
  onBlocked(listener: () => void): () => void
  isBlocked(): boolean
  /** Why the session ended, as a DeliveryError wherever it is no bug; undefined while it lives, as far as is known. */
  ended(): unknown
  /** The same once amqplib says that it has ended; its own events may come later than that. */
  endedWith(error: unknown): unknown
  /** From now on so many bytes have to go, and may come back beside the usual ones. */
  expect(bytes: number): void
  /** Whether they have gone. */
  gone(): boolean
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
    port: portOf(line),
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
    attempt.expect('open a channel')
    const session = await openChannel(model, end)
    end.opened()
    return session
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
  const channel = await model.createConfirmChannel({ highWaterMark: MAX_FRAMES })
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
    expect: end.expect,
    gone: end.gone,
    destroy: end.destroy,
    async leave() {
      const timer = setTimeout(end.destroy, FAREWELL_MS).unref()
      // The call alone would wait for ever for an answer to the farewell.
      await new Promise((resolve) => {
        model.once('close', resolve)
        model.close().catch(resolve)
      })
      clearTimeout(timer)
      end.destroy()
    },
  }
}
