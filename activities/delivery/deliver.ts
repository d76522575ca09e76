// `deliver`: opens an attempt, sends once, closes the attempt. It does not use Temporal; `index.ts` wraps it.
//
// Before the send, a database error may fail the call, because nothing has been sent. After the send, no error may fail
// it, or the document would be sent twice: if the row cannot be closed, the outcome is returned, and `record` writes
// it.
import { setTimeout as sleep } from 'node:timers/promises'
import { giveBackProbe } from '../../db/destinations/circuits.ts'
import { giveBackSlot } from '../../db/destinations/slots.ts'
import type { AttemptOutcome } from '../../db/distributions/attempts.ts'
import { withTenant } from '../../db/pool.ts'
import type { DeliverInput } from '../../workflows/messages.ts'
import type { ActivityDeps } from '../deps.ts'
import type { Message, Receipt } from '../destinations/destination.ts'
import { destinationFor } from '../destinations/registry.ts'
import { environmentCredentials } from '../destinations/secrets/environment-credentials.ts'
import { resolveSecrets } from '../destinations/secrets/resolution.ts'
import { readPlaceholders } from '../destinations/template/placeholders.ts'
import { countAttempt } from '../metrics.ts'
import { reserveAgain } from './admission.ts'
import type { Delivered } from './delivered.ts'
import { configurationOf, type LostAttempt, type Opened, openDelivery } from './open.ts'
import { Aborted, causeOf, logLevelOf, outcomeOf, WORKER_LOST } from './outcome.ts'
import { recordFor } from './record.ts'
import { messageBody, shapingMetadata } from './shape-message.ts'
import type { WorkerSlot } from './worker-slots.ts'

export interface DeliverControl {
  /** Aborts the send. */
  signal: AbortSignal
  /** After `signal` was aborted: whether the worker caused it (shutdown, lost heartbeat), and not a cancel. */
  workerLost: () => boolean
  /** Counts the calls that deferred this delivery in a row, from 1. */
  calls: number
}

export async function deliver(deps: ActivityDeps, input: DeliverInput, control: DeliverControl): Promise<Delivered> {
  const slot = deps.slots.slot()
  try {
    const lost: LostAttempt[] = []
    const opened = await withTenant(
      deps.pool,
      input.tenant_id,
      (db) => openDelivery(deps, db, input, control.calls, slot, lost),
      { planOnce: true },
    )
    for (const attempt of lost) logLost(deps, input, attempt)
    return opened.kind === 'opened' ? await attemptOnce(deps, input, opened, control, slot) : opened
  } finally {
    slot.leave()
  }
}

/** Counts and logs an attempt for its lost worker, which could not. */
function logLost(deps: ActivityDeps, input: DeliverInput, { attempt_number, delivery }: LostAttempt): void {
  const { tenant_id, distribution_id, destination } = input
  const { protocol, destination_id, request_id } = delivery
  countAttempt(deps.metrics, {
    ...{ tenant_id, destination, registered: destination_id !== null, protocol },
    ...{ status: 'retry', code: WORKER_LOST.code },
  })
  deps.logger.warn(
    { tenant_id, distribution_id, destination, request_id, attempt_number, code: WORKER_LOST.code },
    'attempt closed: its worker was lost',
  )
}

