// A distribution has two ids: the uuid of its row, and the public id (`dist_` and the uuid) that the API, Temporal and
// the logs show. The code of db/ and activities/ passes the uuid; these functions convert where data enters or leaves
// it.

const DISTRIBUTION_ID = /^dist_([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$/

/** Identifies a distribution by the uuid of its row. */
export interface JobRef {
  tenant_id: string
  id: string
}

/** The uuid of the row, or null when the text is not a valid public id. */
export function parseDistributionId(distributionId: string): string | null {
  return DISTRIBUTION_ID.exec(distributionId)?.[1] ?? null
}

/** The uuid of the row for a public id that our own code made. Throws a TypeError on anything else. */
export function jobId(distributionId: string): string {
  const id = parseDistributionId(distributionId)
  if (!id) throw new TypeError('not a distribution id')
  return id
}

/** The public id of the row with this uuid. */
export function publicId(id: string): string {
  return `dist_${id}`
}

/** Identifies the distribution for Temporal, by its public id. */
export function refOf({ tenant_id, id }: JobRef): { tenant_id: string; distribution_id: string } {
  return { tenant_id, distribution_id: publicId(id) }
}

export function jobOf({ tenant_id, distribution_id }: { tenant_id: string; distribution_id: string }): JobRef {
  return { tenant_id, id: jobId(distribution_id) }
}
