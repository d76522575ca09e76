// What an operator should know, told to the tenant's event_url: one row per event, due until its receiver has taken it or a
// day has passed. The sweep starts the sending.

import type { Db } from '../pool.ts'
import type { EventType } from '../states.ts'
import type { CallbackOutcome, DueCallback } from './callbacks.ts'

/** Notes an event; nothing where the tenant has no event_url. `data` holds names and numbers, never a secret. */
export async function insertEvent(
  db: Db,
  tenantId: string,
  event_type: EventType,
  data: Record<string, unknown>,
): Promise<void> {
  await db.query(
    `insert into operator_events (tenant_id, event_type, event_url, body)
     select id, $2, event_url,
            ($3::jsonb || jsonb_build_object('tenant_id', id, 'occurred_at',
              to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')))::text
       from tenants where id = $1 and event_url is not null`,
    [tenantId, event_type, JSON.stringify({ event_type, ...data })],
  )
}

export interface DueEventRef {
  tenant_id: string
  event_id: string
}

/** Pending events whose `check_at` has come, over all tenants. */
export async function dueEvents(db: Db, limit: number): Promise<DueEventRef[]> {
  const { rows } = await db.query<DueEventRef>('select * from due_events($1)', [limit])
  return rows
}

/** Counts one more try of a pending event and says what to send; null when there is none. */
export async function openEvent(db: Db, id: string): Promise<DueCallback | null> {
  const { rows } = await db.query<DueCallback>(
    `update operator_events e
        set attempts = e.attempts + case e.status when 'pending' then 1 else 0 end,
            check_at = case e.status when 'pending' then clock_timestamp() + interval '10 minutes' end
       from tenants t
      where e.id = $1 and t.id = e.tenant_id
      returning e.event_type, e.event_url as callback_url, e.body, e.status, e.attempts, e.created_at, t.callback_secret, t.status as tenant_status`,
    [id],
  )
  return rows[0] ?? null
}

/** Writes how a try ended; guarded, so that a repeat of a finished one changes nothing. */
export async function closeEvent(db: Db, id: string, outcome: CallbackOutcome): Promise<void> {
  await db.query(
    `update operator_events
        set status = $2::text, response_status = $3, error_code = $4, error_message = $5,
            next_attempt_at = clock_timestamp() + $6 * interval '1 millisecond',
            check_at = clock_timestamp() + $6 * interval '1 millisecond' + interval '10 minutes',
            completed_at = case when $2::text <> 'pending' then clock_timestamp() end
      where id = $1 and status = 'pending'`,
    [id, outcome.status, outcome.response_status, outcome.error_code, outcome.error_message, outcome.retry_delay_ms],
  )
}