async function attemptOnce(
  deps: ActivityDeps,
  input: DeliverInput,
  opened: Opened,
  control: DeliverControl,
  slot: WorkerSlot,
): Promise<Delivered> {
  const log = deps.logger.child({
    tenant_id: input.tenant_id,
    distribution_id: input.distribution_id,
    destination: input.destination,
    request_id: opened.delivery.request_id,
    attempt_id: opened.attempt.id,
    attempt_number: opened.attempt.attempt_number,
  })
  const startedAt = performance.now()
  const sent = await send(deps, input, opened, control, slot)
  slot.end()
  const registered = opened.delivery.destination_id
  if (registered) deps.usage.count(input.tenant_id, registered)
  if (sent instanceof Aborted && !control.workerLost()) {
    // Only debug: `end` closes this attempt and logs it.
    log.debug('the send was aborted')
    await releaseEarly(deps, input, opened)
    return { kind: 'aborted' }
  }
  const { protocol } = opened.delivery
  const lifeMs = opened.delivery.expires_in_ms - (performance.now() - startedAt)
  const outcome = outcomeOf({ ...opened, lifeMs }, sent, deps.backoffFor(protocol, configurationOf(opened.delivery)))
  const { tenant_id, destination } = input
  const { status, code } = outcome
  countAttempt(deps.metrics, { tenant_id, destination, registered: registered !== null, protocol, status, code })
  deps.metrics.attemptSeconds.observe({ protocol }, (performance.now() - startedAt) / 1000)
  log[logLevelOf(sent)](
    { status: outcome.status, code: outcome.code, response_status: outcome.response_status, err: causeOf(sent) },
    'attempt ended',
  )
  const recorded = await recordFor(deps, input, outcome)
  if (!recorded) {
    log.error('the attempt could not be closed in time; the workflow records its outcome')
    return { kind: 'unrecorded', outcome }
  }
  return deliveredBy(outcome, opened.delivery.ordering_key !== null)
}

/**
 * Releases the slot, and the right to probe an open circuit, at once; `finish` closes the attempt later. If the release
 * fails, both become free when their leases end.
 */
async function releaseEarly(deps: ActivityDeps, input: DeliverInput, { slotted, delivery }: Opened): Promise<void> {
  const { tenant_id } = input
  const { target, delivery_id, circuit } = delivery
  if (!slotted && circuit === null) return
  await withTenant(deps.pool, tenant_id, async (db) => {
    if (circuit !== null) await giveBackProbe(db, { tenant_id, target, delivery_id })
    if (slotted) await giveBackSlot(db, tenant_id, target, delivery_id)
  }).catch(() => {})
}

async function send(
  deps: ActivityDeps,
  input: DeliverInput,
  opened: Opened,
  control: DeliverControl,
  slot: WorkerSlot,
): Promise<Receipt | Error> {
  const { delivery, attempt, credentials } = opened
  const reservedAt = performance.now() + opened.send_delay_ms
  try {
    if (credentials instanceof Error) throw credentials
    const destination = destinationFor(delivery.protocol)
    const environment = environmentCredentials(deps.environmentSecrets, input.tenant_id)
    const use = delivery.inline_configuration === null ? 'registered' : 'inline'
    const config = resolveSecrets(destination.config, configurationOf(delivery), credentials, environment, use)
    const content = await messageBody(deps, input, opened, control.signal)
    await readPlaceholders(config, content)
    const message: Message = {
      tenant_id: input.tenant_id,
      distribution_id: input.distribution_id,
      data_type: delivery.data_type,
      delivery_id: delivery.delivery_id,
      attempt_number: attempt.attempt_number,
      is_repeat: attempt.is_repeat,
      ...content,
      compression: delivery.compression,
      round: delivery.round,
      progress: delivery.progress ?? undefined,
    }
    const early = reservedAt - performance.now()
    if (early > 0) await sleep(early, undefined, { signal: control.signal })
    else await reserveAgain(deps.pool, input.tenant_id, delivery, -early, control.signal)
    // A cancel may have come during shaping.
    control.signal.throwIfAborted()
    slot.begin()
    const receipt = await destination.deliver(config, message, control.signal, { egress: deps.egress })
    return { ...receipt, metadata: { ...receipt.metadata, ...shapingMetadata(content) } }
  } catch (error) {
    if (control.signal.aborted) return new Aborted('aborted', { cause: error })
    return error instanceof Error ? error : new Error('a value that is not an Error was thrown', { cause: error })
  }
}

function deliveredBy(outcome: AttemptOutcome, ordered: boolean): Delivered {
  if (outcome.status === 'success') return { kind: 'success', ordered }
  const failure = { code: outcome.code ?? 'UNEXPECTED', message: outcome.message ?? '' }
  if (outcome.status === 'failed') return { kind: 'failed', ...failure, ordered }
  return { kind: 'later', delay_ms: outcome.retry_delay_ms ?? 0, ...failure, deferred: false }
}
