// `callback`: tells a distribution's owner that it has ended, signed as Standard Webhooks. One try per call; the delays
// between tries are Temporal's, by what is answered here. The sending is REST's own, with the same guard and deadlines.

import { writeAudit } from '../db/audit.ts'
import { closeCallback, type DueCallback, openCallback } from '../db/callbacks.ts'
import { jobId } from '../db/job-id.ts'
import { withTenant } from '../db/pool.ts'
import type { NotifyInput } from '../workflows/messages.ts'
import type { ActivityDeps } from './deps.ts'
import { DeliveryError } from './destinations/errors.ts'
import { literalUrl } from './destinations/placeholders.ts'
import { rest } from './destinations/rest.ts'

/** In all, from connecting to the last byte of the answer. */
const TRY_SECONDS = 15
/** Delays after the first, second … try, in milliseconds; then hourly until a day has passed. */
const DELAYS_MS = [5_000, 30_000, 120_000, 600_000, 1_800_000]
const HOURLY_MS = 3_600_000
const DAY_MS = 86_400_000

export type CalledBack = { done: true } | { done: false; delay_ms: number; message: string }

export async function callback(deps: ActivityDeps, input: NotifyInput, signal: AbortSignal): Promise<CalledBack> {
  const id = jobId(input.distribution_id)
  const due = await withTenant(deps.pool, input.tenant_id, (db) => openCallback(db, id, input.round))
  if (due?.status !== 'pending') return { done: true }
  const log = deps.logger.child({
    tenant_id: input.tenant_id,
    distribution_id: input.distribution_id,
    callback: due.event_type,
    attempt_number: due.attempts,
  })
  const sent = await send(deps, input, due, signal).catch((error: unknown) => failureOf(error, signal))
  const failure = sent instanceof DeliveryError ? sent : null
  const delay_ms = DELAYS_MS[due.attempts - 1] ?? HOURLY_MS
  const over = failure === null || !isWorthRepeating(failure) || endsBefore(due, delay_ms)
  await withTenant(deps.pool, input.tenant_id, async (db) => {
    await closeCallback(db, id, input.round, {
      status: failure === null ? 'success' : over ? 'failed' : 'pending',
      response_status: (sent instanceof DeliveryError ? sent.response : sent)?.status ?? null,
      error_code: failure?.code ?? null,
      error_message: failure?.message ?? null,
      retry_delay_ms: over ? null : delay_ms,
    })
    if (failure === null || !over) return
    await writeAudit(db, {
      tenant_id: input.tenant_id,
      actor: 'distributor',
      action: 'callback.failed',
      resource_type: 'distribution_job',
      resource_id: id,
      details: { round: input.round, error_code: failure.code, error_message: failure.message },
    })
  })
  if (failure === null) {
    log.info('callback delivered')
    return { done: true }
  }
  log.warn({ code: failure.code, err: failure.cause, over }, 'callback failed')
  return over ? { done: true } : { done: false, delay_ms, message: failure.message }
}

function endsBefore(due: DueCallback, delayMs: number): boolean {
  return Date.now() + delayMs > due.created_at.getTime() + DAY_MS
}

/** Whatever goes wrong in a send is one try of the day's; only the worker's own end is not. */
function failureOf(error: unknown, signal: AbortSignal): DeliveryError {
  if (error instanceof DeliveryError) return error
  if (signal.aborted) throw error
  return new DeliveryError('UNEXPECTED', 'An unexpected error', { cause: error })
}

/** A receiver that is being repaired answers 404 or 401 for a while; only what can never succeed ends at once. */
function isWorthRepeating(error: DeliveryError): boolean {
  return error.code !== 'EGRESS_DENIED' && error.code !== 'MISCONFIGURED' && !error.gone
}

async function send(deps: ActivityDeps, input: NotifyInput, due: DueCallback, signal: AbortSignal) {
  const signing_secret = due.callback_secret && unsealed(deps, input.tenant_id, due.callback_secret)
  const config = rest.config.safeParse({
    endpoint: literalUrl(due.callback_url),
    timeout_seconds: TRY_SECONDS,
    ...(signing_secret ? { signing: { signing_secret } } : {}),
  })
  if (!config.success) throw new DeliveryError('MISCONFIGURED', 'The callback URL can not be used')
  const message = {
    tenant_id: input.tenant_id,
    distribution_id: input.distribution_id,
    data_type: due.event_type,
    // The `webhook-id`: the same on every repeat, another for each time that the job ends.
    delivery_id: `${input.distribution_id}.${input.round}`,
    attempt_number: due.attempts,
    body: Buffer.from(due.body),
    content_type: 'application/json',
    compression: 'none' as const,
  }
  return await rest.deliver(config.data as Parameters<typeof rest.deliver>[0], message, signal, { egress: deps.egress })
}

function unsealed(deps: ActivityDeps, tenantId: string, sealed: string): string {
  try {
    return deps.sealer.unseal(sealed, [tenantId, 'tenants', 'callback_secret'])
  } catch (error) {
    throw new DeliveryError('MISCONFIGURED', "The tenant's callback secret can not be read", { cause: error })
  }
}
