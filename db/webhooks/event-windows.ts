// Operator events that are sent once per window with a count (0009_webhooks.sql): a thousand equal failures make one event.
// The sweep counts, and queues the events.
import { LIMITS } from '../limits.ts'
import type { Db } from '../pool.ts'
import type { DeliveryCode, EventType } from '../states.ts'

/** Counts one occurrence for the tenant. `details` holds its names and numbers, never a secret. */
export async function countEvent(
  db: Db,
  tenantId: string,
  event_type: Extract<EventType, 'distributions.failed'>,
  code: DeliveryCode,
  details: Record<string, unknown>,
): Promise<void> {
  await db.query(
    `insert into event_windows as w (tenant_id, event_type, subject, pending_count, codes, first_at, last_at, details)
     values ($1, $2, $3::text, 1, jsonb_build_object($3::text, 1), clock_timestamp(), clock_timestamp(), $4::jsonb)
         on conflict (tenant_id, event_type, subject) do update
        set pending_count = w.pending_count + 1, codes = add_codes(w.codes, excluded.codes),
            first_at = case when w.pending_count = 0 then excluded.first_at else w.first_at end,
            last_at = excluded.last_at, details = excluded.details`,
    [tenantId, event_type, code, JSON.stringify(details)],
  )
}

/** Counts the deliveries that have failed since the last call, over all tenants. */
export async function countFailedDeliveries(db: Db): Promise<number> {
  const { rows } = await db.query<{ counted: string }>('select count_failed_deliveries() as counted')
  return Number(rows[0]!.counted)
}

export interface NotifiedEvent {
  tenant_id: string
  event_type: string
  subject: string
  count: number
  codes: Record<string, number>
  since: Date
  until: Date
}

/** Queues the due events of all tenants; returns them, also those of tenants without an `event_url`. */
export async function notifyEventWindows(
  db: Db,
  limit: number,
  times: { gather_seconds: number; window_seconds: number } = {
    gather_seconds: LIMITS.eventGather.value,
    window_seconds: LIMITS.eventWindow.value,
  },
): Promise<NotifiedEvent[]> {
  const { rows } = await db.query<Omit<NotifiedEvent, 'count'> & { count: string }>(
    `select * from notify_event_windows($1 * interval '1 second', $2 * interval '1 second', $3)`,
    [times.gather_seconds, times.window_seconds, limit],
  )
  return rows.map((row) => ({ ...row, count: Number(row.count) }))
}
