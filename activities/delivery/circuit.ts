// How the outcome of an attempt changes the circuit of its destination, and how long a delivery waits for an open
// circuit.

import { type AutoDisable, autoDisable, failureSettings } from '../../db/destinations/auto-disable.ts'
import {
  CIRCUIT_DEFAULTS,
  type CircuitSettings,
  giveBackProbe,
  noteAnswer,
  noteFailure,
  noteSuccess,
  type OpenCircuit,
  type Target,
} from '../../db/destinations/circuits.ts'
import type { AttemptOutcome, ClosedAttempt } from '../../db/distributions/attempts.ts'
import type { Db } from '../../db/pool.ts'
import type { DeliveryCode } from '../../db/states.ts'
import { writeAudit } from '../../db/tenants/audit.ts'

/** The destination could not be reached, or is overloaded: these failures open a circuit. */
const COUNTED: ReadonlySet<DeliveryCode> = new Set(['DESTINATION_UNAVAILABLE', 'TIMEOUT', 'THROTTLED'])
/**
 * The destination answered, so it can be reached. The same holds for every outcome with `answered`, with any code.
 */
const ANSWERED: ReadonlySet<DeliveryCode> = new Set(['REJECTED', 'UNAUTHORIZED'])

/** Deferrals grow up to this while a circuit stays open. */
const LONGEST_MS = 900_000

/**
 * The shortest wait of a delivery for an open circuit: until a probe is allowed, and then a random time that is longer
 * the longer the circuit has been open. Of many waiting deliveries one tries soon after a probe is allowed.
 */
export function circuitDelay(
  circuit: OpenCircuit,
  settings: Partial<CircuitSettings> | null,
  random: () => number = Math.random,
): number {
  const open = circuitSettings(settings).open_seconds * 1000
  const least = circuit.wait_ms > 0 ? circuit.wait_ms : Math.max(100, Math.min(circuit.probe_wait_ms, open / 4))
  const longest = Math.min(LONGEST_MS, open * 2 ** Math.min(circuit.openings - 1, 20))
  return Math.ceil(Math.min(LONGEST_MS, least + random() * Math.max(0.2 * open, longest - open)))
}

export function circuitSettings(given: Partial<CircuitSettings> | null): CircuitSettings {
  return { ...CIRCUIT_DEFAULTS, ...given }
}

/** What changed, for the metrics and the log. */
export type CircuitChange = 'opened' | 'closed' | 'disabled'

/**
 * Records in the circuit how an attempt ended. Call it last in the transaction that closes the attempt. For a success
 * without earlier failures it runs no statement.
 */
export async function noteOutcome(db: Db, closed: ClosedAttempt, outcome: AttemptOutcome): Promise<CircuitChange[]> {
  const target: Target = { tenant_id: closed.tenant_id, target: closed.target, delivery_id: closed.delivery_id }
  if (outcome.status === 'success') {
    return closed.troubled && (await noteSuccess(db, target, closed.started_at)) ? await wasClosed(db, closed) : []
  }
  const { code } = outcome
  if (code === null) return []
  const answered = outcome.answered === true || ANSWERED.has(code)
  const counted = COUNTED.has(code) && !answered
  const changes: CircuitChange[] = []
  if (counted || code === 'UNAUTHORIZED') {
    const { circuit_breaker, auto_disable } = await failureSettings(db, closed.destination_id)
    const settings = circuitSettings(circuit_breaker)
    const noted = await noteFailure(db, target, { attempt_id: outcome.attempt_id, counted, settings })
    if (noted.opened) {
      await audit(db, closed, 'circuit.opened', { code, failures: settings.failures })
      changes.push('opened')
    }
    if (await isOverdue(db, closed.destination_id, auto_disable, noted)) changes.push('disabled')
  }
  if (closed.troubled && !counted) {
    if (!answered) await giveBackProbe(db, target)
    else if (await noteAnswer(db, target)) changes.push(...(await wasClosed(db, closed)))
  }
  return changes
}

/** Requires several failures over a period: one failure, followed by a long time without attempts, is not enough. */
async function isOverdue(
  db: Db,
  destination_id: string | null,
  auto_disable: AutoDisable | null,
  noted: { failures_in_a_row: number; failing_seconds: number },
): Promise<boolean> {
  if (destination_id === null || auto_disable === null) return false
  if (noted.failures_in_a_row < auto_disable.failures || noted.failing_seconds < auto_disable.over_seconds) return false
  return await autoDisable(db, destination_id, noted)
}

async function wasClosed(db: Db, closed: ClosedAttempt): Promise<CircuitChange[]> {
  await audit(db, closed, 'circuit.closed', {})
  return ['closed']
}

function audit(db: Db, closed: ClosedAttempt, action: string, details: Record<string, unknown>): Promise<void> {
  return writeAudit(db, {
    tenant_id: closed.tenant_id,
    actor: 'distributor',
    action,
    resource_type: 'destination',
    resource_id: closed.destination_id ?? closed.target,
    details: { name: closed.destination, ...details },
  })
}
