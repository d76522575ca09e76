// The API masks secrets in answers, refuses them in plain text, and moves them into an encrypted credential.
import type { z } from 'zod'
import { formatPath, isReserved, MASK, mapSecrets, type Path, parseReference, type SecretReference } from './secret.ts'

/**
 * The configuration for an answer: literals, and those moved to the destination's own credential, are `***`. References to
 * named credentials stay, because a name is no secret.
 */
export function maskSecrets<T>(schema: z.core.$ZodType, value: T): T {
  return mapSecrets(schema, value, (leaf) => {
    if (leaf.value === undefined) return undefined
    if (typeof leaf.value === 'string') return leaf.public ? leaf.value : MASK
    const reference = parseReference(leaf.value)
    return reference && isReserved(reference.credential) ? MASK : leaf.value
  })
}

/** The fields with a secret in plain text, such as `auth.password`. In an inline destination each causes a 400. */
export function findLiteralSecrets(schema: z.core.$ZodType, value: unknown): string[] {
  return findLeaves(schema, value, (stated, open) => typeof stated === 'string' && !open)
}

/**
 * The fields that refer to the credential of a registered destination (`destination.<id>`). No client may use one: an inline
 * destination could otherwise send the secret of another destination to any host.
 */
export function findReservedReferences(schema: z.core.$ZodType, value: unknown): string[] {
  return findLeaves(schema, value, (stated) => {
    const reference = parseReference(stated)
    return reference !== undefined && isReserved(reference.credential)
  })
}

/** The credentials that a configuration uses, `credentials` included, sorted and each once. */
export function secretReferences(schema: z.core.$ZodType, value: unknown): string[] {
  const names = new Set<string>()
  const { credentials } = (value ?? {}) as { credentials?: unknown }
  if (typeof credentials === 'string') names.add(credentials)
  mapSecrets(schema, value, (leaf) => {
    const reference = parseReference(leaf.value)
    if (reference) names.add(reference.credential)
    return leaf.value
  })
  return [...names].sort()
}

export interface Extraction<T> {
  /** The configuration to store: every confidential literal is a reference into the credential. */
  configuration: T
  /** New literals by field, to be encrypted. */
  secrets: Record<string, string>
  /** Fields of the present credential that are still used. All others are deleted. */
  kept: string[]
  /** Fields that are `***` although there is no secret to keep: these cause a 400. */
  missing: string[]
}

/**
 * Moves literals into the credential `destination.<id>`; the field name is the path (`auth.password`). `***` keeps the value
 * that `previous`, the stored configuration of the same destination, has at that path.
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
    const reference = parseReference(present)
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
