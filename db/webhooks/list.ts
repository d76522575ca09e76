// The tenant's webhooks as the API shows them, by the id of their distribution, batch or event, newest first.
import type { Db } from '../pool.ts'
import type { WebhookKind, WebhookStatus } from '../states.ts'
import type { WebhookKey } from './webhook-id.ts'

export interface ListedWebhook extends WebhookKey {
  event_type: string
  url: string
  status: WebhookStatus
  attempts: number
  next_attempt_at: Date | null
  response_status: number | null
  error_code: string | null
  error_message: string | null
  created_at: Date
  completed_at: Date | null
}

/** The sort key of the list. */
export type WebhookPosition = [subject_id: string, kind: WebhookKind, round: number]

const SHOWN = `kind, subject_id, round, event_type, url, status, attempts, next_attempt_at, response_status, error_code,
            error_message, created_at, completed_at`

/** The callbacks of a distribution, one for each round that has ended, latest first. At most 1000. */
export async function listCallbacks(db: Db, distribution: string): Promise<ListedWebhook[]> {
  const { rows } = await db.query<ListedWebhook>(
    `select ${SHOWN} from webhooks where subject_id = $1 and kind = 'distribution' order by round desc limit 1000`,
    [distribution],
  )
  return rows
}

/** One page; `before` is the position of the last webhook of the page before. */
export async function listWebhooks(
  db: Db,
  filter: { status?: WebhookStatus | undefined; kind?: WebhookKind | undefined },
  page: { limit: number; before: WebhookPosition | null },
): Promise<ListedWebhook[]> {
  const { rows } = await db.query<ListedWebhook>(
    // The index serves only the first condition on the id.
    `select ${SHOWN}
       from webhooks
      where ($1::text is null or status = $1)
        and ($2::text is null or kind = $2)
        and ($3::uuid is null or (subject_id <= $3 and (subject_id < $3 or (kind, round) < ($4::text, $5::int))))
      order by subject_id desc, kind desc, round desc limit $6`,
    [filter.status ?? null, filter.kind ?? null, ...(page.before ?? [null, null, null]), page.limit],
  )
  return rows
}
