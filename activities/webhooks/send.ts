// `sendWebhook`: one attempt to send a webhook, signed as Standard Webhooks. It returns the delay until the next attempt,
// and the workflow waits for it. The REST destination sends, so the same egress guard and deadlines apply.

import { now } from '../../db/clock.ts'
import { withTenant } from '../../db/pool.ts'
import { writeAudit } from '../../db/tenants/audit.ts'
import { auditedResource, parseWebhookId, publicSubjectId } from '../../db/webhooks/webhook-id.ts'
import { closeWebhook, type OpenWebhook, openWebhook, type WebhookRow } from '../../db/webhooks/webhooks.ts'
import type { WebhookRef } from '../../workflows/messages.ts'
import type { WorkerSlot } from '../delivery/worker-slots.ts'
import type { ActivityDeps } from '../deps.ts'
import { DeliveryError } from '../destinations/errors.ts'
import { targetOfUrl, targetText } from '../destinations/network/target.ts'
import { rest } from '../destinations/rest/index.ts'
import { literalUrl } from '../destinations/template/placeholders.ts'

/** The whole attempt, from connecting to the last byte of the answer. */
const ATTEMPT_SECONDS = 15
/** Delays after the first, second … attempt, in milliseconds; then hourly until the webhook expires. */
const DELAYS_MS = [5_000, 30_000, 120_000, 600_000, 1_800_000]
const HOURLY_MS = 3_600_000
const MAX_SLOT_DELAY_MS = 10_000
const DAY_MS = 86_400_000

export type Sent = { done: true } | { done: false; delay_ms: number; message: string }

interface Webhook extends WebhookRow, OpenWebhook {
  webhook_id: string
}

export async function sendWebhook(deps: ActivityDeps, ref: WebhookRef, signal: AbortSignal): Promise<Sent> {
  const key = parseWebhookId(ref.webhook_id)
  if (!key) return { done: true }
  const row = { ...key, tenant_id: ref.tenant_id }
  const slot = deps.backgroundSlots.slot()
  try {
    const due = await withTenant(
      deps.pool,
      ref.tenant_id,
      async (db) => {
        const due = await openWebhook(db, row)
        if (due?.status !== 'pending') return null
        holdWhileSuspended(deps, due)
        takeSlot(slot, ref.tenant_id, due)
        return due
      },
      { planOnce: true },
    )
    return due ? await sendNow(deps, { ...row, ...due, webhook_id: ref.webhook_id }, slot, signal) : { done: true }
  } catch (error) {
    if (!(error instanceof NoSlot)) throw error
    return { done: false, delay_ms: error.delayMs, message: error.message }
  } finally {
    slot.leave()
  }
}

/** Thrown so that the transaction rolls back, which leaves the attempt uncounted. */
class NoSlot extends Error {
  readonly delayMs: number

  constructor(delayMs: number, why = 'Other webhooks of this tenant are being sent') {
    super(why)
    this.delayMs = delayMs
  }
}

/** Checks a tenant less often the longer it is suspended. A webhook that expires before the next check fails now. */
function holdWhileSuspended(deps: ActivityDeps, due: OpenWebhook): void {
  const shortest = deps.timing.backoff.first_ms * 60
  const age = now() + DAY_MS - due.expires_at.getTime()
  const delay = Math.min(shortest * 5, Math.max(shortest, age / 4))
  if (due.tenant_status !== 'active' && !expiresWithin(due, delay)) throw new NoSlot(delay, suspended(due))
}

function suspended({ tenant_status }: OpenWebhook): string {
  return `The tenant is ${tenant_status}`
}

/** Limits the slots of one receiver and of one tenant. Otherwise a receiver that hangs would block all webhooks. */
function takeSlot(slot: WorkerSlot, tenantId: string, { url }: OpenWebhook): void {
  const at = URL.canParse(url) ? targetOfUrl(new URL(url)) : undefined
  const key = `${tenantId} ${at ? targetText('callback', at) : ''}`
  const taken = slot.take(tenantId, key)
  if (!taken.taken) throw new NoSlot(slotRetryDelay(slot, key, taken.delay_ms))
}

/** When to ask for a slot again. In a long queue the requests are spread out, because each of them costs a transaction. */
export function slotRetryDelay(slot: WorkerSlot, key: string, delayMs: number): number {
  return delayMs < MAX_SLOT_DELAY_MS ? delayMs : slot.apart(key, MAX_SLOT_DELAY_MS)
}

