// `deliver`: opens an attempt, sends once, closes the attempt. Knows nothing of Temporal; `index.ts` wraps it.
//
// The one rule behind the shape: before a send, a database error may fail the call, for nothing has happened; after a
// send, nothing may, or the document goes out twice. The outcome is then handed back and written by `record`.
import { setTimeout as sleep } from 'node:timers/promises'
import {
  acceptLateSuccess,
  closeAttempt,
  closeLostAttempt,
  disableGoneDestination,
  onlyLostAttempts,
  openAttempt,
} from '../db/attempts.ts'
import { loadCredentials } from '../db/credentials.ts'
import { deferDelivery, failDelivery, type LockedDelivery, lockDelivery } from '../db/deliveries.ts'
import { jobId } from '../db/job-id.ts'
import { type Db, withTenant } from '../db/pool.ts'
import { UnsealError } from '../db/secrets.ts'
import type { DeliveryCode } from '../db/states.ts'
import { AD_HOC } from '../temporal-config/metrics.ts'
import type { AttemptOutcome, DeliverInput } from '../workflows/messages.ts'
import { retryDelay } from './backoff.ts'
import type { ActivityDeps } from './deps.ts'
import type { Destination, Message, Receipt } from './destinations/destination.ts'
import { environmentCredentials } from './destinations/environment-credentials.ts'
import { DeliveryError } from './destinations/errors.ts'
import { destinationFor } from './destinations/registry.ts'
import { type Credential, resolveSecrets } from './destinations/secret-resolution.ts'
import { secretReferences } from './destinations/secret-storage.ts'
import { decide } from './opening.ts'

/** What became of one call. */
export type Delivered =
  /** The row is final, or `finish` will end it. */
  | { kind: 'over' }
  | { kind: 'success' }
  | { kind: 'failed'; code: DeliveryCode; message: string }
  /** To be called again after `delay_ms`; `deferred` when it cost no attempt. */
  | { kind: 'later'; delay_ms: number; code: DeliveryCode; message: string; deferred: boolean }
  /** Sent, but the row could not be closed in time. */
  | { kind: 'unrecorded'; outcome: AttemptOutcome }
  /** Stopped by an order to cancel, in the middle of the send: `finish` closes the attempt. */
  | { kind: 'aborted' }

export interface DeliverControl {
  /** Aborts the send. */
  signal: AbortSignal
  /** Asked once `signal` has fired: whether the worker is to blame (shutdown, lost heartbeat) and not the tenant. */
  workerLost: () => boolean
  /** How often this very delivery has been deferred in a row, from 1. */
  turn: number
}

interface Opened {
  kind: 'opened'
  attempt: { id: string; attempt_number: number }
  delivery: LockedDelivery
  /** A failure after this attempt would be tried again. */
  retriesLeft: boolean
  /** Counts from 1 within the round; the back-off's exponent. */
  failures: number
  credentials: Map<string, Credential> | UnsealError
}

export async function deliver(deps: ActivityDeps, input: DeliverInput, control: DeliverControl): Promise<Delivered> {
  const opened = await withTenant(deps.pool, input.tenant_id, (db) => open(deps, db, input, control.turn))
  if (opened.kind !== 'opened') return opened
  const log = deps.logger.child({
    tenant_id: input.tenant_id,
    distribution_id: input.distribution_id,
    destination: input.destination,
    attempt_id: opened.attempt.id,
    attempt_number: opened.attempt.attempt_number,
  })
  const startedAt = performance.now()
  const sent = await send(deps, input, opened, control)
  const registered = opened.delivery.destination_id
  if (registered) deps.usage.count(input.tenant_id, registered)
  if (sent instanceof Aborted && !control.workerLost()) {
    log.info('attempt stopped by an order to cancel')
    return { kind: 'aborted' }
  }
  const outcome = outcomeOf(deps, opened, sent)
  const { protocol } = opened.delivery
  deps.metrics.attempts.inc({ destination: registered ? input.destination : AD_HOC, protocol, status: outcome.status })
  deps.metrics.attemptSeconds.observe({ protocol }, (performance.now() - startedAt) / 1000)
  log[outcome.status === 'success' ? 'info' : 'warn'](
    { status: outcome.status, code: outcome.code, response_status: outcome.response_status, err: causeOf(sent) },
    'attempt ended',
  )
  const recorded = await recordFor(deps, input, outcome, deps.closeWithinMs)
  if (!recorded) {
    log.error('the attempt could not be closed in time; its outcome goes through the history')
    return { kind: 'unrecorded', outcome }
  }
  return deliveredBy(outcome)
}

