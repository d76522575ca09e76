// The protocols that are built in. Explicit, so that the compiler names what is missing.
import type { Protocol } from '../../db/states.ts'
import { amqp } from './amqp.ts'
import type { Destination } from './destination.ts'
import { email } from './email.ts'
import { jdbc } from './jdbc.ts'
import { rest } from './rest.ts'
import { s3 } from './s3.ts'
import { toJsonSchema } from './secret.ts'
import { sftp } from './sftp.ts'

export const destinations = { REST: rest, AMQP: amqp, JDBC: jdbc, S3: s3, SFTP: sftp, EMAIL: email } satisfies Record<
  Protocol,
  Destination
>

export type AvailableProtocol = keyof typeof destinations
export const AVAILABLE_PROTOCOLS = Object.keys(destinations) as [AvailableProtocol, ...AvailableProtocol[]]

/** The destination of a protocol; undefined when it is not built in. */
export function destinationFor(protocol: string): Destination | undefined {
  return Object.hasOwn(destinations, protocol)
    ? (destinations[protocol as AvailableProtocol] as unknown as Destination)
    : undefined
}

/** The JSON schema of a protocol's configuration, as callers may send it. */
export function configSchema(protocol: AvailableProtocol): Record<string, unknown> {
  return toJsonSchema(destinations[protocol].config)
}
