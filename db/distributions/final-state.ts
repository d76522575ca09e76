// The final state of a job, derived from its deliveries alone. Pure.
import type { DeliveryCode, DeliveryStatus, FinalJobStatus } from '../states.ts'

export interface DeliverySummary {
  destination_name: string
  status: DeliveryStatus
  attempts: number
  error_code: DeliveryCode | null
  error_message: string | null
  /** Of all deliveries with the same number, one success is enough. Null or absent: in no group. */
  failover_group?: number | null
  /** Another rule needs this delivery too: a success of another one in its group does not replace it. */
  required?: boolean
}

export interface FinalState {
  status: FinalJobStatus
  error_code: DeliveryCode | null
  error_message: string | null
  /** Sum over the deliveries of the attempts after the first. */
  retry_count: number
  warnings: string[]
}

/** What ended the job: its deliveries, a cancel, or its expiry while a delivery was still open. */
export type EndedBy = 'deliveries' | 'cancel' | 'expiry'

/** Warning: a cancel was accepted, but the last delivery succeeded before the cancel took effect. */
export const CANCEL_TOO_LATE = 'The cancel came too late: every destination had been served'

export const NOTHING_CHOSEN = 'No destination was chosen for this distribution'

/** Derives the state; all given deliveries must be final. `failsWhenEmpty`: a distribution without deliveries fails. */
export function deriveFinalState(
  deliveries: readonly DeliverySummary[],
  endedBy: EndedBy,
  failsWhenEmpty: boolean,
): FinalState {
  const retry_count = deliveries.reduce((sum, delivery) => sum + Math.max(0, delivery.attempts - 1), 0)
  const state = (
    status: FinalState['status'],
    error_code: DeliveryCode | null = null,
    error_message: string | null = null,
    warnings: string[] = [],
  ): FinalState => ({ status, error_code, error_message, retry_count, warnings })

  if (deliveries.length === 0 && endedBy === 'deliveries') {
    return failsWhenEmpty
      ? state('failed', 'MISCONFIGURED', NOTHING_CHOSEN)
      : state('completed', null, null, [NOTHING_CHOSEN])
  }
  const served = new Set(
    deliveries.filter(({ status }) => status === 'success').map(({ failover_group }) => failover_group),
  )
  served.delete(null)
  served.delete(undefined)
  const isServed = (delivery: DeliverySummary) =>
    isNeedless(delivery) || (!delivery.required && served.has(delivery.failover_group))
  if (deliveries.length > 0 && deliveries.every((delivery) => isServed(delivery))) {
    return state('completed', null, null, endedBy === 'cancel' ? [CANCEL_TOO_LATE] : [])
  }
  if (endedBy === 'cancel') return state('cancelled', 'CANCELLED')
  if (endedBy === 'expiry')
    return state('failed', 'EXPIRED', 'The distribution expired before all destinations were served')
  const first = deliveries.find((delivery) => !isServed(delivery))
  const failed = deliveries.filter((delivery) => !isServed(delivery)).length
  return state(
    'failed',
    first?.error_code ?? 'UNEXPECTED',
    `${failed} of ${deliveries.length} destinations were not served; first: ${first?.destination_name}: ${first?.error_message ?? first?.status}`,
  )
}

/** Succeeded, or skipped because it was not needed. A delivery skipped because of an error has an error code. */
function isNeedless(delivery: DeliverySummary): boolean {
  return delivery.status === 'success' || (delivery.status === 'skipped' && delivery.error_code === null)
}
