import type { Db } from '../pool.ts'

/** Adds counts by destination id, and marks them as used now. */
export async function addUsage(db: Db, counts: ReadonlyMap<string, number>): Promise<void> {
  await db.query(
    `update destinations d
        set usage_count = usage_count + u.count, last_used = clock_timestamp()
       from unnest($1::uuid[], $2::int[]) as u (id, count)
      where d.id = u.id`,
    [[...counts.keys()], [...counts.values()]],
  )
}
