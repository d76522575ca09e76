// Whether an attempt may begin now: checks circuit, slots and rate limits, in this order, under the delivery's lock.
// Their rows are locked last. A deferred delivery uses no attempt, no slot and no rate limit.
import { setTimeout as sleep } from 'node:timers/promises'
import { giveBackProbe, takeProbe } from '../../db/destinations/circuits.ts'
import { type AskedLimit, type RateLimit, slackMs, takeReservation } from '../../db/destinations/rate-limits.ts'
import { giveBackSlot, takeSlot } from '../../db/destinations/slots.ts'
import type { LockedDelivery } from '../../db/distributions/deliveries.ts'
import { type Db, type Pool, withTenant } from '../../db/pool.ts'
import type { DeferralReason, DeliveryCode } from '../../db/states.ts'
import { DeliveryError } from '../destinations/errors.ts'
import { destinationFor } from '../destinations/registry.ts'
import { circuitDelay } from './circuit.ts'
import type { WorkerSlot } from './worker-slots.ts'

export type Admission =
  /** `send_delay_ms`: how long the send must still wait for its reservation under a rate limit. */
  | { kind: 'go'; send_delay_ms: number; slotted: boolean }
  | {
      kind: 'defer'
      reason: Exclude<DeferralReason, 'tenant' | 'disabled'>
      code: DeliveryCode
      message: string
      delay_ms: number
    }

export async function admit(
  db: Db,
  tenantId: string,
  delivery: LockedDelivery,
  slot: WorkerSlot,
  leaseMarginMs: number,
): Promise<Admission> {
  const { target, circuit } = delivery
  const holder = { tenant_id: tenantId, target, delivery_id: delivery.delivery_id }
  const configuration = delivery.inline_configuration ?? delivery.configuration ?? {}
  const leaseMs = destinationFor(delivery.protocol).deadlineMs(configuration) + leaseMarginMs
  const key = `${tenantId}/${target}`

  if (circuit && (circuit.wait_ms > 0 || (circuit.probe_wait_ms > 0 && !circuit.own)))
    return circuitIsOpen(slot.apart(key, circuitDelay(circuit, delivery.circuit_breaker)))
  const share = slot.take(tenantId, key)
  if (!share.taken) {
    return {
      kind: 'defer',
      reason: 'share',
      code: 'THROTTLED',
      message: 'The destination answers slowly and uses its share of this worker; the delivery waits for a free slot',
      delay_ms: share.delay_ms,
    }
  }
  if (circuit && !(await takeProbe(db, holder, leaseMs))) {
    slot.leave()
    return circuitIsOpen(slot.apart(key, circuitDelay(circuit, delivery.circuit_breaker)))
  }
  const most = delivery.max_concurrency
  if (most !== null && !(await takeSlot(db, tenantId, target, delivery.delivery_id, most, leaseMs))) {
    slot.leave()
    if (circuit) await giveBackProbe(db, holder)
    return {
      kind: 'defer',
      reason: 'concurrency',
      code: 'THROTTLED',
      message: `The destination takes ${most} deliveries at once; the delivery waits for a free slot`,
      delay_ms: slot.delay(key, most),
    }
  }
  const asked = limitsOf(delivery, target)
  if (asked.length === 0) return { kind: 'go', send_delay_ms: 0, slotted: most !== null }
  const reservation = await takeReservation(db, tenantId, asked, delivery.status === 'waiting')
  if (reservation.go) return { kind: 'go', send_delay_ms: reservation.wait_ms, slotted: most !== null }
  slot.leave()
  if (most !== null) await giveBackSlot(db, tenantId, target, delivery.delivery_id)
  if (circuit) await giveBackProbe(db, holder)
  return {
    kind: 'defer',
    reason: 'rate_limit',
    code: 'THROTTLED',
    message: `The rate limit is reached (${asked.map(({ limit }) => shown(limit)).join(', ')}); the delivery waits until the limit allows it`,
    delay_ms: Math.ceil(reservation.wait_ms),
  }
}

/** The longest wait of an attempt for a second reservation; well below the margin of the leases that it holds. */
const LONGEST_WAIT_MS = 20_000

/**
 * Makes a new reservation under the rate limits when shaping took so long that the first one is no longer valid.
 * Otherwise many messages whose shaping ends at the same moment would be sent at once.
 *
 * @throws DeliveryError WORKER_LOST, which uses no retry, when the new reservation is too late to wait for it here
 */
export async function reserveAgain(
  pool: Pool,
  tenantId: string,
  delivery: LockedDelivery,
  lateMs: number,
  signal: AbortSignal,
): Promise<void> {
  const asked = limitsOf(delivery, delivery.target)
  // The other half of the tolerance is for the time that the network needs.
  if (asked.every(({ limit }) => lateMs <= slackMs(limit) / 2)) return
  const until = performance.now() + LONGEST_WAIT_MS
  for (;;) {
    const reserve = (db: Db) => takeReservation(db, tenantId, asked, true)
    const { go, wait_ms } = await withTenant(pool, tenantId, reserve, { planOnce: true })
    if (!go && performance.now() + wait_ms > until) {
      const message = 'Shaping took so long that the rate limit reservation expired; the delivery waits for a new one'
      throw new DeliveryError('WORKER_LOST', message, { retryAfterMs: wait_ms })
    }
    await sleep(wait_ms, undefined, { signal })
    if (go) return
  }
}

function circuitIsOpen(delay_ms: number): Admission {
  return {
    kind: 'defer',
    reason: 'circuit',
    code: 'DESTINATION_UNAVAILABLE',
    message: 'The destination has failed too often in a row; the delivery waits until it is tried again',
    delay_ms,
  }
}

/** The destination before the tenant: all transactions lock in this order. */
function limitsOf(delivery: LockedDelivery, target: string): AskedLimit[] {
  const asked: AskedLimit[] = []
  if (delivery.rate_limit) asked.push({ scope: `destination/${target}`, limit: delivery.rate_limit })
  if (delivery.tenant_rate_limit) asked.push({ scope: 'deliveries', limit: delivery.tenant_rate_limit })
  return asked
}

function shown({ requests, per_seconds }: RateLimit): string {
  return `${requests} per ${per_seconds} s`
}
