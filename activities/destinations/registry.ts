// What the rest of the product asks about protocols. Nobody else has a list of them.
import type { Protocol } from '../../db/states.ts'
import { builtIn } from './built-in.ts'
import type { Destination } from './destination.ts'
import { targetText } from './network/target.ts'
import { toJsonSchema } from './secrets/secret.ts'

// The types of their configurations are forgotten: a configuration is checked against the schema before it is used.
const destinations = new Map(builtIn.map((each) => [each.protocol, each as unknown as Destination]))

export const PROTOCOLS: readonly Protocol[] = [...destinations.keys()]

/** @throws Error for a protocol that this program does not have */
export function destinationFor(protocol: Protocol): Destination {
  const destination = destinations.get(protocol)
  if (!destination) throw new Error(`this program has no protocol ${JSON.stringify(protocol)}`)
  return destination
}

/**
 * What circuits, limits and shares of an inline destination are counted by; null where the configuration is not valid, so
 * that nothing is ever sent by it.
 */
export function inlineTarget(protocol: Protocol, configuration: Record<string, unknown>): string | null {
  // A row that was written by hand may name any protocol.
  const destination = destinations.get(protocol)
  const parsed = destination?.config.safeParse(configuration)
  const target = parsed?.success ? destination!.target(parsed.data) : undefined
  return target ? targetText(protocol, target) : null
}

/** The JSON schema of a protocol's configuration, as callers may send it. */
export function configSchema(protocol: Protocol): Record<string, unknown> {
  return toJsonSchema(destinationFor(protocol).config)
}
