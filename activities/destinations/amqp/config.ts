// The configuration of an AMQP destination: its validation, type, masking and published JSON schema.
import { z } from 'zod'
import { host, statesTls, template, timeoutSeconds, tls } from '../fields.ts'
import { configuration, credentialField, deciding, type Resolved, secret } from '../secrets/secret.ts'
import { refuseOwned } from '../template/owned-names.ts'
import { hasPlaceholders, literalText } from '../template/placeholders.ts'
import { amqpHeaderProblem } from './owned-headers.ts'

/** Names and routing keys are "short strings" in the protocol; their length is counted in UTF-8 bytes. */
export const SHORT_BYTES = 255

/** All headers are sent in one frame, whose size brokers limit. */
export const MAX_HEADER_BYTES = 32 * 1024

/** RabbitMQ reads a message's time to live as a 32-bit number of milliseconds. */
const MAX_EXPIRATION_MS = 4_294_967_295

const headerName = z
  .string()
  .regex(/^[\x21-\x7e]{1,128}$/, 'must be 1 to 128 printable ASCII characters')
  .superRefine(refuseOwned(amqpHeaderProblem))

const short = () =>
  z
    .string()
    .min(1)
    .refine((text) => Buffer.byteLength(text) <= SHORT_BYTES, `must be at most ${SHORT_BYTES} bytes`)

/** Checks the fixed part: no value of a placeholder makes it shorter. */
const shortTemplate = () =>
  template(1024).refine(
    (text) => Buffer.byteLength(literalText(text)) <= SHORT_BYTES,
    `must be at most ${SHORT_BYTES} bytes`,
  )

type HeaderValue = string | number | boolean | { integer: string }

export function headerBytes(entries: [string, string | number | bigint | boolean][]): number {
  return entries.reduce((sum, [key, value]) => sum + key.length + Buffer.byteLength(String(value)), 0)
}

/** JSON parsers, including ours, may change a whole number beyond 2^53 before this check. */
const headerNumber = z
  .number()
  .refine(
    (value) => !Number.isInteger(value) || Number.isSafeInteger(value),
    'is a whole number beyond 2^53, which JSON parsers may change: write it as {"integer": "9007199254740993"}, with up to 64 bits',
  )

const headerInteger = z.strictObject({
  integer: template(1024)
    .refine(
      (text) => hasPlaceholders(text) || headerInteger64(text) !== undefined,
      'must be a whole number of 64 bits: -9223372036854775808 to 9223372036854775807',
    )
    .describe('A whole number of 64 bits, written as a text; may be a placeholder'),
})

/** @returns undefined for a text that is not a whole number of 64 bits */
export function headerInteger64(text: string): bigint | undefined {
  if (!/^-?\d{1,19}$/.test(text)) return undefined
  const value = BigInt(text)
  return BigInt.asIntN(64, value) === value ? value : undefined
}

function shortestOf(value: HeaderValue): string | number | boolean {
  if (typeof value === 'object') return literalText(value.integer)
  return typeof value === 'string' ? literalText(value) : value
}

const headers = z
  .record(headerName, z.union([template(8192), headerNumber, z.boolean(), headerInteger]))
  .refine(
    (given) => headerBytes(Object.entries(given).map(([key, value]) => [key, shortestOf(value)])) <= MAX_HEADER_BYTES,
    `must be at most ${MAX_HEADER_BYTES} bytes in all`,
  )

export const amqpConfig = configuration({
  host: host(),
  port: deciding(z.int().min(1).max(65535)).optional().describe('TCP port; by default 5671 with TLS and 5672 without'),
  security: deciding(z.enum(['tls', 'none']))
    .default('tls')
    .describe('`none` sends password and messages in plain text'),
  tls: tls(),
  vhost: short()
    .default('/')
    .describe(
      'Virtual host, not percent-encoded: `/name`, not `%2Fname`. A missing or forbidden one is MISCONFIGURED and retried, because RabbitMQ gives the same error when a virtual host or user has reached its limit of connections or channels',
    ),
  username: credentialField().describe('User name'),
  password: secret().describe('Password'),
  exchange: shortTemplate()
    .min(1)
    .optional()
    .describe(
      'Exchange to publish to; give this or `queue`. It may hold placeholders. A missing one is MISCONFIGURED and final. A message that reaches no queue is REJECTED and retried, because a queue may be created later',
    ),
  routing_key: shortTemplate()
    .optional()
    .describe(
      'Routing key, with `exchange`; it may hold placeholders, and a dot in a value separates words like any other dot. Empty by default',
    ),
  queue: shortTemplate()
    .min(1)
    .optional()
    .describe(
      'Queue to publish to, through the default exchange; it may hold placeholders. A missing one is REJECTED and retried',
    ),
  headers: headers
    .default({})
    .describe(
      'Message headers: texts (which may hold placeholders), numbers, `true` and `false`. A whole number beyond 2^53, or one from a placeholder, is written as `{"integer": "9007199254740993"}`. Whole numbers are sent in 32 bits if they fit, else in 64 (old versions of Celery read a negative one of 64 bits as unsigned)',
    ),
  persistent: z.boolean().default(true).describe('Durable queues keep the message when the broker restarts'),
  priority: z.int().min(0).max(255).optional().describe('Priority, for priority queues'),
  expiration_ms: z
    .int()
    .min(1)
    .max(MAX_EXPIRATION_MS)
    .optional()
    .describe('The broker drops the message after this time in a queue'),
  app_id: short().default('Distributor').describe('`app_id` of the message'),
  compression: z.enum(['none', 'gzip']).default('none').describe('`gzip` also sets `content_encoding`'),
  heartbeat_seconds: z
    .int()
    .min(1)
    .max(600)
    .default(20)
    .describe('Interval of heartbeats; two to three without data end the connection. The broker may ask for less'),
  timeout_seconds: timeoutSeconds(),
}).superRefine((value, context) => {
  const issue = (field: string, message: string) => context.addIssue({ code: 'custom', path: [field], message })
  if (value.queue === undefined && value.exchange === undefined) {
    issue('exchange', 'is required: state an "exchange" (with "routing_key") or a "queue"')
  }
  if (value.queue !== undefined && value.exchange !== undefined) {
    issue('queue', 'cannot be used together with "exchange": state only one of them')
  } else if (value.queue !== undefined && value.routing_key !== undefined) {
    issue('routing_key', 'has no meaning with "queue": leave it out, or state an "exchange"')
  }
  if (value.security === 'none' && statesTls(value.tls)) {
    issue('tls', 'has no meaning with "security": "none"')
  }
})

const PORTS = { tls: 5671, none: 5672 } as const

export function portOf({ port, security }: Pick<AmqpConfig, 'port' | 'security'>): number {
  return port ?? PORTS[security]
}

export type AmqpConfig = Resolved<z.output<typeof amqpConfig>>
