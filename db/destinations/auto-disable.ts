// Disables a destination that has failed for too long, once, with one event.

import { publicId } from '../distributions/job-id.ts'
import type { Db } from '../pool.ts'
import { writeAudit } from '../tenants/audit.ts'
import { insertEvent } from '../webhooks/webhooks.ts'
import type { CircuitSettings } from './circuits.ts'

/** A destination that fails this often in a row, over at least this long, is disabled. */
export interface AutoDisable {
  failures: number
  over_seconds: number
}

/** The destination's settings for failures; nulls for an inline destination. */
export async function failureSettings(
  db: Db,
  destinationId: string | null,
): Promise<{ circuit_breaker: CircuitSettings | null; auto_disable: AutoDisable | null }> {
  if (destinationId === null) return { circuit_breaker: null, auto_disable: null }
  const { rows } = await db.query<{ circuit_breaker: CircuitSettings | null; auto_disable: AutoDisable | null }>(
    'select circuit_breaker, auto_disable from destinations where id = $1',
    [destinationId],
  )
  return rows[0] ?? { circuit_breaker: null, auto_disable: null }
}

interface Disabling {
  /** For a person, and in the destination's `status_reason`. */
  because: string
  /** For programs. */
  reason: 'failing' | 'gone'
  facts: Record<string, unknown>
}

/** Disables a destination that failed too often for too long. False if it is disabled already. Its deliveries wait then. */
export function autoDisable(
  db: Db,
  destinationId: string,
  failing: { failures_in_a_row: number; failing_seconds: number },
): Promise<boolean> {
  const seconds = Math.floor(failing.failing_seconds)
  return disable(db, destinationId, {
    because: `Disabled after ${failing.failures_in_a_row} failures in a row over ${seconds} s`,
    reason: 'failing',
    facts: { consecutive_failures: failing.failures_in_a_row, failing_seconds: seconds },
  })
}

/** Disables a destination that answered 410 Gone: it accepts nothing any more. An inline destination has no row. */
export async function disableGone(db: Db, id: string, destination: string): Promise<boolean> {
  const { rows } = await db.query<{ destination_id: string | null }>(
    'select destination_id from distribution_deliveries where distribution_job_id = $1 and destination_name = $2',
    [id, destination],
  )
  const registered = rows[0]?.destination_id
  if (!registered) return false
  const facts = { distribution_id: publicId(id) }
  return await disable(db, registered, { because: 'The destination answered 410 Gone', reason: 'gone', facts })
}

/** Many attempts may call this at the same time: only the one that changes the row writes the event. */
async function disable(db: Db, destinationId: string, { because, reason, facts }: Disabling): Promise<boolean> {
  const { rows } = await db.query<{ tenant_id: string; name: string }>(
    `update destinations
        set status = 'inactive', updated_at = clock_timestamp(), status_reason = $2
      where id = $1 and status in ('active', 'deprecated') and deleted_at is null
     returning tenant_id, name`,
    [destinationId, because],
  )
  const [disabled] = rows
  if (!disabled) return false
  const { tenant_id, name } = disabled
  await writeAudit(db, {
    tenant_id,
    actor: 'distributor',
    action: 'disable',
    resource_type: 'destination',
    resource_id: destinationId,
    details: { name, reason, ...facts },
  })
  const event = { destination_id: destinationId, destination: name, reason: because, ...facts }
  await insertEvent(db, tenant_id, 'destination.disabled', event)
  return true
}