/** The decision and the opened row, in one transaction under the delivery's lock. */
async function open(deps: ActivityDeps, db: Db, input: DeliverInput, turn: number): Promise<Opened | Delivered> {
  const id = jobId(input.distribution_id)
  const { destination } = input
  const delivery = await lockDelivery(db, id, destination)
  if (!delivery) return { kind: 'over' }
  const decision = decide(delivery)
  switch (decision.kind) {
    case 'over':
      return decision
    case 'wait':
      return { kind: 'later', delay_ms: decision.delay_ms, ...lastFailure(delivery), deferred: false }
    case 'defer': {
      const delay_ms = deferral(turn, deps)
      await deferDelivery(db, id, destination, decision.code, decision.message, delay_ms)
      return { kind: 'later', delay_ms, code: decision.code, message: decision.message, deferred: true }
    }
    case 'fail':
      await failDelivery(db, id, destination, decision.code, decision.message)
      return { ...decision, kind: 'failed' }
  }
  if (delivery.status === 'processing') await closeLostAttempt(db, id, destination)
  let budget = delivery.budget
  if (decision.kind === 'exhausted') {
    budget += 1
    const another = delivery.round_attempts < budget && (await onlyLostAttempts(db, id, destination, delivery.round))
    if (!another) {
      const failure = delivery.status === 'processing' ? WORKER_LOST : lastFailure(delivery)
      await failDelivery(db, id, destination, failure.code, failure.message)
      return { kind: 'failed', ...failure }
    }
  }
  const credentials = await credentialsFor(deps, db, delivery)
  const attempt = await openAttempt(db, id, destination, {
    configuration_version: delivery.configuration_version,
    worker: deps.worker,
  })
  const failures = delivery.round_attempts + 1
  return { kind: 'opened', attempt, delivery, retriesLeft: failures < budget, failures, credentials }
}

const WORKER_LOST = {
  code: 'WORKER_LOST' as const,
  message: 'The worker stopped before the outcome was known',
}

function lastFailure(delivery: LockedDelivery): { code: DeliveryCode; message: string } {
  return {
    code: (delivery.error_code as DeliveryCode | null) ?? 'UNEXPECTED',
    message: delivery.error_message ?? 'The next attempt is not due yet',
  }
}

/** Grows to a minute, spread upward, so that an enabled destination is not met by everything at once. */
function deferral(turn: number, deps: ActivityDeps): number {
  return retryDelay(turn, undefined, { first_ms: deps.backoff.first_ms * 5, max_ms: 60_000 })
}

/** @throws DeliveryError for a protocol that this build does not have */
function builtIn(protocol: string): Destination {
  const destination = destinationFor(protocol)
  if (!destination) throw new DeliveryError('MISCONFIGURED', `The protocol ${protocol} is not available`)
  return destination
}

function configurationOf(delivery: LockedDelivery): Record<string, unknown> {
  return delivery.inline_configuration ?? delivery.configuration ?? {}
}

/** Credentials named by the configuration; one that can not be unsealed fails the attempt, not the call. */
async function credentialsFor(deps: ActivityDeps, db: Db, delivery: LockedDelivery) {
  const destination = destinationFor(delivery.protocol)
  const names = destination ? secretReferences(destination.config, configurationOf(delivery)) : []
  if (names.length === 0) return new Map<string, Credential>()
  try {
    return await loadCredentials(db, deps.sealer, names)
  } catch (error) {
    if (error instanceof UnsealError) return error
    throw error
  }
}

/** The send was stopped from outside; what the receiver got is unknown. */
class Aborted extends Error {}

