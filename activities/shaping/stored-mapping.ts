// A shape as the database stores it. jsonb does not keep the order of keys, but a `field_mapping` is applied in that order.

export type AnyShape = Record<string, unknown>

/** The mapping as a list of target and source. */
export function storedShape(shape: AnyShape): AnyShape {
  const { field_mapping } = shape
  if (typeof field_mapping !== 'object' || field_mapping === null || Array.isArray(field_mapping)) return shape
  return { ...shape, field_mapping: Object.entries(field_mapping) }
}

/** Converts the list back to the mapping; returns any other value unchanged. */
export function mappingOf(kept: unknown): unknown {
  if (!Array.isArray(kept) || !kept.every((pair) => Array.isArray(pair) && pair.length === 2)) return kept
  return Object.fromEntries(kept as [string, unknown][])
}
