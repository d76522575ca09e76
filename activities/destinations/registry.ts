// The protocols that are built in. Explicit, so that the compiler names what is missing.
import type { Protocol } from '../../db/states.ts'
import { amqp } from './amqp/index.ts'
import type { Destination } from './destination.ts'
import { email } from './email/index.ts'
import { jdbc } from './jdbc/index.ts'
import { targetText } from './network/target.ts'
import { rest } from './rest/index.ts'
import { s3 } from './s3/index.ts'
import { toJsonSchema } from './secrets/secret.ts'
import { sftp } from './sftp/index.ts'

export const destinations = { REST: rest, AMQP: amqp, JDBC: jdbc, S3: s3, SFTP: sftp, EMAIL: email } satisfies Record<
  Protocol,
  Destination
>

/** Its own types are forgotten: a configuration is checked against the schema before it is used. */
export function destinationFor(protocol: Protocol): Destination {
  return destinations[protocol] as unknown as Destination
}

/**
 * What circuits, limits and shares of an inline destination are counted by; null where the configuration is not valid, so
 * that nothing is ever sent by it.
 */
export function inlineTarget(protocol: Protocol, configuration: Record<string, unknown>): string | null {
  // A row that was written by hand may name any protocol.
  const destination = Object.hasOwn(destinations, protocol) ? destinationFor(protocol) : undefined
  const parsed = destination?.config.safeParse(configuration)
  const target = parsed?.success ? destination!.target(parsed.data) : undefined
  return target ? targetText(protocol, target) : null
}

/** The JSON schema of a protocol's configuration, as callers may send it. */
export function configSchema(protocol: Protocol): Record<string, unknown> {
  return toJsonSchema(destinations[protocol].config)
}
