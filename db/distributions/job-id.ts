// A distribution's public name is `dist_` and the uuid of its row: one lookup by primary key finds both.

const DISTRIBUTION_ID = /^dist_([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$/

/** The row's uuid, or null when the text cannot be the name of a distribution. */
export function parseDistributionId(distributionId: string): string | null {
  return DISTRIBUTION_ID.exec(distributionId)?.[1] ?? null
}

/** The row's uuid of a name that came from our own rows. Throws a TypeError on anything else. */
export function jobId(distributionId: string): string {
  const id = parseDistributionId(distributionId)
  if (!id) throw new TypeError('not a distribution id')
  return id
}

/** The public name of the row with this uuid. */
export function publicId(id: string): string {
  return `dist_${id}`
}

/** A distribution by its row. */
export interface JobRef {
  tenant_id: string
  id: string
}
