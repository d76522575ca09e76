// Limits credentials to hosts. Without `allowed_hosts`, the first registered destination that uses a credential decides the
// hosts. Any other host needs `allowed_hosts`, and the secret must be sent again.

import { findProtocol } from '../../activities/destinations/registry.ts'
import { covers, coversEntry, hostName } from '../../activities/destinations/secrets/allowed-hosts.ts'
import { formatPath, isReserved, type Path, reachedHosts } from '../../activities/destinations/secrets/secret.ts'
import { secretReferences } from '../../activities/destinations/secrets/storage.ts'
import { bindCredential, type CredentialRow, findCredential } from '../../db/destinations/credentials.ts'
import { configurationsUsing, type DestinationRow } from '../../db/destinations/destinations.ts'
import type { Db } from '../../db/pool.ts'
import { type Detail, invalid } from '../http/errors.ts'

type Configured = Pick<DestinationRow, 'protocol' | 'configuration'>

/**
 * Checks that the credentials of a registered destination may be sent to its hosts, and sets the hosts of those that have
 * none. Call it before the destination is written. Throws a 400 for a host that is not allowed. A credential that is not
 * stored is only a warning: it may be stored later, and the workers may have it in their environment.
 */
export async function bindCredentials(db: Db, destination: Configured): Promise<{ warnings?: string[] }> {
  const details: Detail[] = []
  const warnings: string[] = []
  const reached = hostsOf(destination)
  // Sorted by name: two requests lock them in the same order.
  for (const name of namesIn(destination)) {
    const row = await findCredential(db, name, { forUpdate: true })
    if (!row) {
      warnings.push(
        `no credential named ${JSON.stringify(name)} is stored; until it is, or the workers have it in their environment, deliveries fail`,
      )
      continue
    }
    const bound = row.allowed_hosts ?? row.registered_hosts ?? (await registeredHosts(db, name))
    const beyond = bound === null ? [] : reached.filter(({ host }) => !covers(bound, host))
    details.push(...beyond.map((place) => notBound(name, bound!, place)))
    if (beyond.length > 0 || row.allowed_hosts !== null) continue
    const registered_hosts = bound ?? distinct(reached.map(({ host }) => host))
    if (row.registered_hosts === null) await bindCredential(db, name, { allowed_hosts: null, registered_hosts })
  }
  if (details.length > 0) throw invalid(details)
  return warnings.length > 0 ? { warnings } : {}
}

/** Stores the hosts of credentials without `allowed_hosts`, before a destination that uses them is deleted. */
export async function keepHosts(db: Db, destination: Configured): Promise<void> {
  for (const name of namesIn(destination)) {
    const row = await findCredential(db, name, { forUpdate: true })
    if (!row || row.allowed_hosts !== null || row.registered_hosts !== null) continue
    await bindCredential(db, name, { allowed_hosts: null, registered_hosts: await registeredHosts(db, name) })
  }
}

/** The hosts of all registered destinations that use a credential; null if there are none. */
export async function registeredHosts(db: Db, name: string): Promise<string[] | null> {
  const users = await configurationsUsing(db, name)
  return users.length === 0 ? null : distinct(users.flatMap(hostsOf).map(({ host }) => host))
}

/** Entries that are not allowed yet: to add them, the secret must be sent again. */
export function newEntries(row: CredentialRow, entries: readonly string[]): string[] {
  const bound = row.allowed_hosts ?? row.registered_hosts ?? []
  return entries.filter((entry) => !coversEntry(bound, entry))
}

function namesIn({ protocol, configuration }: Configured): string[] {
  const known = findProtocol(protocol)
  return known ? secretReferences(known.config, configuration).filter((name) => !isReserved(name)) : []
}

/**
 * Also works if the stored configuration does not match the present schema. The hosts of an unknown protocol are unknown,
 * so it allows none.
 */
function hostsOf({ protocol, configuration }: Configured): { path: Path; host: string }[] {
  const config = findProtocol(protocol)?.config
  if (!config) return []
  const parsed = config.safeParse(configuration)
  return reachedHosts(config, parsed.success ? parsed.data : configuration).map(({ path, host }) => ({
    path,
    host: hostName(host) || host,
  }))
}

function notBound(name: string, bound: readonly string[], { path, host }: { path: Path; host: string }): Detail {
  const hosts = bound.length === 0 ? 'no host' : bound.slice(0, 5).join(', ') + (bound.length > 5 ? ', …' : '')
  return {
    field: `configuration.${formatPath(path)}`,
    issue: `is a host that the credential "${name}" must not be sent to (allowed: ${hosts}); to allow "${host}", send PUT /api/v1/credentials/${name} with its fields and "allowed_hosts"`,
  }
}

function distinct(hosts: string[]): string[] {
  return [...new Set(hosts)].sort()
}
