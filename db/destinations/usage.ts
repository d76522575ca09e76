import type { Db } from '../pool.ts'

/** Adds the counts, by destination id, and sets `last_used`. */
export async function addUsage(db: Db, counts: ReadonlyMap<string, number>): Promise<void> {
  await db.query(
    `update destinations d
        set usage_count = usage_count + u.count, last_used = clock_timestamp()
       from unnest($1::uuid[], $2::int[]) as u (id, count)
      where d.id = u.id`,
    [[...counts.keys()], [...counts.values()]],
  )
}
