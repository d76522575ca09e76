// Named secrets of a tenant, sealed at rest: one JSON object of string fields each. Only `loadCredentials` returns their
// values.
import type { Db } from '../pool.ts'
import type { Sealer } from '../secrets.ts'

export interface CredentialRow {
  id: string
  name: string
  field_names: string[]
  allowed_hosts: string[] | null
  /** Hosts of the registered destinations that use it; null if `allowed_hosts` is given, or before the first use. */
  registered_hosts: string[] | null
  created_at: Date
  updated_at: Date
}

export interface NewCredential {
  tenant_id: string
  name: string
  fields: Record<string, string>
  allowed_hosts: string[] | null
  registered_hosts?: string[] | null
  /** The destination that was given this secret as a literal; null for a credential of its own. */
  destination_id: string | null
}

/** Adds a credential; null if `name` is taken, also by a request at the same time. */
export async function addCredential(db: Db, sealer: Sealer, credential: NewCredential): Promise<CredentialRow | null> {
  return (await writeCredential(db, sealer, credential, 'do nothing')) ?? null
}

const COLUMNS = 'id, name, field_names, allowed_hosts, registered_hosts, created_at, updated_at'

const REPLACE = `do update
        set sealed = excluded.sealed, field_names = excluded.field_names, allowed_hosts = excluded.allowed_hosts,
            registered_hosts = excluded.registered_hosts, updated_at = clock_timestamp()`

/** Adds a credential, or replaces the one of this name. */
export async function putCredential(db: Db, sealer: Sealer, credential: NewCredential): Promise<CredentialRow> {
  return (await writeCredential(db, sealer, credential, REPLACE))!
}

async function writeCredential(
  db: Db,
  sealer: Sealer,
  credential: NewCredential,
  onConflict: 'do nothing' | typeof REPLACE,
): Promise<CredentialRow | undefined> {
  const { tenant_id, name, fields } = credential
  const { rows } = await db.query<CredentialRow>(
    `insert into credentials (tenant_id, name, sealed, field_names, allowed_hosts, destination_id, registered_hosts)
     values ($1, $2, $3, $4, $5, $6, $7)
     on conflict (tenant_id, name) ${onConflict}
     returning ${COLUMNS}`,
    [
      tenant_id,
      name,
      sealer.seal(JSON.stringify(fields), sealingContext(tenant_id, name)),
      Object.keys(fields).sort(),
      credential.allowed_hosts,
      credential.destination_id,
      credential.registered_hosts ?? null,
    ],
  )
  return rows[0]
}

/**
 * A credential without its values; the secrets that belong to destinations are not found. `forUpdate` locks it until the
 * transaction ends.
 */
export async function findCredential(
  db: Db,
  name: string,
  options: { forUpdate?: boolean } = {},
): Promise<CredentialRow | null> {
  const { rows } = await db.query<CredentialRow>(
    `select ${COLUMNS}
       from credentials where name = $1 and destination_id is null ${options.forUpdate ? 'for update' : ''}`,
    [name],
  )
  return rows[0] ?? null
}

/** The tenant's own credentials by name, without their values. */
export async function listCredentials(db: Db): Promise<CredentialRow[]> {
  const { rows } = await db.query<CredentialRow>(
    `select ${COLUMNS}
       from credentials where destination_id is null order by name`,
  )
  return rows
}

/** Changes the hosts that a credential may be sent to, and keeps its values. */
export async function bindCredential(
  db: Db,
  name: string,
  hosts: { allowed_hosts: string[] | null; registered_hosts: string[] | null },
): Promise<CredentialRow> {
  const { rows } = await db.query<CredentialRow>(
    `update credentials set allowed_hosts = $2, registered_hosts = $3, updated_at = clock_timestamp()
      where name = $1 and destination_id is null returning ${COLUMNS}`,
    [name, hosts.allowed_hosts, hosts.registered_hosts],
  )
  return rows[0]!
}

/** False if no credential has this name. */
export async function deleteCredential(db: Db, name: string): Promise<boolean> {
  const { rowCount } = await db.query('delete from credentials where name = $1', [name])
  return rowCount === 1
}

/** A credential with its values; `allowed_hosts` null means the hosts of registered destinations. */
export interface OpenedCredential {
  fields: Record<string, string>
  allowed_hosts: string[] | null
}

/**
 * The tenant's credentials of these names with their values, by name; names that do not exist are left out.
 * Throws when a value cannot be unsealed (its key is not configured, or the row was moved).
 */
export async function loadCredentials(
  db: Db,
  sealer: Sealer,
  names: readonly string[],
): Promise<Map<string, OpenedCredential>> {
  if (names.length === 0) return new Map()
  const { rows } = await db.query<{
    tenant_id: string
    name: string
    sealed: string
    allowed_hosts: string[] | null
  }>('select tenant_id, name, sealed, allowed_hosts from credentials where name = any ($1)', [names])
  return new Map(
    rows.map(({ tenant_id, name, sealed, allowed_hosts }) => {
      const fields = JSON.parse(sealer.unseal(sealed, sealingContext(tenant_id, name))) as Record<string, string>
      return [name, { fields, allowed_hosts }]
    }),
  )
}

/** A sealed value can be decrypted only in its own row. */
function sealingContext(tenantId: string, name: string): string[] {
  return [tenantId, 'credentials', name]
}
