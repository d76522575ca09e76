// `callback`: tells an owner that a distribution or a batch has ended, signed as Standard Webhooks. One try per call; the delays
// between tries are Temporal's, by what is answered here. The sending is REST's own, with the same guard and deadlines.

import { now } from '../../db/clock.ts'
import { jobId } from '../../db/distributions/job-id.ts'
import { type Db, withTenant } from '../../db/pool.ts'
import { writeAudit } from '../../db/tenants/audit.ts'
import { closeBatchCallback, openBatchCallback } from '../../db/webhooks/batch-callbacks.ts'
import { type CallbackOutcome, closeCallback, type DueCallback, openCallback } from '../../db/webhooks/callbacks.ts'
import { closeEvent, openEvent } from '../../db/webhooks/operator-events.ts'
import type { BatchRef, EventRef, NotifyInput } from '../../workflows/messages.ts'
import type { WorkerSlot } from '../delivery/worker-slots.ts'
import type { ActivityDeps } from '../deps.ts'
import { DeliveryError } from '../destinations/errors.ts'
import { targetOfUrl, targetText } from '../destinations/network/target.ts'
import { rest } from '../destinations/rest/index.ts'
import { literalUrl } from '../destinations/template/placeholders.ts'

/** In all, from connecting to the last byte of the answer. */
const TRY_SECONDS = 15
/** Delays after the first, second … try, in milliseconds; then hourly until a day has passed. */
const DELAYS_MS = [5_000, 30_000, 120_000, 600_000, 1_800_000]
const HOURLY_MS = 3_600_000
const LONG_LINE_MS = 10_000
const DAY_MS = 86_400_000

export type CalledBack = { done: true } | { done: false; delay_ms: number; message: string }

/** What ended, and where its callback stands. */
interface Ended {
  tenant_id: string
  /** For the log. */
  ids: Record<string, string>
  /** The `webhook-id`: the same on every repeat, another for each time that something ends. */
  webhook_id: string
  resource: { resource_type: string; resource_id: string; details: Record<string, unknown> }
  open(db: Db): Promise<DueCallback | null>
  close(db: Db, outcome: CallbackOutcome): Promise<void>
}

export function callback(deps: ActivityDeps, input: NotifyInput, signal: AbortSignal): Promise<CalledBack> {
  const { tenant_id, distribution_id, round } = input
  const id = jobId(distribution_id)
  const ended: Ended = {
    tenant_id,
    ids: { distribution_id },
    webhook_id: `${distribution_id}.${round}`,
    resource: { resource_type: 'distribution_job', resource_id: id, details: { round } },
    open: (db) => openCallback(db, id, round),
    close: (db, outcome) => closeCallback(db, id, round, outcome),
  }
  return tell(deps, ended, signal)
}

/** The same for a batch. */
export function batchCallback(deps: ActivityDeps, ref: BatchRef, signal: AbortSignal): Promise<CalledBack> {
  const { tenant_id, batch_id } = ref
  const ended: Ended = {
    tenant_id,
    ids: { batch_id },
    webhook_id: `batch_${batch_id}`,
    resource: { resource_type: 'batch', resource_id: batch_id, details: {} },
    open: (db) => openBatchCallback(db, batch_id),
    close: (db, outcome) => closeBatchCallback(db, batch_id, outcome),
  }
  return tell(deps, ended, signal)
}

/** The same for an event that an operator should hear of. */
export function announce(deps: ActivityDeps, ref: EventRef, signal: AbortSignal): Promise<CalledBack> {
  const { tenant_id, event_id } = ref
  const ended: Ended = {
    tenant_id,
    ids: { event_id },
    webhook_id: `event_${event_id}`,
    resource: { resource_type: 'operator_event', resource_id: event_id, details: {} },
    open: (db) => openEvent(db, event_id),
    close: (db, outcome) => closeEvent(db, event_id, outcome),
  }
  return tell(deps, ended, signal)
}

