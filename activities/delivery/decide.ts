// What `deliver` may do now, decided from the rows as they are under the delivery's lock. Pure: the order of the
// questions is the rule.
import type { LockedDelivery } from '../../db/distributions/deliveries.ts'
import type { DeferralReason, DeliveryCode } from '../../db/states.ts'
import { isFinal } from '../../db/states.ts'
import { findProtocol, unsupported } from '../destinations/registry.ts'

export type Decision =
  /** Nothing is sent: the delivery is final, or its job is being ended by `finish`. */
  | { kind: 'over' }
  /** Final without another send, for another one of its group was served. */
  | { kind: 'skip' }
  /** Too early. */
  | { kind: 'wait'; delay_ms: number }
  /** Not now, and it costs no attempt. */
  | { kind: 'defer'; reason: Extract<DeferralReason, 'tenant' | 'disabled'>; code: DeliveryCode; message: string }
  /** Final without another send. */
  | { kind: 'fail'; code: DeliveryCode; message: string }
  /** The budget is used up, unless every attempt was lost with its worker: ask the attempts. */
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
  // After the reasons to wait: disabling the destination keeps its deliveries until every worker has the protocol.
  if (!findProtocol(delivery.protocol)) {
    return { kind: 'fail', code: 'MISCONFIGURED', message: unsupported(delivery.protocol) }
  }
  return delivery.round_attempts >= delivery.budget ? { kind: 'exhausted' } : { kind: 'send' }
}
