// The worker fills the values of credentials into a configuration, for one attempt.
import { z } from 'zod'
import { DeliveryError } from '../errors.ts'
import { covers } from './allowed-hosts.ts'
import {
  formatPath,
  isReserved,
  MASK,
  mapSecrets,
  parseReference,
  type Resolved,
  reachedHosts,
  type SecretLeaf,
} from './secret.ts'

/** A decrypted credential. */
export interface Credential {
  fields: Record<string, string>
  /** Hosts that it may be sent to: a name, or `*.example.org` for all names below it; null: the hosts of registered destinations. */
  allowed_hosts: string[] | null
}

/**
 * Checks a stored configuration against the present schema, applies its defaults, and fills in every secret. A reference in
 * the field has priority over `credentials`; a credential of the tenant has priority over one of the environment.
 * @param credentials the credentials listed by `secretReferences`, by name
 * @param environment credentials that the operator gave to this tenant (environment-credentials.ts)
 * @param use every client that may submit can write an inline destination, so its credential needs `allowed_hosts`. For a
 *   registered destination an admin chose the host
 * @throws DeliveryError MISCONFIGURED that names the field and never a value
 */
export function resolveSecrets<Schema extends z.ZodType>(
  schema: Schema,
  configuration: unknown,
  credentials: ReadonlyMap<string, Credential>,
  environment: (name: string) => Credential | undefined = () => undefined,
  use: 'registered' | 'inline' = 'registered',
): Resolved<z.output<Schema>> {
  const parsed = z.safeParse(schema, configuration)
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!
    throw new DeliveryError('MISCONFIGURED', `${formatPath(issue.path) || 'configuration'}: ${issue.message}`)
  }
  const hosts = reachedHosts(schema, parsed.data)
  const general = (parsed.data as { credentials?: string }).credentials

  function field(leaf: SecretLeaf, name: string, fieldName: string): string | undefined {
    const credential = credentials.get(name) ?? (isReserved(name) ? undefined : environment(name))
    if (!credential) throw misconfigured(leaf, `the credential "${name}" does not exist`)
    if (!Object.hasOwn(credential.fields, fieldName)) return undefined
    const { allowed_hosts } = credential
    if (allowed_hosts === null && use === 'inline') throw misconfigured(leaf, unboundProblem(name))
    const beyond = allowed_hosts && hosts.find(({ host }) => !covers(allowed_hosts, host))
    if (beyond) {
      throw misconfigured(leaf, `the credential "${name}" may not be sent to the host in ${formatPath(beyond.path)}`)
    }
    return credential.fields[fieldName]
  }

  return mapSecrets(schema, parsed.data, (leaf) => {
    if (leaf.value === MASK && !leaf.public) throw misconfigured(leaf, '"***" is a mask and not a secret')
    if (typeof leaf.value === 'string') return leaf.value
    if (leaf.value) {
      const reference = parseReference(leaf.value)!
      const found = field(leaf, reference.credential, reference.field)
      if (found === undefined) {
        throw misconfigured(leaf, `the credential "${reference.credential}" has no field "${reference.field}"`)
      }
      return found
    }
    const name = String(leaf.path.at(-1))
    const found = general === undefined ? undefined : field(leaf, general, name)
    if (found === undefined && leaf.required) {
      throw misconfigured(leaf, `the credential "${general}" has no field "${name}"`)
    }
    return found
  }) as Resolved<z.output<Schema>>
}

function misconfigured(leaf: SecretLeaf, problem: string): DeliveryError {
  return new DeliveryError('MISCONFIGURED', `${formatPath(leaf.path)}: ${problem}`)
}

/** Why an inline destination may not use a credential, and how to change that. */
export function unboundProblem(name: string): string {
  return `the credential "${name}" has no allowed_hosts, so only registered destinations may use it: an admin can add them with PUT /api/v1/credentials/${name}, or register the destination`
}