async function tell(deps: ActivityDeps, input: Ended, signal: AbortSignal): Promise<CalledBack> {
  const slot = deps.backgroundSlots.slot()
  try {
    const due = await withTenant(deps.pool, input.tenant_id, async (db) => {
      const due = await input.open(db)
      if (due?.status !== 'pending') return due
      holdWhileSuspended(deps, due)
      takeSlot(slot, input.tenant_id, due)
      return due
    })
    return due?.status === 'pending' ? await tellNow(deps, input, due, slot, signal) : { done: true }
  } catch (error) {
    if (!(error instanceof NoSlot)) throw error
    return { done: false, delay_ms: error.delayMs, message: error.message }
  } finally {
    slot.leave()
  }
}

/** Thrown, so that the try is not counted. */
class NoSlot extends Error {
  readonly delayMs: number

  constructor(delayMs: number, why = 'Others of this tenant are being told') {
    super(why)
    this.delayMs = delayMs
  }
}

/** Seldom for one that is suspended for long. What has waited for a day ends: it is opened, and fails. */
function holdWhileSuspended(deps: ActivityDeps, due: DueCallback): void {
  const shortest = deps.backoff.first_ms * 60
  const delay = Math.min(shortest * 5, Math.max(shortest, (now() - due.created_at.getTime()) / 4))
  if (due.tenant_status !== 'active' && !endsBefore(due, delay)) throw new NoSlot(delay, suspended(due))
}

function suspended({ tenant_status }: DueCallback): string {
  return `The tenant is ${tenant_status}`
}

/** A receiver that hangs may hold a few slots only, and a tenant not many; otherwise all others would wait for it. */
function takeSlot(slot: WorkerSlot, tenantId: string, { callback_url }: DueCallback): void {
  const at = URL.canParse(callback_url) ? targetOfUrl(new URL(callback_url)) : undefined
  const key = `${tenantId} ${at ? targetText('callback', at) : ''}`
  const taken = slot.take(tenantId, key)
  if (!taken.taken) throw new NoSlot(comeAgain(slot, key, taken.delay_ms))
}

/** When to ask for a slot again. In a long line the retries are spread out: ten thousand that ask in vain are a load too. */
export function comeAgain(slot: WorkerSlot, key: string, delayMs: number): number {
  return delayMs < LONG_LINE_MS ? delayMs : slot.apart(key, LONG_LINE_MS)
}

async function tellNow(
  deps: ActivityDeps,
  input: Ended,
  due: DueCallback,
  slot: WorkerSlot,
  signal: AbortSignal,
): Promise<CalledBack> {
  const log = deps.logger.child({
    tenant_id: input.tenant_id,
    ...input.ids,
    callback: due.event_type,
    attempt_number: due.attempts,
  })
  slot.begin()
  const sent = await send(deps, input, due, signal).catch((error: unknown) => failureOf(error, signal))
  slot.end()
  const failure = sent instanceof DeliveryError ? sent : null
  const delay_ms = DELAYS_MS[due.attempts - 1] ?? HOURLY_MS
  const over = failure === null || !isWorthRepeating(failure) || endsBefore(due, delay_ms)
  await withTenant(deps.pool, input.tenant_id, async (db) => {
    await input.close(db, {
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
      ...input.resource,
      details: { ...input.resource.details, error_code: failure.code, error_message: failure.message },
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
  return now() + delayMs > due.created_at.getTime() + DAY_MS
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

async function send(deps: ActivityDeps, input: Ended, due: DueCallback, signal: AbortSignal) {
  if (due.tenant_status !== 'active') throw new DeliveryError('DESTINATION_DISABLED', suspended(due))
  const signing_secret = due.callback_secret && unsealed(deps, input.tenant_id, due.callback_secret)
  const config = rest.config.safeParse({
    endpoint: literalUrl(due.callback_url),
    timeout_seconds: TRY_SECONDS,
    ...(signing_secret ? { signing: { signing_secret } } : {}),
  })
  if (!config.success) throw new DeliveryError('MISCONFIGURED', 'The callback URL can not be used')
  const message = {
    tenant_id: input.tenant_id,
    distribution_id: input.ids.distribution_id ?? input.webhook_id,
    data_type: due.event_type,
    delivery_id: input.webhook_id,
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
