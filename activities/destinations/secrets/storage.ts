// What the API does with secrets: mask them in answers, refuse them in plain text, move them into a sealed credential.
import type { z } from 'zod'
import { formatPath, isReserved, MASK, mapSecrets, type Path, parseReference, type SecretReference } from './secret.ts'

/**
 * The configuration as it may be shown: literals, and what was moved to the destination's own credential, are `***`;
 * references to named credentials stay, for a name is no secret.
 */
export function maskSecrets<T>(schema: z.core.$ZodType, value: T): T {
  return mapSecrets(schema, value, (leaf) => {
    if (leaf.value === undefined) return undefined
    if (typeof leaf.value === 'string') return leaf.public ? leaf.value : MASK
    const reference = parseReference(leaf.value.secret)
    return reference && isReserved(reference.credential) ? MASK : leaf.value
  })
}

/** The fields with a secret in plain text, such as `auth.password`. In an inline destination each is a 400. */
export function findLiteralSecrets(schema: z.core.$ZodType, value: unknown): string[] {
  return findLeaves(schema, value, (stated, open) => typeof stated === 'string' && !open)
}

/**
 * The fields that refer to the credential of a registered destination (`destination.<id>`). No caller may name one, or
 * an inline destination could carry another's secret to a host of the caller's choice.
 */
export function findReservedReferences(schema: z.core.$ZodType, value: unknown): string[] {
  return findLeaves(schema, value, (stated) => {
    const reference = typeof stated === 'object' ? parseReference(stated.secret) : undefined
    return reference !== undefined && isReserved(reference.credential)
  })
}

/** The credentials that a configuration draws on, sorted, each once; `credentials` is one of them. */
export function secretReferences(schema: z.core.$ZodType, value: unknown): string[] {
  const names = new Set<string>()
  const { credentials } = (value ?? {}) as { credentials?: unknown }
  if (typeof credentials === 'string') names.add(credentials)
  mapSecrets(schema, value, (leaf) => {
    const reference = typeof leaf.value === 'object' ? parseReference(leaf.value.secret) : undefined
    if (reference) names.add(reference.credential)
    return leaf.value
  })
  return [...names].sort()
}

export interface Extraction<T> {
  /** The configuration to store: every confidential literal is a reference into the credential. */
  configuration: T
  /** New literals by field, to be sealed. */
  secrets: Record<string, string>
  /** Fields of the credential that are still referred to: take them over from the present one. All others go. */
  kept: string[]
  /** Fields that say `***` although nothing is there to keep: a 400. */
  missing: string[]
}

/**
 * Moves literals into the credential `destination.<id>`; the field is the path (`auth.password`). `***` keeps what
 * `previous`, the stored configuration of the same destination, has in that place.
 */
export function extractLiterals<T>(
  schema: z.core.$ZodType,
  value: T,
  { credential, previous }: { credential: string; previous?: unknown },
): Extraction<T> {
  const secrets: Record<string, string> = {}
  const kept: string[] = []
  const missing: string[] = []
  const configuration = mapSecrets(schema, value, (leaf) => {
    if (typeof leaf.value !== 'string' || leaf.public) return leaf.value
    const field = formatPath(leaf.path)
    if (leaf.value !== MASK) {
      secrets[field] = leaf.value
      return { secret: `${credential}.${field}` }
    }
    const present = referenceAt(previous, leaf.path)
    if (!present) {
      missing.push(field)
      return leaf.value
    }
    const reference = parseReference(present.secret)
    if (reference?.credential === credential) kept.push(reference.field)
    return present
  })
  return { configuration, secrets, kept, missing }
}

function findLeaves(
  schema: z.core.$ZodType,
  value: unknown,
  matches: (stated: string | SecretReference, open: boolean) => boolean,
): string[] {
  const paths: string[] = []
  mapSecrets(schema, value, (leaf) => {
    if (leaf.value !== undefined && matches(leaf.value, leaf.public)) paths.push(formatPath(leaf.path))
    return leaf.value
  })
  return paths
}

function referenceAt(value: unknown, path: Path): SecretReference | undefined {
  const found = path.reduce<unknown>((at, key) => (at as Record<string | number, unknown> | undefined)?.[key], value)
  return typeof found === 'object' && found !== null && 'secret' in found ? (found as SecretReference) : undefined
}
