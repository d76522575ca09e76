// Credentials that the operator sets in the environment instead of the database.
import type { Credential } from './resolution.ts'

/**
 * `DISTRIBUTOR_SECRET_<TENANT>__<NAME>`, for that tenant only; with `unscoped` also `DISTRIBUTOR_SECRET_<NAME>`, for
 * destinations that the platform role registered. The value is a JSON object of strings. Any other text becomes the single
 * field `value`. A list `allowed_hosts` in the object limits the hosts, as for a stored credential.
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
 * Upper case, and unique for each name: every character but `a-z`, `0-9` and a single `_` between them becomes `x` and its
 * bytes in hex (`acme-eu` is `ACMEx2dEU`). If `-` became `_`, tenant `a_b` could read the secrets of `a-b`; if `__` stayed,
 * tenant `a` could read those of `a__b`.
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
        // Any value but a list allows no host: a mistake must not allow every host.
        allowed_hosts:
          allowed_hosts === undefined ? null : Array.isArray(allowed_hosts) ? allowed_hosts.map(String) : [],
      }
    }
  } catch {
    // Plain text: the single field `value`.
  }
  return { fields: { value: text }, allowed_hosts: null }
}
