// Checks the destinations of a submission one by one, and collects every problem with its path.

import { DeliveryError } from '../../activities/destinations/errors.ts'
import { isLocalhost } from '../../activities/destinations/network/addresses.ts'
import type { Egress } from '../../activities/destinations/network/egress.ts'
import type { Target } from '../../activities/destinations/network/target.ts'
import { destinationFor, findProtocol, PROTOCOLS } from '../../activities/destinations/registry.ts'
import { reachedHosts } from '../../activities/destinations/secrets/secret.ts'
import { findLiteralSecrets, findReservedReferences } from '../../activities/destinations/secrets/storage.ts'
import { createPace } from '../../activities/document/time-slices.ts'
import type { SubmittedDestination } from '../../db/distributions/submitted.ts'
import { LIMITS } from '../../db/limits.ts'
import type { Protocol } from '../../db/states.ts'
import type { KnownDestinations } from '../destinations/known.ts'
import type { Detail } from '../http/errors.ts'
import { fieldPath } from '../http/json.ts'
import { NAME } from '../schemas/fields.ts'
import { didYouMean, issuesOf } from '../schemas/issues.ts'
import { maxRetries } from '../schemas/submission.ts'

export interface CheckedEntries {
  /** As they are stored; complete only when `details` is empty. */
  destinations: SubmittedDestination[]
  details: Detail[]
  /**
   * All names, to be looked up among the registered destinations. An inline destination has its protocol if that is valid.
   */
  named: { name: string; index: number; inline: boolean; protocol: Protocol | undefined }[]
}

/** The checks that need no database. */
export async function checkEntries(entries: readonly unknown[], egress: Egress): Promise<CheckedEntries> {
  const checked: CheckedEntries = { destinations: [], details: [], named: [] }
  const seen = new Map<string, number>()
  const pace = createPace()
  for (const [index, entry] of entries.entries()) {
    await pace()
    const inline = typeof entry !== 'string'
    const found = inline ? inlineEntry(entry, index, egress) : { details: [], destination: { name: entry } }
    checked.details.push(...found.details)
    const name = found.destination?.name
    if (name === undefined) continue
    const at = ['destinations', index, ...(inline ? ['name'] : [])]
    const first = seen.get(name)
    if (!NAME.test(name)) {
      checked.details.push({ field: fieldPath(at), issue: 'must be 1 to 100 letters, digits, _ or -' })
    } else if (first !== undefined) {
      checked.details.push({ field: fieldPath(at), issue: `has the same name as destinations[${first}]` })
    } else {
      seen.set(name, index)
      checked.named.push({ name, index, inline, protocol: found.destination?.protocol })
    }
    if (found.destination) checked.destinations.push(found.destination)
  }
  return checked
}

/** Checks the names against the tenant's registered destinations. */
export function checkNames(
  named: CheckedEntries['named'],
  known: KnownDestinations,
  compression: 'none' | 'gzip',
): Detail[] {
  return named.flatMap(({ name, index, inline, protocol }): Detail[] => {
    const found = known.found.get(name)
    const usable = found && !found.deleted ? found : undefined
    if (inline) {
      const field = fieldPath(['destinations', index, 'name'])
      const issue = 'is the name of a registered destination: use that name as a string, or choose another name'
      const own = protocol
        ? compressionIssue(protocol, fieldPath(['destinations', index, 'protocol']), compression)
        : []
      return [...(usable ? [{ field, issue }] : []), ...own]
    }
    const field = fieldPath(['destinations', index])
    if (!found) {
      const meant = didYouMean(known.meant.get(name))
      return [{ field, issue: `no destination is registered as ${JSON.stringify(name)}${meant}` }]
    }
    if (!usable) return [{ field, issue: `the destination ${JSON.stringify(name)} was deleted` }]
    if (usable.status === 'inactive') return [{ field, issue: `the destination ${JSON.stringify(name)} is disabled` }]
    return compressionIssue(usable.protocol, field, compression)
  })
}

function compressionIssue(protocol: Protocol, field: string, compression: 'none' | 'gzip'): Detail[] {
  return compression === 'none' || findProtocol(protocol)?.gzip
    ? []
    : [{ field, issue: `${protocol} does not support options.compression "gzip"` }]
}

// Created once: creating a schema costs more than using it, and there may be 1000 entries.
const ownRetries = maxRetries.nullish()

const ONLY_REGISTERED =
  'is available for registered destinations only: register the destination, and use its name as a string'
/** Fields of a registration that no protocol has in its configuration. */
const NOT_INLINE = {
  configuration: 'does not exist in an inline destination: put its fields next to name and protocol',
  transform_config: ONLY_REGISTERED,
  health_check_config: ONLY_REGISTERED,
  circuit_breaker: ONLY_REGISTERED,
  auto_disable: ONLY_REGISTERED,
  rate_limit: ONLY_REGISTERED,
  max_concurrency: ONLY_REGISTERED,
}

interface InlineEntry {
  details: Detail[]
  destination?: SubmittedDestination
}

