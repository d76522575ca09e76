// Callbacks: one row per time that a job becomes final, due until its receiver has taken it or a day has passed.
import type { Db } from '../pool.ts'
import type { TenantStatus, WebhookStatus } from '../states.ts'

/** The callback of one round; a repeat changes nothing. `check_at` lets the sweep find one that nobody sends. */
export async function insertCallback(
  db: Db,
  callback: {
    id: string
    tenant_id: string
    round: number
    event_type: string
    callback_url: string
    /** The JSON text that is sent. */
    body: string
  },
): Promise<void> {
  await db.query(
    `insert into distribution_callbacks
            (distribution_job_id, round, tenant_id, event_type, callback_url, body, status, check_at)
     values ($1, $2, $3, $4, $5, $6, 'pending', clock_timestamp() + interval '60 seconds')
         on conflict do nothing`,
    [callback.id, callback.round, callback.tenant_id, callback.event_type, callback.callback_url, callback.body],
  )
}

export interface DueCallback {
  event_type: string
  callback_url: string
  body: string
  status: WebhookStatus
  attempts: number
  created_at: Date
  tenant_status: TenantStatus
  /** Sealed; null when the tenant has none. */
  callback_secret: string | null
}

/** Counts one more try of a pending callback and says what to send; null when there is none. */
export async function openCallback(db: Db, id: string, round: number): Promise<DueCallback | null> {
  const { rows } = await db.query<DueCallback>(
    `update distribution_callbacks c
        set attempts = c.attempts + case c.status when 'pending' then 1 else 0 end,
            check_at = case c.status when 'pending' then clock_timestamp() + interval '10 minutes' end
       from tenants t
      where c.distribution_job_id = $1 and c.round = $2 and t.id = c.tenant_id
      returning c.event_type, c.callback_url, c.body, c.status, c.attempts, c.created_at, t.callback_secret, t.status as tenant_status`,
    [id, round],
  )
  return rows[0] ?? null
}

export interface CallbackOutcome {
  status: WebhookStatus
  response_status: number | null
  error_code: string | null
  error_message: string | null
  /** Milliseconds until the next try; null unless `pending`. */
  retry_delay_ms: number | null
}

/** Writes how a try ended; guarded, so that a repeat of a finished one changes nothing. */
export async function closeCallback(db: Db, id: string, round: number, outcome: CallbackOutcome): Promise<void> {
  await db.query(
    `update distribution_callbacks
        set status = $3::text, response_status = $4, error_code = $5, error_message = $6,
            next_attempt_at = clock_timestamp() + $7 * interval '1 millisecond',
            check_at = clock_timestamp() + $7 * interval '1 millisecond' + interval '10 minutes',
            completed_at = case when $3::text <> 'pending' then clock_timestamp() end
      where distribution_job_id = $1 and round = $2 and status = 'pending'`,
    [
      id,
      round,
      outcome.status,
      outcome.response_status,
      outcome.error_code,
      outcome.error_message,
      outcome.retry_delay_ms,
    ],
  )
}

/** The sweep looks for a sender of a pending callback so many seconds from now. */
export async function checkCallbackLater(db: Db, id: string, round: number, seconds: number): Promise<void> {
  await db.query(
    `update distribution_callbacks set check_at = clock_timestamp() + $3 * interval '1 second'
      where distribution_job_id = $1 and round = $2 and status = 'pending' and check_at <= clock_timestamp()`,
    [id, round, seconds],
  )
}
