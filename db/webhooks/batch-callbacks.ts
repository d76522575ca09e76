// The callback of a batch stands in the batch's own row, for a batch ends once.

import type { Db } from '../pool.ts'
import type { CallbackOutcome, DueCallback } from './callbacks.ts'

/** Counts one more try of a pending callback and says what to send; null when there is none. */
export async function openBatchCallback(db: Db, id: string): Promise<DueCallback | null> {
  const { rows } = await db.query<DueCallback>(
    `update batches b
        set callback_attempts = b.callback_attempts + case b.callback_status when 'pending' then 1 else 0 end,
            check_at = case b.callback_status when 'pending' then clock_timestamp() + interval '10 minutes' end
       from tenants t
      where b.id = $1 and b.callback_status is not null and t.id = b.tenant_id
      returning 'batch.completed' as event_type, b.callback_url, b.callback_body as body, b.callback_status as status,
                b.callback_attempts as attempts, b.completed_at as created_at, t.callback_secret, t.status as tenant_status`,
    [id],
  )
  return rows[0] ?? null
}

/** Writes how a try ended; guarded, so that a repeat of a finished one changes nothing. */
export async function closeBatchCallback(db: Db, id: string, outcome: CallbackOutcome): Promise<void> {
  await db.query(
    `update batches
        set callback_status = $2::text, callback_response_status = $3, callback_error_code = $4,
            callback_error_message = $5,
            check_at = case when $2::text = 'pending'
              then clock_timestamp() + $6 * interval '1 millisecond' + interval '10 minutes' end
      where id = $1 and callback_status = 'pending'`,
    [
      id,
      outcome.status,
      outcome.response_status,
      outcome.error_code,
      outcome.error_message,
      outcome.retry_delay_ms ?? 0,
    ],
  )
}