async function send(
  deps: ActivityDeps,
  input: DeliverInput,
  opened: Opened,
  control: DeliverControl,
): Promise<Receipt | Error> {
  const { delivery, attempt, credentials } = opened
  try {
    if (credentials instanceof Error) throw credentials
    const destination = builtIn(delivery.protocol)
    const environment = environmentCredentials(deps.environmentSecrets, input.tenant_id)
    const config = resolveSecrets(destination.config, configurationOf(delivery), credentials, environment)
    const message: Message = {
      tenant_id: input.tenant_id,
      distribution_id: input.distribution_id,
      data_type: delivery.data_type,
      delivery_id: delivery.delivery_id,
      attempt_number: attempt.attempt_number,
      body: delivery.payload_bytes!,
      content_type: delivery.content_type,
      compression: delivery.compression,
    }
    return await destination.deliver(config, message, control.signal, { egress: deps.egress })
  } catch (error) {
    if (control.signal.aborted) return new Aborted('aborted', { cause: error })
    return error instanceof Error ? error : new Error('a thrown value that is no error', { cause: error })
  }
}

function outcomeOf(deps: ActivityDeps, opened: Opened, sent: Receipt | Error): AttemptOutcome {
  const base = {
    attempt_id: opened.attempt.id,
    attempt_number: opened.attempt.attempt_number,
    completed_at: new Date().toISOString(),
    gone: false,
    metadata: {},
  }
  if (!(sent instanceof Error)) {
    return {
      ...base,
      status: 'success',
      code: null,
      message: null,
      response_status: sent.status,
      response_body: sent.body,
      retry_delay_ms: null,
      metadata: sent.metadata ?? {},
    }
  }
  if (sent instanceof Aborted) {
    return {
      ...base,
      status: 'retry',
      ...WORKER_LOST,
      response_status: null,
      response_body: null,
      retry_delay_ms: deps.backoff.first_ms,
      metadata: { outcome: 'unknown' },
    }
  }
  const failure = asDeliveryError(sent)
  const again = failure.retryable && opened.retriesLeft
  return {
    ...base,
    status: again ? 'retry' : 'failed',
    code: failure.code,
    message: failure.message,
    response_status: failure.response?.status ?? null,
    response_body: failure.response?.body ?? null,
    retry_delay_ms: again ? retryDelay(opened.failures, failure.retryAfterMs, deps.backoff) : null,
    gone: failure.gone,
  }
}

function asDeliveryError(error: Error): DeliveryError {
  if (error instanceof DeliveryError) return error
  if (error instanceof UnsealError) {
    return new DeliveryError('MISCONFIGURED', 'A credential of the destination can not be read', { cause: error })
  }
  return new DeliveryError('UNEXPECTED', 'An unexpected error; the log has it under the attempt id', { cause: error })
}

function causeOf(sent: Receipt | Error): unknown {
  if (!(sent instanceof Error)) return undefined
  return sent instanceof DeliveryError ? sent.cause : sent
}

function deliveredBy(outcome: AttemptOutcome): Delivered {
  if (outcome.status === 'success') return { kind: 'success' }
  const failure = { code: outcome.code ?? 'UNEXPECTED', message: outcome.message ?? '' }
  if (outcome.status === 'failed') return { kind: 'failed', ...failure }
  return { kind: 'later', delay_ms: outcome.retry_delay_ms ?? 0, ...failure, deferred: false }
}

/** Writes an outcome, trying again for `withinMs`. False when the database did not take it in that time. */
async function recordFor(
  deps: ActivityDeps,
  input: DeliverInput,
  outcome: AttemptOutcome,
  withinMs: number,
): Promise<boolean> {
  const deadline = performance.now() + withinMs
  for (;;) {
    try {
      await record(deps, input, outcome)
      return true
    } catch (error) {
      deps.logger.warn({ err: error, attempt_id: outcome.attempt_id }, 'closing the attempt failed')
      if (performance.now() >= deadline) return false
      await sleep(Math.min(500, withinMs))
    }
  }
}

/** Closes the attempt and moves its delivery on; idempotent. Answers whether the delivery is final. */
export function record(deps: ActivityDeps, input: DeliverInput, outcome: AttemptOutcome): Promise<boolean> {
  const id = jobId(input.distribution_id)
  return withTenant(
    deps.pool,
    input.tenant_id,
    async (db) => {
      const closed = await closeAttempt(db, id, input.destination, outcome)
      if (!closed && outcome.status === 'success') await acceptLateSuccess(db, id, input.destination, outcome)
      if (outcome.gone) await disableGoneDestination(db, id, input.destination)
      return outcome.status !== 'retry'
    },
    { statementTimeoutMs: 2000 },
  )
}
