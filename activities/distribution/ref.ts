// The border between Temporal, which knows distributions by their public name, and the activities, which know them by
// the uuid of the row.
import { type JobRef, jobId, publicId } from '../../db/distributions/job-id.ts'
import type { DistributionRef } from '../../workflows/messages.ts'

export function jobOf({ tenant_id, distribution_id }: DistributionRef): JobRef {
  return { tenant_id, id: jobId(distribution_id) }
}

export function refOf({ tenant_id, id }: JobRef): DistributionRef {
  return { tenant_id, distribution_id: publicId(id) }
}
