// Opens an attempt before anything is sent: it decides and writes the row in one transaction, under the delivery's
// lock. A database error here fails the activity call and uses no attempt.

import { loadCredentials } from '../../db/destinations/credentials.ts'
import { isAtVersion } from '../../db/destinations/destinations.ts'
import { closeLostAttempt, onlyLostAttempts, openAttempt } from '../../db/distributions/attempts.ts'
import {
  deferDelivery,
  failDelivery,
  type LockedDelivery,
  lockDelivery,
  readPayload,
} from '../../db/distributions/deliveries.ts'
import { endNeedless, handTurnOn } from '../../db/distributions/failover.ts'
import { jobId } from '../../db/distributions/job-id.ts'
import { findAhead, holdDelivery } from '../../db/distributions/ordering.ts'
import type { Db } from '../../db/pool.ts'
import { UnsealError } from '../../db/secrets.ts'
import type { DeliveryCode } from '../../db/states.ts'
import type { DeliverInput } from '../../workflows/messages.ts'
import type { ActivityDeps } from '../deps.ts'
import { destinationFor } from '../destinations/registry.ts'
import type { Credential } from '../destinations/secrets/resolution.ts'
import { secretReferences } from '../destinations/secrets/storage.ts'
import { admit } from './admission.ts'
import { retryDelay } from './backoff.ts'
import { decide } from './decide.ts'
import type { Delivered } from './delivered.ts'
import { WORKER_LOST } from './outcome.ts'
import type { WorkerSlot } from './worker-slots.ts'

export interface Opened {
  kind: 'opened'
  attempt: { id: string; attempt_number: number; is_repeat: boolean }
  delivery: LockedDelivery
  /** The exact bytes to deliver. Other attempts may share this buffer, so do not change it. */
  payload: Buffer
  /** Whether the delivery may be retried if this attempt fails. */
  retriesLeft: boolean
  /** Counts from 1 within the round; determines the back-off. */
  failures: number
  credentials: Map<string, Credential> | UnsealError
  /** Milliseconds until the send may start under a rate limit. */
  send_delay_ms: number
  /** The attempt holds one of the destination's slots, which must be released. */
  slotted: boolean
}

/** An attempt that a lost worker left open, and that this call closed. */
export interface LostAttempt {
  attempt_number: number
  delivery: Pick<LockedDelivery, 'protocol' | 'destination_id' | 'request_id'>
}

/**
 * Opens an attempt, or says why not. Call it in a transaction.
 * @param lost receives the attempts that are closed as lost, so that the caller can log them after the commit
 */
export async function openDelivery(
  deps: ActivityDeps,
  db: Db,
  input: DeliverInput,
  calls: number,
  slot: WorkerSlot,
  lost: LostAttempt[],
): Promise<Opened | Delivered> {
  const id = jobId(input.distribution_id)
  const { destination } = input
  const delivery = await lockDelivery(db, id, destination)
  if (!delivery) return { kind: 'over' }
  const closeLost = async () => {
    const attempt_number = await closeLostAttempt(db, id, destination)
    if (attempt_number !== null) lost.push({ attempt_number, delivery })
  }
  const decision = decide(delivery)
  if (decision.kind === 'over') {
    // A late success of an earlier attempt may have ended the delivery while a later attempt, since lost, was open.
    if (delivery.status === 'success') await closeLost()
    return { ...decision, ordered: delivery.ordering_key !== null }
  }
  if (delivery.resumes > (input.resumes ?? 0)) return { kind: 'resumed' }
  // An open attempt has lost its worker: a delivery has only one activity at a time, and that is this one.
  if (delivery.status === 'processing') await closeLost()
  switch (decision.kind) {
    case 'skip':
      await endNeedless(db, id, destination)
      return { kind: 'over', ordered: delivery.ordering_key !== null }
    case 'wait':
      return { kind: 'later', delay_ms: decision.delay_ms, ...lastFailure(delivery), deferred: false }
    case 'defer': {
      // Under an ordering key only the first delivery checks repeatedly; the others wait for it.
      const held = await heldBy(db, input, delivery)
      if (held) return held
      if (decision.reason === 'disabled' && (await handTurnOn(db, id, destination))) {
        return { kind: 'over', ordered: delivery.ordering_key !== null }
      }
      const delay_ms = deferral(calls, deps, decision.reason)
      deps.metrics.deferrals.inc({ reason: decision.reason })
      await deferDelivery(db, id, destination, { ...decision, delay_ms })
      return { kind: 'later', delay_ms, code: decision.code, message: decision.message, deferred: true }
    }
    case 'fail':
      await failDelivery(db, id, destination, decision.code, decision.message)
      return { ...decision, kind: 'failed', ordered: delivery.ordering_key !== null }
  }
  let budget = delivery.budget
  if (decision.kind === 'exhausted') {
    budget += 1
    const another = delivery.round_attempts < budget && (await onlyLostAttempts(db, id, destination, delivery.round))
    if (!another) {
      const failure = delivery.status === 'processing' ? WORKER_LOST : lastFailure(delivery)
      await failDelivery(db, id, destination, failure.code, failure.message)
      return { kind: 'failed', ...failure, ordered: delivery.ordering_key !== null }
    }
  }
  // Checked before the limits, so that a held delivery takes no slot and uses up no rate limit.
  const held = await heldBy(db, input, delivery)
  if (held) return held
  const credentials = await credentialsFor(deps, db, delivery)
  // The credentials were read after the configuration. If both changed in between, the new secret would be sent to the
  // old host; then everything is read again.
  const { destination_id, configuration_version } = delivery
  if (
    destination_id !== null &&
    hasSome(credentials) &&
    !(await isAtVersion(db, destination_id, configuration_version))
  )
    return await openDelivery(deps, db, input, calls, slot, lost)
  const admission = await admit(db, input.tenant_id, delivery, slot, deps.timing.lease_margin_ms)
  if (admission.kind === 'defer') {
    const { reason, code, message, delay_ms } = admission
    deps.metrics.deferrals.inc({ reason })
    await deferDelivery(db, id, destination, admission)
    return { kind: 'later', delay_ms, code, message, deferred: true }
  }
  const payload = await deps.payloads.share(`${input.tenant_id}/${id}`, async () => {
    const bytes = await readPayload(db, id)
    if (!bytes) throw new Error('the payload was erased although its delivery is locked')
    return bytes
  })
  const attempt = await openAttempt(db, id, destination, {
    configuration_version: delivery.configuration_version,
    worker: deps.worker,
  })
  const failures = delivery.round_attempts + 1
  const { send_delay_ms, slotted } = admission
  const retriesLeft = failures < budget
  return { kind: 'opened', attempt, delivery, payload, retriesLeft, failures, credentials, send_delay_ms, slotted }
}

