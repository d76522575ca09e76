// Credentials that the operator hands in through the environment instead of the database.
import type { Credential } from './resolution.ts'

/**
 * `DISTRIBUTOR_SECRET_<TENANT>__<NAME>`, for that tenant alone; with `unscoped` also `DISTRIBUTOR_SECRET_<NAME>`, for
 * what the platform role registered. The value is a JSON object of strings, or any other text, which is then the one
 * field `value`. `allowed_hosts` in the object, a list, binds the credential as that of a stored one does.
 */
export function environmentCredentials(
  env: Readonly<Record<string, string | undefined>>,
  tenantId: string,
  { unscoped = false }: { unscoped?: boolean } = {},
): (name: string) => Credential | undefined {
  return (name) => {
    const own = env[`DISTRIBUTOR_SECRET_${environmentName(tenantId)}__${environmentName(name)}`]
    const text = own ?? (unscoped ? env[`DISTRIBUTOR_SECRET_${environmentName(name)}`] : undefined)
    return text === undefined ? undefined : credentialOf(text)
  }
}

/**
 * Upper case, such that no two names meet: everything but `a-z`, `0-9` and a single `_` between them becomes `x` and
 * its bytes in hex (`acme-eu` is `ACMEx2dEU`). Were `-` simply `_`, tenant `a_b` could read what is meant for `a-b`;
 * were `__` kept, tenant `a` could read what is meant for `a__b`.
 */
export function environmentName(name: string): string {
  const characters = [...name]
  return characters
    .map((character, index) => {
      if (isPlain(character)) return character.toUpperCase()
      if (character === '_' && isPlain(characters[index - 1]) && isPlain(characters[index + 1])) return '_'
      return [...Buffer.from(character)].map((byte) => `x${byte.toString(16).padStart(2, '0')}`).join('')
    })
    .join('')
}

function isPlain(character: string | undefined): boolean {
  return character !== undefined && /^[a-z0-9]$/.test(character)
}

function credentialOf(text: string): Credential {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      const { allowed_hosts, ...fields } = value as Record<string, unknown>
      return {
        fields: Object.fromEntries(Object.entries(fields).map(([key, item]) => [key, String(item)])),
        // Anything but a list of texts allows nothing: a slip must not open it to every host.
        allowed_hosts:
          allowed_hosts === undefined ? null : Array.isArray(allowed_hosts) ? allowed_hosts.map(String) : [],
      }
    }
  } catch {
    // Plain text: the one field `value`.
  }
  return { fields: { value: text }, allowed_hosts: null }
}
