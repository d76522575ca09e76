// The only list of the protocols; the rest of the product looks them up here.
import type { Protocol } from '../../db/states.ts'
import { builtIn } from './built-in.ts'
import type { Destination } from './destination.ts'
import { DeliveryError } from './errors.ts'
import { targetText } from './network/target.ts'
import { toJsonSchema } from './secrets/secret.ts'

// The types of the configurations are erased here: a configuration is checked against the schema before it is used.
const destinations = new Map(builtIn.map((each) => [each.protocol, each as unknown as Destination]))

export const PROTOCOLS: readonly Protocol[] = [...destinations.keys()]

/** Undefined for a protocol that this program does not have. Rows may name one: a newer version may have written them. */
export function findProtocol(protocol: Protocol): Destination | undefined {
  return destinations.get(protocol)
}

/** @throws DeliveryError MISCONFIGURED for a protocol that this program does not have */
export function destinationFor(protocol: Protocol): Destination {
  const destination = destinations.get(protocol)
  if (!destination) throw new DeliveryError('MISCONFIGURED', unsupported(protocol))
  return destination
}

export function unsupported(protocol: Protocol): string {
  return `This version of the Distributor does not support the protocol ${JSON.stringify(protocol)}`
}

/**
 * The key under which circuits, limits and slots of an inline destination are counted; null if the configuration is not
 * valid, because nothing is ever sent with it.
 */
export function inlineTarget(protocol: Protocol, configuration: Record<string, unknown>): string | null {
  const destination = findProtocol(protocol)
  const parsed = destination?.config.safeParse(configuration)
  const target = parsed?.success ? destination!.target(parsed.data) : undefined
  return target ? targetText(protocol, target) : null
}

/** The JSON schema of a protocol's configuration, in the form that clients send. */
export function configSchema(protocol: Protocol): Record<string, unknown> {
  return toJsonSchema(destinationFor(protocol).config)
}
