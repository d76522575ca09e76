// A distribution has two names: the uuid of its row, and `dist_` with that uuid, which API, Temporal and logs show. In
// here and in the activities the uuid travels; these functions translate at the borders.

const DISTRIBUTION_ID = /^dist_([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$/

/** A distribution by its row. */
export interface JobRef {
  tenant_id: string
  id: string
}

/** The row's uuid, or null when the text cannot be the name of a distribution. */
export function parseDistributionId(distributionId: string): string | null {
  return DISTRIBUTION_ID.exec(distributionId)?.[1] ?? null
}

/** The row's uuid of a name that is valid, because it came from our own rows. Throws a TypeError on anything else. */
export function jobId(distributionId: string): string {
  const id = parseDistributionId(distributionId)
  if (!id) throw new TypeError('not a distribution id')
  return id
}

/** The public name of the row with this uuid. */
export function publicId(id: string): string {
  return `dist_${id}`
}

/** As Temporal's workflows name it. */
export function refOf({ tenant_id, id }: JobRef): { tenant_id: string; distribution_id: string } {
  return { tenant_id, distribution_id: publicId(id) }
}

export function jobOf({ tenant_id, distribution_id }: { tenant_id: string; distribution_id: string }): JobRef {
  return { tenant_id, id: jobId(distribution_id) }
}
