// Converts a shape between the forms in requests, in rows and in responses: the salts of its masks, and the order of its
// mapping.
import { MASK } from '../../activities/destinations/secrets/secret.ts'
import { isSalted, openSalt, SEALED, sealSalt } from '../../activities/shaping/salts.ts'
import { type AnyShape, mappingOf, storedShape } from '../../activities/shaping/stored-mapping.ts'
import { type Sealer, UnsealError } from '../../db/secrets.ts'
import type { Detail } from '../http/errors.ts'
import { fieldPath } from '../http/json.ts'

/** The owner of the shape: a tenant, or null for a rule that all tenants share. */
export interface ShapeOwner {
  sealer: Sealer
  tenantId: string | null
}

/**
 * The form for the row, with encrypted salts. A salt sent as `***` keeps the value of the same path in `previous`, the
 * shape that is being replaced.
 * @param at its path in the request
 */
export function toStored(
  owner: ShapeOwner,
  sent: AnyShape,
  previous: AnyShape | undefined,
  at: string[],
): { shape: AnyShape; details: Detail[] } {
  const details: Detail[] = []
  const before = masksOf(previous).filter(isSalted)
  const mask = masksOf(sent).map((one, index) => {
    if (!isSalted(one)) return one
    const present = before.find(({ path }) => path === one.path)?.salt
    const issue =
      present === undefined && one.salt === MASK ? 'is ***, but there is no stored secret to keep' : reserved(one.salt)
    if (issue) details.push({ field: fieldPath([...at, 'mask', index, 'salt']), issue })
    return issue ? one : { ...one, salt: keptSalt(owner, one.salt, present) }
  })
  return { shape: storedShape('mask' in sent && Array.isArray(sent.mask) ? { ...sent, mask } : sent), details }
}

function reserved(salt: string): string | undefined {
  return salt.startsWith(SEALED) ? `must not begin with ${SEALED}` : undefined
}

/** A salt that stays the same is not encrypted again, so that an unchanged shape is recognised as unchanged. */
function keptSalt({ sealer, tenantId }: ShapeOwner, sent: string, present: string | undefined): string {
  if (present === undefined) return sealSalt(sealer, tenantId, sent)
  if (!present.startsWith(SEALED)) return sealSalt(sealer, tenantId, sent === MASK ? present : sent)
  return sent === MASK || isSame(present) ? present : sealSalt(sealer, tenantId, sent)

  function isSame(kept: string): boolean {
    try {
      return openSalt(sealer, tenantId, kept) === sent
    } catch (error) {
      if (error instanceof UnsealError) return false
      throw error
    }
  }
}

/** The form for responses. A row that was written in SQL may contain any value. */
export function shownShape(kept: AnyShape): AnyShape {
  if (!isRecord(kept)) return kept
  const shape = 'field_mapping' in kept ? { ...kept, field_mapping: mappingOf(kept.field_mapping) } : kept
  if (!masksOf(shape).some(isSalted)) return shape
  return { ...shape, mask: masksOf(shape).map((one) => (isSalted(one) ? { ...one, salt: MASK } : one)) }
}

/** The same for the actions of a rule, which may contain a shape. */
export function actionsToStored(
  owner: ShapeOwner,
  sent: AnyShape,
  previous: unknown,
  at: string[],
): { actions: AnyShape; details: Detail[] } {
  if (!isRecord(sent.shape)) return { actions: sent, details: [] }
  const before = isRecord(previous) && isRecord(previous.shape) ? previous.shape : undefined
  const { shape, details } = toStored(owner, sent.shape, before, [...at, 'shape'])
  return { actions: { ...sent, shape }, details }
}

export function shownActions(kept: AnyShape): AnyShape {
  return isRecord(kept.shape) ? { ...kept, shape: shownShape(kept.shape) } : kept
}

function isRecord(value: unknown): value is AnyShape {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function masksOf(shape: AnyShape | undefined): unknown[] {
  return Array.isArray(shape?.mask) ? shape.mask : []
}
