// Webhooks: one row per message to a URL of the tenant, sent again until its receiver accepts it or a day has passed.
import type { Db } from '../pool.ts'
import type { EventType, TenantStatus, WebhookStatus } from '../states.ts'
import type { WebhookKey } from './webhook-id.ts'

export interface WebhookRow extends WebhookKey {
  tenant_id: string
}

/** Queues the callback of a distribution that has just ended, if it has a URL; a repeat in the same round changes nothing. */
export async function queueCallback(db: Db, distributionId: string, event_type: string): Promise<void> {
  await db.query(`select queue_callback($1, $2, clock_timestamp() + interval '60 seconds')`, [
    distributionId,
    event_type,
  ])
}

/** Queues an event for the sweep; nothing if the tenant has no event_url. `data` holds names and numbers, never a secret. */
export async function insertEvent(
  db: Db,
  tenantId: string,
  event_type: EventType,
  data: Record<string, unknown>,
): Promise<void> {
  await db.query(
    `insert into webhooks (tenant_id, kind, subject_id, event_type, url, body)
     select id, 'event', new_uuidv7(), $2, event_url,
            ($3::jsonb || jsonb_build_object('tenant_id', id, 'occurred_at',
              to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')))::text
       from tenants where id = $1 and event_url is not null`,
    [tenantId, event_type, JSON.stringify({ event_type, ...data })],
  )
}

/** Pending webhooks of all tenants whose `check_at` is due. */
export async function dueWebhooks(db: Db, limit: number): Promise<WebhookRow[]> {
  const { rows } = await db.query<WebhookRow>('select * from due_webhooks($1)', [limit])
  return rows
}

/** The sweep looks for a run of a pending webhook so many seconds from now. */
export async function checkWebhookLater(db: Db, webhook: WebhookRow, seconds: number): Promise<void> {
  await db.query(
    `update webhooks set check_at = clock_timestamp() + $5 * interval '1 second'
      where tenant_id = $1 and subject_id = $2 and kind = $3 and round = $4
        and status = 'pending' and check_at <= clock_timestamp()`,
    [...keyOf(webhook), seconds],
  )
}

export interface OpenWebhook {
  event_type: string
  url: string
  body: string
  status: WebhookStatus
  attempts: number
  expires_at: Date
  tenant_status: TenantStatus
  /** Sealed; null when the tenant has none. */
  callback_secret: string | null
}

/** Counts one more attempt of a pending webhook and returns what to send; null if there is no such webhook. */
export async function openWebhook(db: Db, webhook: WebhookRow): Promise<OpenWebhook | null> {
  const { rows } = await db.query<OpenWebhook>(
    `update webhooks w
        set attempts = w.attempts + case w.status when 'pending' then 1 else 0 end,
            check_at = case w.status when 'pending' then clock_timestamp() + interval '10 minutes' end
       from tenants t
      where w.tenant_id = $1 and w.subject_id = $2 and w.kind = $3 and w.round = $4 and t.id = w.tenant_id
      returning w.event_type, w.url, w.body, w.status, w.attempts, w.expires_at, t.callback_secret,
                t.status as tenant_status`,
    keyOf(webhook),
  )
  return rows[0] ?? null
}

export interface WebhookOutcome {
  status: WebhookStatus
  response_status: number | null
  error_code: string | null
  error_message: string | null
  /** Milliseconds until the next attempt; null unless `pending`. */
  retry_delay_ms: number | null
}

/** Stores the result of an attempt; guarded, so that a repeat changes nothing once the webhook has ended. */
export async function closeWebhook(db: Db, webhook: WebhookRow, outcome: WebhookOutcome): Promise<void> {
  await db.query(
    `update webhooks
        set status = $5::text, response_status = $6, error_code = $7, error_message = $8,
            next_attempt_at = clock_timestamp() + $9 * interval '1 millisecond',
            check_at = clock_timestamp() + $9 * interval '1 millisecond' + interval '10 minutes',
            completed_at = case when $5::text <> 'pending' then clock_timestamp() end
      where tenant_id = $1 and subject_id = $2 and kind = $3 and round = $4 and status = 'pending'`,
    [
      ...keyOf(webhook),
      outcome.status,
      outcome.response_status,
      outcome.error_code,
      outcome.error_message,
      outcome.retry_delay_ms,
    ],
  )
}

/** Makes a webhook pending again, as if it had just been queued. False when there is no such webhook. */
export async function resendWebhook(db: Db, webhook: WebhookRow): Promise<boolean> {
  const { rowCount } = await db.query(
    `update webhooks
        set status = 'pending', attempts = 0, next_attempt_at = null, completed_at = null,
            check_at = clock_timestamp() + interval '60 seconds', expires_at = clock_timestamp() + interval '1 day'
      where tenant_id = $1 and subject_id = $2 and kind = $3 and round = $4`,
    keyOf(webhook),
  )
  return rowCount === 1
}

function keyOf({ tenant_id, subject_id, kind, round }: WebhookRow): unknown[] {
  return [tenant_id, subject_id, kind, round]
}
