// The slots of a destination with `max_concurrency`, shared by all workers: numbered rows, each held by one delivery until
// it releases the slot, or until the lease ends, because its worker may be killed.
import type { Db } from '../pool.ts'

/** Takes a free slot, or keeps the one that this delivery holds. False when all `most` slots are taken. */
export async function takeSlot(
  db: Db,
  tenantId: string,
  target: string,
  deliveryId: string,
  most: number,
  leaseMs: number,
): Promise<boolean> {
  if (await tryTake(db, tenantId, target, deliveryId, most, leaseMs)) return true
  const { rowCount } = await db.query(
    `insert into destination_slots (tenant_id, target, slot)
     select $1::varchar, $2::varchar, slot from generate_series(1, $3::int) as numbers (slot)
      where not exists (select from destination_slots s
                         where s.tenant_id = $1 and s.target = $2 and s.slot = numbers.slot)
         on conflict do nothing`,
    [tenantId, target, most],
  )
  return rowCount !== 0 && (await tryTake(db, tenantId, target, deliveryId, most, leaseMs))
}

async function tryTake(
  db: Db,
  tenantId: string,
  target: string,
  deliveryId: string,
  most: number,
  leaseMs: number,
): Promise<boolean> {
  const { rowCount } = await db.query(
    `update destination_slots
        set holder = $3, held_until = clock_timestamp() + $5 * interval '1 millisecond'
      where tenant_id = $1 and target = $2 and slot = (
            select slot from destination_slots
             where tenant_id = $1 and target = $2 and slot <= $4 and (held_until <= clock_timestamp() or holder = $3)
             order by holder is not distinct from $3 desc, slot
             limit 1 for update skip locked)`,
    [tenantId, target, deliveryId, most, leaseMs],
  )
  return rowCount === 1
}

export async function giveBackSlot(db: Db, tenantId: string, target: string, deliveryId: string): Promise<void> {
  await db.query(
    `update destination_slots set holder = null, held_until = '-infinity'
      where tenant_id = $1 and target = $2 and holder = $3`,
    [tenantId, target, deliveryId],
  )
}
