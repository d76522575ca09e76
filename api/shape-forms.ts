// What stands between a shape as it is sent, as it is kept, and as it is shown: the salts of its masks, and the order of its
// mapping.
import { MASK } from '../activities/destinations/secret.ts'
import { type AnyShape, keptShape, mappingOf } from '../activities/shaping/kept.ts'
import type { Detail } from './errors.ts'
import { fieldPath } from './json.ts'

/**
 * As it is kept. A salt that is sent as `***` stays what it is for the same path in `previous`, the shape that is replaced.
 * @param at where it stands in the request
 */
export function takeIn(
  sent: AnyShape,
  previous: AnyShape | undefined,
  at: string[],
): { shape: AnyShape; details: Detail[] } {
  const details: Detail[] = []
  const before = masksOf(previous)
  const mask = masksOf(sent).map((one, index) => {
    if (!isSalted(one) || one.salt !== MASK) return one
    const present = before.filter(isSalted).find(({ path }) => path === one.path)
    if (!present) details.push({ field: fieldPath([...at, 'mask', index, 'salt']), issue: 'has no secret to keep' })
    return present ? { ...one, salt: present.salt } : one
  })
  return { shape: keptShape('mask' in sent && Array.isArray(sent.mask) ? { ...sent, mask } : sent), details }
}

/** As anyone may see it. A row that was written by hand may hold no shape at all. */
export function shownShape(kept: AnyShape): AnyShape {
  if (!isRecord(kept)) return kept
  const shape = 'field_mapping' in kept ? { ...kept, field_mapping: mappingOf(kept.field_mapping) } : kept
  if (!masksOf(shape).some(isSalted)) return shape
  return { ...shape, mask: masksOf(shape).map((one) => (isSalted(one) ? { ...one, salt: MASK } : one)) }
}

/** The same for a rule's actions, of which a shape may be one. */
export function takeInActions(
  sent: AnyShape,
  previous: unknown,
  at: string[],
): { actions: AnyShape; details: Detail[] } {
  if (!isRecord(sent.shape)) return { actions: sent, details: [] }
  const before = isRecord(previous) && isRecord(previous.shape) ? previous.shape : undefined
  const { shape, details } = takeIn(sent.shape, before, [...at, 'shape'])
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

function isSalted(mask: unknown): mask is { path: unknown; salt: string } {
  return typeof mask === 'object' && mask !== null && 'salt' in mask && typeof mask.salt === 'string'
}