async function sendNow(deps: ActivityDeps, webhook: Webhook, slot: WorkerSlot, signal: AbortSignal): Promise<Sent> {
  const { tenant_id, webhook_id, kind, round, event_type, attempts } = webhook
  const ids = { tenant_id, webhook_id, [`${kind}_id`]: publicSubjectId(webhook) }
  const log = deps.logger.child({ ...ids, event_type, attempt_number: attempts })
  slot.begin()
  const sent = await send(deps, webhook, signal).catch((error: unknown) => failureOf(error, signal))
  slot.end()
  const failure = sent instanceof DeliveryError ? sent : null
  const delay_ms = DELAYS_MS[attempts - 1] ?? HOURLY_MS
  const over = failure === null || !isWorthRepeating(failure) || expiresWithin(webhook, delay_ms)
  await withTenant(
    deps.pool,
    tenant_id,
    async (db) => {
      await closeWebhook(db, webhook, {
        status: failure === null ? 'success' : over ? 'failed' : 'pending',
        response_status: (sent instanceof DeliveryError ? sent.response : sent)?.status ?? null,
        error_code: failure?.code ?? null,
        error_message: failure?.message ?? null,
        retry_delay_ms: over ? null : delay_ms,
      })
      if (failure === null || !over) return
      await writeAudit(db, {
        tenant_id,
        actor: 'distributor',
        action: 'callback.failed',
        ...auditedResource(webhook),
        details: { round, error_code: failure.code, error_message: failure.message },
      })
    },
    { planOnce: true },
  )
  deps.metrics.webhooks.inc({ kind, status: failure === null ? 'success' : over ? 'failed' : 'retry' })
  if (failure === null) {
    log.info('webhook delivered')
    return { done: true }
  }
  const { code, message: error_message, response, cause: err } = failure
  const next = over ? { given_up: true } : { next_attempt_in_ms: delay_ms }
  log.warn({ code, response_status: response?.status ?? null, error_message, ...next, err }, 'webhook failed')
  return over ? { done: true } : { done: false, delay_ms, message: failure.message }
}

function expiresWithin(due: OpenWebhook, delayMs: number): boolean {
  return now() + delayMs > due.expires_at.getTime()
}

/** Every error counts as a failed attempt, except those that a stop of the worker causes. */
function failureOf(error: unknown, signal: AbortSignal): DeliveryError {
  if (error instanceof DeliveryError) return error
  if (signal.aborted) throw error
  return new DeliveryError('UNEXPECTED', 'An unexpected error', { cause: error })
}

/** A receiver that is being repaired may answer 404 or 401 for a while. Only permanent failures end at once. */
function isWorthRepeating(error: DeliveryError): boolean {
  return error.code !== 'EGRESS_DENIED' && error.code !== 'MISCONFIGURED' && !error.gone
}

async function send(deps: ActivityDeps, webhook: Webhook, signal: AbortSignal) {
  const { tenant_id, webhook_id } = webhook
  if (webhook.tenant_status !== 'active') throw new DeliveryError('DESTINATION_DISABLED', suspended(webhook))
  const signing_secret = webhook.callback_secret && unsealed(deps, tenant_id, webhook.callback_secret)
  const config = rest.config.safeParse({
    endpoint: literalUrl(webhook.url),
    timeout_seconds: ATTEMPT_SECONDS,
    ...(signing_secret ? { signing: { signing_secret } } : {}),
  })
  if (!config.success) throw new DeliveryError('MISCONFIGURED', 'The callback URL cannot be used')
  const message = {
    tenant_id,
    distribution_id: publicSubjectId(webhook),
    data_type: webhook.event_type,
    delivery_id: webhook_id,
    attempt_number: webhook.attempts,
    // Without the spaces that PostgreSQL adds to JSON; the same bytes, and so the same signature, on every attempt.
    body: Buffer.from(JSON.stringify(JSON.parse(webhook.body))),
    content_type: 'application/json',
    compression: 'none' as const,
  }
  return await rest.deliver(config.data as Parameters<typeof rest.deliver>[0], message, signal, { egress: deps.egress })
}

function unsealed(deps: ActivityDeps, tenantId: string, sealed: string): string {
  try {
    return deps.sealer.unseal(sealed, [tenantId, 'tenants', 'callback_secret'])
  } catch (error) {
    throw new DeliveryError('MISCONFIGURED', "The tenant's callback secret cannot be decrypted", { cause: error })
  }
}
