// Finds missing encryption keys at start, instead of at the first delivery that needs one.
import type { Db } from '../pool.ts'
import { type Sealer, UnsealError } from '../secrets.ts'
import { loadCallbackSecret } from '../tenants/tenants.ts'

/** Ids of the keys that stored secrets of any tenant need and that the sealer does not have. */
export async function missingSealingKeys(db: Db, sealer: Sealer): Promise<string[]> {
  const { rows } = await db.query('select key_id from sealed_key_ids() order by key_id')
  const known = sealer.keyIds()
  return rows.map((row) => row.key_id as string).filter((id) => !known.has(id))
}

/**
 * The id of a key that cannot decrypt this tenant's callback secret. Every generated key has the id `k1`, so two
 * different keys can have the same id.
 */
export async function wrongSealingKey(db: Db, sealer: Sealer, tenantId: string): Promise<string | undefined> {
  try {
    await loadCallbackSecret(db, sealer, tenantId)
  } catch (error) {
    if (error instanceof UnsealError) return error.keyId
    throw error
  }
}
