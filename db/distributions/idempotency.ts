// One key, one distribution. The insert of the key decides: of many requests at the same time exactly one continues.
import type { Db } from '../pool.ts'

/**
 * Keys that the product makes itself begin with this character. The API rejects it at the start of a caller's key, so
 * that no caller can take a key of the product.
 */
export const OWN_KEY_PREFIX = '\u0001'

export interface ClaimedKey {
  /** The uuid of the job that has the key: a new one, or the one of the first submission. */
  job_id: string
  /** False: an earlier request has claimed the key; the hash of its body is `request_sha256`. */
  claimed: boolean
  request_sha256: Buffer
}

/**
 * Claims `key` for a new job, or finds the job that has it. If another transaction is claiming the same key, this one
 * waits, and claims the key if the other rolls back. The key exists as long as the job.
 */
export async function claimIdempotencyKey(
  db: Db,
  tenantId: string,
  key: string,
  requestSha256: Buffer,
): Promise<ClaimedKey> {
  // The key may be removed between the two statements. Then it is free, and the second pass claims it.
  for (let round = 0; round < 3; round += 1) {
    const inserted = await db.query<{ job_id: string }>(
      `insert into idempotency_keys (tenant_id, key, request_sha256, job_id)
       values ($1, $2, $3, new_uuidv7())
       on conflict (tenant_id, key) do nothing
       returning job_id`,
      [tenantId, key, requestSha256],
    )
    const mine = inserted.rows[0]
    if (mine) return { ...mine, claimed: true, request_sha256: requestSha256 }
    const { rows } = await db.query<{ job_id: string; request_sha256: Buffer }>(
      'select job_id, request_sha256 from idempotency_keys where tenant_id = $1 and key = $2',
      [tenantId, key],
    )
    const first = rows[0]
    if (first) return { ...first, claimed: false }
  }
  throw new Error('an idempotency key could be neither taken nor found')
}