/**
 * If an earlier distribution of the ordering key comes first, stores that in the row and returns it; otherwise null.
 */
async function heldBy(
  db: Db,
  input: DeliverInput,
  delivery: LockedDelivery,
): Promise<Extract<Delivered, { kind: 'held' }> | null> {
  const { ordering_key, ordering_seq } = delivery
  if (ordering_key === null || ordering_seq === null) return null
  const { tenant_id, destination } = input
  const ahead = await findAhead(db, { tenant_id, destination, ordering_key, ordering_seq })
  if (!ahead) return null
  const why = `${ahead.distribution_id}, which comes before it under the same ordering_key`
  const message = ahead.failed ? `Blocked by the failure of ${why}` : `Waits for ${why}`
  await holdDelivery(db, jobId(input.distribution_id), destination, message)
  return { kind: 'held', recheck: ahead.unplanned }
}

function lastFailure(delivery: LockedDelivery): { code: DeliveryCode; message: string } {
  return {
    code: (delivery.error_code as DeliveryCode | null) ?? 'UNEXPECTED',
    message: delivery.error_message ?? 'The next attempt is not due yet',
  }
}

/** The longest wait. Long for a suspended tenant: a suspension lasts days, and its end resumes the deliveries. */
const LONGEST_DEFERRAL_MS = { tenant: 600_000, disabled: 60_000 }

/**
 * Grows with each deferral, with jitter, so that a destination that is enabled again does not get all deliveries at
 * once.
 */
function deferral(calls: number, deps: ActivityDeps, reason: keyof typeof LONGEST_DEFERRAL_MS): number {
  return retryDelay(
    { failures: calls },
    { first_ms: deps.timing.backoff.first_ms * 5, max_ms: LONGEST_DEFERRAL_MS[reason] },
  )
}

/** The configuration of an inline destination, or the current one of a registered destination. */
export function configurationOf(delivery: LockedDelivery): Record<string, unknown> {
  return delivery.inline_configuration ?? delivery.configuration ?? {}
}

function hasSome(credentials: Map<string, Credential> | UnsealError): boolean {
  return credentials instanceof UnsealError || credentials.size > 0
}

/**
 * The credentials that the configuration names. One that cannot be decrypted fails the attempt, not the activity call.
 */
async function credentialsFor(deps: ActivityDeps, db: Db, delivery: LockedDelivery) {
  const names = secretReferences(destinationFor(delivery.protocol).config, configurationOf(delivery))
  if (names.length === 0) return new Map<string, Credential>()
  try {
    return await loadCredentials(db, deps.sealer, names)
  } catch (error) {
    if (error instanceof UnsealError) return error
    throw error
  }
}
