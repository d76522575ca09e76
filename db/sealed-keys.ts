// Start-up asks which keys the stored secrets still need, instead of failing at the first delivery that needs one.
import type { Db } from './pool.ts'
import type { Sealer } from './secrets.ts'

/** Ids of keys under which something is sealed, in any tenant, and which the sealer does not have. */
export async function missingSealingKeys(db: Db, sealer: Sealer): Promise<string[]> {
  const { rows } = await db.query('select key_id from sealed_key_ids() order by key_id')
  const known = sealer.keyIds()
  return rows.map((row) => row.key_id as string).filter((id) => !known.has(id))
}
