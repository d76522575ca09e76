// Decides what `deliver` may do now, from the rows that it read under the delivery's lock. Pure. The order of the
// checks matters.
import type { LockedDelivery } from '../../db/distributions/deliveries.ts'
import type { DeferralReason, DeliveryCode } from '../../db/states.ts'
import { isFinal } from '../../db/states.ts'
import { findProtocol, unsupported } from '../destinations/registry.ts'

export type Decision =
  /** Nothing is sent: the delivery is final, or its job is being ended by `finish`. */
  | { kind: 'over' }
  /** Ends without another send, because another delivery of its failover group succeeded. */
  | { kind: 'skip' }
  /** The next attempt is not due yet. */
  | { kind: 'wait'; delay_ms: number }
  /** The delivery waits without using an attempt. */
  | { kind: 'defer'; reason: Extract<DeferralReason, 'tenant' | 'disabled'>; code: DeliveryCode; message: string }
  /** The delivery fails without another send. */
  | { kind: 'fail'; code: DeliveryCode; message: string }
  /** The budget is used up, unless every attempt was lost with its worker: the caller must read the attempts. */
  | { kind: 'exhausted' }
  | { kind: 'send' }

const DISABLED: ReadonlySet<string> = new Set(['inactive', 'maintenance'])

export function decide(delivery: LockedDelivery): Decision {
  if (isFinal(delivery.status) || isFinal(delivery.job_status)) return { kind: 'over' }
  if (delivery.cancel_requested || delivery.expired) return { kind: 'over' }
  if (delivery.needless) return { kind: 'skip' }
  if (delivery.wait_ms > 0) return { kind: 'wait', delay_ms: delivery.wait_ms }
  if (delivery.destination_deleted) {
    return { kind: 'fail', code: 'DESTINATION_DELETED', message: 'The destination was deleted' }
  }
  if (delivery.tenant_status !== 'active') {
    return {
      kind: 'defer',
      reason: 'tenant',
      code: 'DESTINATION_DISABLED',
      message: `The tenant is ${delivery.tenant_status}; the delivery waits until it is active again`,
    }
  }
  if (delivery.destination_status !== null && DISABLED.has(delivery.destination_status)) {
    return {
      kind: 'defer',
      reason: 'disabled',
      code: 'DESTINATION_DISABLED',
      message: `The destination is ${delivery.destination_status}; the delivery waits until it is enabled`,
    }
  }
  if (delivery.payload_erased) {
    return { kind: 'fail', code: 'UNEXPECTED', message: 'The payload is not stored any more' }
  }
  // Checked after the reasons to wait, so that an operator can disable the destination until every worker has the
  // protocol.
  if (!findProtocol(delivery.protocol)) {
    return { kind: 'fail', code: 'MISCONFIGURED', message: unsupported(delivery.protocol) }
  }
  return delivery.round_attempts >= delivery.budget ? { kind: 'exhausted' } : { kind: 'send' }
}