function inlineEntry(entry: unknown, index: number, egress: Egress): InlineEntry {
  const at: PropertyKey[] = ['destinations', index]
  const fault = (path: PropertyKey[], issue: string): Detail => ({ field: fieldPath([...at, ...path]), issue })
  if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) {
    return { details: [fault([], 'must be the name of a registered destination, or an object')] }
  }
  const { name, protocol, max_retries, ...configuration } = entry as Record<string, unknown>
  const details: Detail[] = []
  if (typeof name !== 'string') details.push(fault(['name'], name === undefined ? 'is required' : 'must be a string'))
  const retries = ownRetries.safeParse(max_retries)
  if (!retries.success) details.push(...issuesOf(ownRetries, retries.error, [...at, 'max_retries']))
  const known = readProtocol(protocol)
  if ('issue' in known) details.push(fault(['protocol'], known.issue))
  else {
    for (const [key, issue] of Object.entries(NOT_INLINE)) {
      if (!Object.hasOwn(configuration, key)) continue
      details.push(fault([key], issue))
      delete configuration[key]
    }
    details.push(...configurationIssues(known.protocol, configuration, at, egress, { literals: false }))
  }
  if (typeof name !== 'string') return { details }
  if ('issue' in known) return { details, destination: { name } }
  return { details, destination: { name, protocol: known.protocol, configuration, max_retries: retries.data ?? null } }
}

/** A supported protocol, or the problem. */
export function readProtocol(given: unknown): { protocol: Protocol } | { issue: string } {
  if (given === undefined) {
    return { issue: 'is required in an inline destination; for a registered destination, use its name as a string' }
  }
  const protocol = PROTOCOLS.find((one) => one === given)
  if (!protocol) return { issue: `must be one of ${PROTOCOLS.join(', ')}` }
  return { protocol }
}

/** All problems of a configuration. `literals`: plain-text secrets are allowed, because they will be encrypted. */
export function configurationIssues(
  protocol: Protocol,
  configuration: unknown,
  at: readonly PropertyKey[],
  egress: Egress,
  options: { literals: boolean },
): Detail[] {
  if (hasMoreValues(configuration, LIMITS.configurationValues.value)) {
    return [{ field: fieldPath(at), issue: `has more than ${LIMITS.configurationValues.value} values` }]
  }
  const schema = destinationFor(protocol).config
  const parsed = schema.safeParse(configuration)
  const details = parsed.success ? [] : issuesOf(schema, parsed.error, [...at])
  const below = (path: string) => `${fieldPath(at)}.${path}`
  if (!options.literals) {
    for (const path of findLiteralSecrets(schema, configuration)) {
      details.push({
        field: below(path),
        issue: 'contains a plain-text secret; use {"secret": "credential.field"}',
      })
    }
  }
  for (const path of findReservedReferences(schema, configuration)) {
    details.push({ field: below(path), issue: 'refers to a secret that belongs to a registered destination' })
  }
  if (!parsed.success) return details
  const forbidden = unreachable(schema, configuration, at, egress)
  const own = forbidden.length > 0 ? undefined : forbiddenTarget(destinationFor(protocol).target(parsed.data), egress)
  return [...details, ...forbidden, ...(own ? [{ field: targetField(schema, configuration, at), issue: own }] : [])]
}

/** The field that names the server; other hosts, such as a token endpoint, come after it. */
function targetField(schema: Parameters<typeof reachedHosts>[0], value: unknown, at: readonly PropertyKey[]): string {
  return fieldPath([...at, ...(reachedHosts(schema, value)[0]?.path ?? [])])
}

/** Counts objects, arrays and single values, and stops at the limit. */
function hasMoreValues(root: unknown, most: number): boolean {
  const open = [root]
  let count = 1
  for (let value = open.pop(); value !== undefined; value = open.pop()) {
    if (typeof value !== 'object' || value === null) continue
    const inner = Object.values(value)
    count += inner.length
    if (count > most) return true
    open.push(...inner)
  }
  return false
}

/** Addresses that deliveries must not reach. Host names are checked when a connection is opened. */
function unreachable(
  schema: Parameters<typeof reachedHosts>[0],
  value: unknown,
  at: readonly PropertyKey[],
  egress: Egress,
): Detail[] {
  return reachedHosts(schema, value).flatMap(({ path, host }) => {
    const issue = forbiddenHost(host, egress)
    return issue ? [{ field: fieldPath([...at, ...path]), issue }] : []
  })
}

/** The problem of a host, without a DNS lookup. */
export function forbiddenHost(host: string, egress: Egress): string | undefined {
  const forbidden = refuses(() => egress.assertHost(isLocalhost(host) ? '127.0.0.1' : host))
  return forbidden
    ? 'is a private or otherwise forbidden address; the operator can allow networks with the setting EGRESS_ALLOW'
    : undefined
}

/** The problem of a server, without a DNS lookup. */
export function forbiddenTarget(target: Target | undefined, egress: Egress): string | undefined {
  if (!target) return 'contains no usable host'
  const own = refuses(() => egress.assertNotOwn(target.host, target.port))
  return own ? 'is a server of the Distributor itself' : undefined
}

function refuses(check: () => void): boolean {
  try {
    check()
    return false
  } catch (error) {
    if (!(error instanceof DeliveryError)) throw error
    return true
  }
}
