// Why a connection ended: the broker's last words count most, then the network's, then amqplib's. The first reason is kept,
// so that everybody who waits gets the same answer.
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { DeliveryError } from '../errors.ts'
import { codeOf, networkFailure } from '../network/failures.ts'
import { CHANNEL_CLOSE, CONNECTION_CLOSE, type Frame } from './client.ts'
import { type Reply, replyFailure } from './failure.ts'

/** A broker that goes on and on is left; it never has more to say than a message that it returns. */
const MAX_WORDS = 1024 * 1024

export interface End {
  /** Sees each frame that comes. */
  hear(frame: Frame): void
  /** The channel is open: reply codes mean something else from now on. */
  opened(): void
  /** From now on so many bytes have to go, and may come back beside the usual ones. */
  expect(bytes: number): void
  /** Whether they have gone. */
  gone(): boolean
  /** Keeps the first reason, and answers it. */
  because(error: unknown): unknown
  /** Undefined while there is none. */
  reason(): unknown
  /** Ends the socket at once. */
  destroy(): void
}

/** @param secrets what may not come back in the broker's own words */
export function createEnd(socket: Socket, secrets: string[]): End {
  let reason: unknown
  let reply: Reply | undefined
  let atLogin = true
  let allowance = MAX_WORDS
  let due = 0
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
    expect(bytes) {
      allowance = socket.bytesRead + bytes + MAX_WORDS
      due = socket.bytesWritten + bytes
    },
    gone: () => socket.bytesWritten - socket.writableLength >= due,
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
