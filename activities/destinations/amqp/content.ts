// The exchange and routing key of a message, its body and its properties.

import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { Options } from 'amqplib'
import { now } from '../../../db/clock.ts'
import type { Message } from '../destination.ts'
import { DeliveryError } from '../errors.ts'
import { fillTemplate } from '../template/placeholders.ts'
import { type AmqpConfig, headerBytes, headerInteger64, MAX_HEADER_BYTES, SHORT_BYTES } from './config.ts'

const compress = promisify(gzip)

export interface Route {
  exchange: string
  routing_key: string
}

/** @throws DeliveryError MISCONFIGURED for a name that becomes empty or too long, or contains a control character */
export function routeOf({ queue, exchange = '', routing_key = '' }: AmqpConfig, message: Message): Route {
  // Every queue is bound to the default exchange, which has no name, by the queue's name.
  if (queue !== undefined) return { exchange: '', routing_key: name('queue', queue, message) }
  return { exchange: name('exchange', exchange, message), routing_key: filled('routing_key', routing_key, message) }
}

/** An empty name is the default exchange, where the routing key could select any queue. */
function name(field: string, template: string, message: Message): string {
  const text = filled(field, template, message)
  if (text === '') throw new DeliveryError('MISCONFIGURED', `${field} becomes empty`)
  return text
}

function filled(field: string, template: string, message: Message): string {
  const text = fillTemplate(template, message, (value, placeholder) => {
    if (/\p{Cc}/u.test(value)) {
      throw new DeliveryError('MISCONFIGURED', `{${placeholder}} puts a control character into ${field}`)
    }
    return value
  })
  if (Buffer.byteLength(text) > SHORT_BYTES) {
    throw new DeliveryError('MISCONFIGURED', `${field} becomes longer than ${SHORT_BYTES} bytes`)
  }
  return text
}

/** The bytes to send and their properties. A repeat has the same `message_id`. */
export async function contentOf(
  config: AmqpConfig,
  message: Message,
): Promise<{ body: Buffer; properties: Options.Publish }> {
  const zipped = config.compression === 'gzip' || message.compression === 'gzip'
  const { tenant_id, distribution_id, delivery_id, data_type, attempt_number } = message
  const properties: Options.Publish = {
    messageId: delivery_id,
    correlationId: distribution_id,
    type: data_type,
    appId: config.app_id,
    // In seconds, as the protocol requires.
    timestamp: Math.floor(now() / 1000),
    contentType: message.content_type,
    ...(zipped && { contentEncoding: 'gzip' }),
    persistent: config.persistent,
    ...(config.priority !== undefined && { priority: config.priority }),
    ...(config.expiration_ms !== undefined && { expiration: String(config.expiration_ms) }),
    headers: {
      ...headersOf(config, message),
      tenant_id,
      distribution_id,
      data_type,
      attempt_number: typed(attempt_number),
    },
  }
  return { body: zipped ? await compress(message.body) : message.body, properties }
}

type Header = string | boolean | TypedNumber

/** amqplib would choose the smallest type that fits, and other clients read some of those differently. */
type TypedNumber = { '!': 'int'; value: number } | { '!': 'long'; value: bigint } | { '!': 'double'; value: number }

function headersOf({ headers }: AmqpConfig, message: Message): Record<string, Header> {
  const entries = Object.entries(headers).map(([key, value]): [string, string | number | bigint | boolean] => [
    key,
    typeof value === 'object'
      ? integer(key, fillTemplate(value.integer, message))
      : typeof value === 'string'
        ? fillTemplate(value, message)
        : value,
  ])
  if (headerBytes(entries) > MAX_HEADER_BYTES) {
    throw new DeliveryError('MISCONFIGURED', `headers become larger than ${MAX_HEADER_BYTES} bytes`)
  }
  return Object.fromEntries(
    entries.map(([key, value]): [string, Header] => [
      key,
      typeof value === 'number' || typeof value === 'bigint' ? typed(value) : value,
    ]),
  )
}

function integer(key: string, text: string): bigint {
  const value = headerInteger64(text)
  if (value === undefined) {
    throw new DeliveryError(
      'MISCONFIGURED',
      `the header "${key}" becomes something other than a whole number of 64 bits`,
    )
  }
  return value
}

/** Signed numbers of 32 and 64 bits, and doubles: all clients read these types in the same way. */
function typed(value: number | bigint): TypedNumber {
  if (typeof value === 'number' && !Number.isInteger(value)) return { '!': 'double', value }
  const whole = BigInt(value)
  return BigInt.asIntN(32, whole) === whole ? { '!': 'int', value: Number(whole) } : { '!': 'long', value: whole }
}
