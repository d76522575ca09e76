// The configuration of an AMQP destination: at once its validation, its type, its masking and its served JSON schema.
import { z } from 'zod'
import { host, statesTls, template, timeoutSeconds, tls } from '../fields.ts'
import { amqpHeaderProblem, refuseOwned } from '../owned-names.ts'
import { literalText } from '../placeholders.ts'
import { configuration, credentialField, deciding, type Resolved, secret } from '../secret.ts'

/** Names and routing keys are "short strings" in the protocol, counted in bytes of UTF-8. */
export const SHORT_BYTES = 255

/** All headers travel in one frame, for which brokers have a limit. */
export const MAX_HEADER_BYTES = 32 * 1024

/** A message's time to live is a 32-bit number of milliseconds for RabbitMQ. */
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

/** No message makes it shorter. */
const shortTemplate = () =>
  template(1024).refine(
    (text) => Buffer.byteLength(literalText(text)) <= SHORT_BYTES,
    `must be at most ${SHORT_BYTES} bytes`,
  )

type HeaderValue = string | number | boolean

export function headerBytes(entries: [string, HeaderValue][]): number {
  return entries.reduce((sum, [key, value]) => sum + key.length + Buffer.byteLength(String(value)), 0)
}

/** amqplib writes whole numbers as 64 bits. */
const headerNumber = z.number().min(-(2 ** 63), 'must fit into 64 bits')

const headers = z
  .record(headerName, z.union([template(8192), headerNumber, z.boolean()]))
  .refine(
    (given) =>
      headerBytes(
        Object.entries(given).map(([key, value]) => [key, typeof value === 'string' ? literalText(value) : value]),
      ) <= MAX_HEADER_BYTES,
    `must be at most ${MAX_HEADER_BYTES} bytes in all`,
  )

export const amqpConfig = configuration({
  host: host(),
  port: deciding(z.int().min(1).max(65535)).optional().describe('TCP port; left out: 5671 with TLS, 5672 without'),
  security: deciding(z.enum(['tls', 'none']))
    .default('tls')
    .describe('`none` sends password and messages in plain text'),
  tls: tls(),
  vhost: short()
    .default('/')
    .describe(
      'Virtual host, written as it is: `/name`, not `%2Fname`. One that is missing or not permitted is MISCONFIGURED, and tried again, for RabbitMQ says the same of a virtual host or user that has all the connections or channels that it may have',
    ),
  username: credentialField().describe('User name'),
  password: secret().describe('Password'),
  exchange: shortTemplate()
    .min(1)
    .optional()
    .describe(
      'Exchange to publish to, or `queue`; may hold placeholders. One that is missing is MISCONFIGURED and final; a message that it routes to no queue is REJECTED and tried again, for queues come and go',
    ),
  routing_key: shortTemplate()
    .optional()
    .describe('Beside `exchange`; may hold placeholders, whose dots part words like any other. Empty when left out'),
  queue: shortTemplate()
    .min(1)
    .optional()
    .describe(
      'Queue to publish to, through the default exchange; may hold placeholders. One that is missing is REJECTED and tried again',
    ),
  headers: headers.default({}).describe('Message headers; texts may hold placeholders'),
  persistent: z.boolean().default(true).describe('Durable queues keep the message over a restart of the broker'),
  priority: z.int().min(0).max(255).optional().describe('For priority queues'),
  expiration_ms: z
    .int()
    .min(1)
    .max(MAX_EXPIRATION_MS)
    .optional()
    .describe('The broker drops the message when it has waited for so long'),
  app_id: short().default('Distributor').describe('`app_id` of the message'),
  compression: z.enum(['none', 'gzip']).default('none').describe('`gzip` is stated as `content_encoding`'),
  heartbeat_seconds: z
    .int()
    .min(1)
    .max(600)
    .default(20)
    .describe('A broker that is silent for two to three times as long counts as gone; it may ask for less'),
  timeout_seconds: timeoutSeconds(),
}).superRefine((value, context) => {
  const issue = (field: string, message: string) => context.addIssue({ code: 'custom', path: [field], message })
  if (value.queue === undefined && value.exchange === undefined) {
    issue('exchange', 'is required: name an "exchange" (with "routing_key"), or a "queue"')
  }
  if (value.queue !== undefined && value.exchange !== undefined) {
    issue('queue', 'cannot stand beside "exchange": name one of them')
  } else if (value.queue !== undefined && value.routing_key !== undefined) {
    issue('routing_key', 'has no meaning beside "queue": leave it out, or name an "exchange"')
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
