// Binds credentials to hosts. One without `allowed_hosts` learns the hosts of the registered destinations that use it: the
// admin who registers the first one chooses them. Any other host needs `allowed_hosts`, and the secret once more.

import { destinationFor } from '../../activities/destinations/registry.ts'
import { covers, coversEntry, hostName } from '../../activities/destinations/secrets/allowed-hosts.ts'
import { formatPath, isReserved, type Path, reachedHosts } from '../../activities/destinations/secrets/secret.ts'
import { secretReferences } from '../../activities/destinations/secrets/storage.ts'
import { bindCredential, type CredentialRow, findCredential } from '../../db/destinations/credentials.ts'
import { configurationsUsing, type DestinationRow } from '../../db/destinations/destinations.ts'
import type { Db } from '../../db/pool.ts'
import { type Detail, invalid } from '../http/errors.ts'

type Configured = Pick<DestinationRow, 'protocol' | 'configuration'>

/**
 * Checks that the credentials of a registered destination may be sent to its hosts, and lets those without hosts learn
 * them. Call it before the destination is written. Throws a 400 for a host that a credential is not bound to.
 */
export async function bindCredentials(db: Db, destination: Configured): Promise<void> {
  const details: Detail[] = []
  const reached = hostsOf(destination)
  // Sorted by name: two requests lock them in the same order.
  for (const name of namesIn(destination)) {
    const row = await findCredential(db, name, { forUpdate: true })
    if (!row) continue
    const bound = row.allowed_hosts ?? row.registered_hosts ?? (await registeredHosts(db, name))
    const beyond = bound === null ? [] : reached.filter(({ host }) => !covers(bound, host))
    details.push(...beyond.map((place) => notBound(name, bound!, place)))
    if (beyond.length > 0 || row.allowed_hosts !== null) continue
    const registered_hosts = bound ?? distinct(reached.map(({ host }) => host))
    if (row.registered_hosts === null) await bindCredential(db, name, { allowed_hosts: null, registered_hosts })
  }
  if (details.length > 0) throw invalid(details)
}

/** Keeps what credentials without `allowed_hosts` have learnt, before the destination that taught it is gone. */
export async function keepHosts(db: Db, destination: Configured): Promise<void> {
  for (const name of namesIn(destination)) {
    const row = await findCredential(db, name, { forUpdate: true })
    if (!row || row.allowed_hosts !== null || row.registered_hosts !== null) continue
    await bindCredential(db, name, { allowed_hosts: null, registered_hosts: await registeredHosts(db, name) })
  }
}

/** The hosts of all registered destinations that use a credential; null when none does. */
export async function registeredHosts(db: Db, name: string): Promise<string[] | null> {
  const users = await configurationsUsing(db, name)
  return users.length === 0 ? null : distinct(users.flatMap(hostsOf).map(({ host }) => host))
}

/** The entries that a credential is not bound to yet: whoever adds them has to know its values. */
export function newEntries(row: CredentialRow, entries: readonly string[]): string[] {
  const bound = row.allowed_hosts ?? row.registered_hosts ?? []
  return entries.filter((entry) => !coversEntry(bound, entry))
}

function namesIn({ protocol, configuration }: Configured): string[] {
  return secretReferences(destinationFor(protocol).config, configuration).filter((name) => !isReserved(name))
}

/** Also of one that today's schema refuses: it is stored as it was valid once. */
function hostsOf({ protocol, configuration }: Configured): { path: Path; host: string }[] {
  const { config } = destinationFor(protocol)
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
