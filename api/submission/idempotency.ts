// Idempotency keys: read from the header or the body, and claimed in the transaction of the request.
import { createHash } from 'node:crypto'
import { z } from '@hono/zod-openapi'
import { publicBatchId } from '../../db/batches/batches.ts'
import { claimIdempotencyKey } from '../../db/distributions/idempotency.ts'
import { findSubmittedJob } from '../../db/distributions/jobs.ts'
import type { Db } from '../../db/pool.ts'
import { ApiError, type Detail } from '../http/errors.ts'
import { idempotencyKey } from '../schemas/submission.ts'

/** The documentation of the header `Idempotency-Key`. */
export const keyHeader = z.object({ 'Idempotency-Key': idempotencyKey.optional() })

/**
 * The key from the header or the body; problems are added to `issues`.
 * @param field its path in the body
 */
export function keyOf(
  header: string | undefined,
  inBody: string | null | undefined,
  field: string,
  issues: Detail[],
): string | undefined {
  const checked = idempotencyKey.optional().safeParse(header)
  for (const { message } of checked.error?.issues ?? []) issues.push({ field: 'Idempotency-Key', issue: message })
  if (header !== undefined && inBody && header !== inBody) {
    issues.push({ field, issue: 'differs from the header Idempotency-Key' })
  }
  return inBody ?? header
}

/**
 * Claims the key for a request with this body. For a repeat, `claimed` is false, and `job_id` is the id of the first request.
 * @throws ApiError 409 if the key was used with a different body
 */
export async function claimKey(db: Db, tenantId: string, key: string, body: Buffer) {
  const sha256 = createHash('sha256').update(body).digest()
  const claim = await claimIdempotencyKey(db, tenantId, key, sha256)
  if (claim.claimed || claim.request_sha256.equals(sha256)) return claim
  const first = await findSubmittedJob(db, claim.job_id)
  const owner = first?.distribution_id ?? publicBatchId(claim.job_id)
  throw new ApiError('CONFLICT', `the idempotency key was used before with another body, for ${owner}`, [
    { field: 'idempotency_key', issue: `belongs to ${owner}` },
  ])
}

/** The header of an answer that repeats the first one. */
export const REPLAYED = { 'Idempotent-Replayed': 'true' }

/** The error for a repeat whose first result has been deleted. */
export function noLongerKept(what: string): ApiError {
  return new ApiError('CONFLICT', `the ${what} of this idempotency key is no longer stored`)
}
