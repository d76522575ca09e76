// Credentials: named secrets that can be written but not read.
import {
  addCredential,
  bindCredential,
  type CredentialRow,
  deleteCredential,
  findCredential,
  listCredentials,
  putCredential,
} from '../../db/destinations/credentials.ts'
import { destinationsUsing } from '../../db/destinations/destinations.ts'
import type { Db } from '../../db/pool.ts'
import { newEntries, registeredHosts } from '../destinations/credential-hosts.ts'
import { endpoint } from '../http/endpoint.ts'
import { ApiError, invalid, nameTaken, notFound } from '../http/errors.ts'
import { refuseOneTooMany } from '../http/object-limits.ts'
import {
  credential,
  credentialList,
  credentialParams,
  credentialReplacement,
  newCredential,
} from '../schemas/administration.ts'

const tag = 'Credentials'
const MISSING = { 404: { description: 'The tenant has no such credential' } }
const entry = (action: string, name: string, details = {}) => ({
  action,
  resource_type: 'credential',
  resource_id: name,
  details,
})

export const add = endpoint({
  method: 'post',
  path: '/credentials',
  operation: 'createCredential',
  tag,
  summary: 'Create a credential',
  role: 'admin',
  body: newCredential,
  answers: {
    201: { description: 'Created; stored encrypted', schema: credential },
    409: { description: 'The name is taken (use PUT to replace the credential), or the tenant has reached its limit' },
  },
}).handle(async ({ deps, caller, transaction, audit, body }) => {
  const { tenant_id } = caller
  const { name, fields, allowed_hosts } = body
  const row = await transaction(async (db) => {
    const values = { tenant_id, name, fields, ...(await hostsFor(db, name, allowed_hosts)), destination_id: null }
    const made = await addCredential(db, deps.sealer, values)
    if (!made) throw nameTaken('credential', name)
    await refuseOneTooMany(db, tenant_id, 'credentials')
    await audit(db, entry('create', name, { field_names: made.field_names }))
    return made
  })
  return { status: 201, body: row }
})

export const list = endpoint({
  method: 'get',
  path: '/credentials',
  operation: 'listCredentials',
  tag,
  summary: 'List credentials, ordered by name, without values',
  role: 'viewer',
  answers: { 200: { description: 'All credentials of the tenant', schema: credentialList } },
}).handle(async ({ transaction }) => {
  return { status: 200, body: { credentials: await transaction(listCredentials) } }
})

export const show = endpoint({
  method: 'get',
  path: '/credentials/{name}',
  operation: 'getCredential',
  tag,
  summary: 'Get a credential, without values',
  role: 'viewer',
  params: credentialParams,
  answers: { 200: { description: 'The names of its fields', schema: credential }, ...MISSING },
}).handle(async ({ transaction, params }) => {
  const row = await transaction((db) => findCredential(db, params.name))
  if (!row) throw notFound('credential')
  return { status: 200, body: row }
})

export const replace = endpoint({
  method: 'put',
  path: '/credentials/{name}',
  operation: 'replaceCredential',
  tag,
  summary: 'Replace a credential',
  description:
    'Takes effect with the next attempt. Without `fields` the values stay, and `allowed_hosts` may then list only hosts that are already allowed.',
  role: 'admin',
  params: credentialParams,
  body: credentialReplacement,
  answers: { 200: { description: 'Replaced', schema: credential }, ...MISSING },
}).handle(async ({ deps, caller, transaction, audit, params: { name }, body: { fields, allowed_hosts } }) => {
  const row = await transaction(async (db) => {
    const present = await findCredential(db, name, { forUpdate: true })
    if (!present) throw notFound('credential')
    const hosts = await hostsFor(db, name, allowed_hosts)
    if (!fields) requireKnownHosts(present, allowed_hosts)
    const values = { tenant_id: caller.tenant_id, name, ...hosts, destination_id: null }
    const changed = fields
      ? await putCredential(db, deps.sealer, { ...values, fields })
      : await bindCredential(db, name, hosts)
    const { field_names } = changed
    await audit(db, entry('update', name, { ...(fields && { field_names }), allowed_hosts: changed.allowed_hosts }))
    return changed
  })
  return { status: 200, body: row }
})

export const remove = endpoint({
  method: 'delete',
  path: '/credentials/{name}',
  operation: 'deleteCredential',
  tag,
  summary: 'Delete a credential',
  role: 'admin',
  params: credentialParams,
  answers: { 204: { description: 'Deleted' }, 409: { description: 'A destination uses the credential' }, ...MISSING },
}).handle(async ({ transaction, audit, params: { name } }) => {
  await transaction(async (db) => {
    if (!(await findCredential(db, name))) throw notFound('credential')
    const users = await destinationsUsing(db, name)
    if (users.length > 0) throw inUse(users)
    await deleteCredential(db, name)
    await audit(db, entry('delete', name))
  })
  return { status: 204 }
})

/** Without `allowed_hosts`, the hosts of the registered destinations that use the credential are allowed. */
async function hostsFor(db: Db, name: string, allowedHosts: string[] | null | undefined) {
  if (allowedHosts) return { allowed_hosts: allowedHosts, registered_hosts: null }
  return { allowed_hosts: null, registered_hosts: await registeredHosts(db, name) }
}

/** Without the secret, `allowed_hosts` can only confirm or remove hosts. */
function requireKnownHosts(present: CredentialRow, allowedHosts: string[] | null | undefined): void {
  if (!allowedHosts) throw invalid([{ field: 'fields', issue: 'is required without "allowed_hosts"' }])
  const added = newEntries(present, allowedHosts)
  if (added.length === 0) return
  throw invalid([
    {
      field: 'fields',
      issue: `is required to allow ${added.join(', ')}: to send a secret to a new host, the request must contain it`,
    },
  ])
}

function inUse(users: string[]): ApiError {
  return new ApiError(
    'CONFLICT',
    'the credential is used by destinations',
    users.map((name) => ({ field: 'name', issue: `is used by destination ${name}` })),
  )
}
