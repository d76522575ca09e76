// The salts of masks are stored sealed, like other secrets. A salt is sealed inside its shape, so that copies of the shape
// (versions, planned deliveries) hold it sealed too; it is opened when a payload is shaped.
import type { Sealer } from '../../db/secrets.ts'

/** Prefix of a sealed salt; a salt in a request must not begin with it. */
export const SEALED = 'sealed:'
/** The same for a shared rule. */
const SEALED_SHARED = 'sealed:shared:'
/** Characters of the text that is sealed: a sealed salt is longer than any salt in a request, and is never taken for one. */
const PADDED = 180

/** A salt for the shapes of one tenant; null for those of a shared rule. */
export function sealSalt(sealer: Sealer, tenantId: string | null, salt: string): string {
  const padded = JSON.stringify(salt).padEnd(PADDED)
  return `${tenantId === null ? SEALED_SHARED : SEALED}${sealer.seal(padded, contextOf(tenantId))}`
}

/**
 * A salt that is not sealed was written by SQL, and is used as it is.
 * @throws UnsealError
 */
export function openSalt(sealer: Sealer, tenantId: string | null, kept: string): string {
  if (!kept.startsWith(SEALED)) return kept
  const shared = kept.startsWith(SEALED_SHARED)
  const sealed = kept.slice((shared ? SEALED_SHARED : SEALED).length)
  return JSON.parse(sealer.unseal(sealed, contextOf(shared ? null : tenantId))) as string
}

/**
 * A stored shape with its salts opened.
 * @throws UnsealError
 */
export function withOpenSalts<T extends object>(sealer: Sealer, tenantId: string, shape: T): T {
  const { mask } = shape as { mask?: unknown }
  if (!Array.isArray(mask)) return shape
  const opened = mask.map((one: unknown) =>
    isSalted(one) ? { ...one, salt: openSalt(sealer, tenantId, one.salt) } : one,
  )
  return { ...shape, mask: opened }
}

export function isSalted(mask: unknown): mask is { path: unknown; salt: string } {
  return typeof mask === 'object' && mask !== null && 'salt' in mask && typeof mask.salt === 'string'
}

function contextOf(tenantId: string | null): string[] {
  return tenantId === null ? ['shared', 'salts'] : ['tenant', tenantId, 'salts']
}
