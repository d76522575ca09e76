// A destination that has failed for too long is taken out of service, once, with one event.
import { writeAudit } from './audit.ts'
import type { CircuitSettings } from './circuits.ts'
import { insertEvent } from './operator-events.ts'
import type { Db } from './pool.ts'

/** A destination that fails this often in a row, over at least this long, is disabled. */
export interface AutoDisable {
  failures: number
  over_seconds: number
}

/** What a destination states about its failures; nothing of an inline one, or of one that is deleted. */
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

/** False when it is out of service already. Its deliveries wait from then on. */
export async function autoDisable(
  db: Db,
  destinationId: string,
  failing: { failures_in_a_row: number; failing_seconds: number },
): Promise<boolean> {
  const seconds = Math.floor(failing.failing_seconds)
  const { rows } = await db.query<{ tenant_id: string; name: string; status_reason: string }>(
    `update destinations
        set status = 'inactive', updated_at = clock_timestamp(), status_reason = $2
      where id = $1 and status in ('active', 'deprecated') and deleted_at is null
     returning tenant_id, name, status_reason`,
    [destinationId, `Disabled after ${failing.failures_in_a_row} failures in a row over ${seconds} s`],
  )
  const [disabled] = rows
  if (!disabled) return false
  const { tenant_id, name, status_reason } = disabled
  const numbers = { consecutive_failures: failing.failures_in_a_row, failing_seconds: seconds }
  await writeAudit(db, {
    tenant_id,
    actor: 'distributor',
    action: 'disable',
    resource_type: 'destination',
    resource_id: destinationId,
    details: { name, reason: 'failing', ...numbers },
  })
  await insertEvent(db, tenant_id, 'destination.disabled', {
    destination_id: destinationId,
    destination: name,
    reason: status_reason,
    ...numbers,
  })
  return true
}
