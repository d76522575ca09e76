// `probe`: connects to a registered destination now, as an attempt would, and sends nothing.
import { halfOpen } from '../../db/destinations/circuits.ts'
import { loadCredentials } from '../../db/destinations/credentials.ts'
import type { ProbeResult } from '../../db/destinations/health-checks.ts'
import { findDestinationToProbe, recordHealthCheck } from '../../db/destinations/health-checks.ts'
import { withTenant } from '../../db/pool.ts'
import type { ProbeInput } from '../../workflows/messages.ts'
import type { ActivityDeps } from '../deps.ts'
import { DeliveryError } from '../destinations/errors.ts'
import { destinationFor } from '../destinations/registry.ts'
import { environmentCredentials } from '../destinations/secrets/environment-credentials.ts'
import { resolveSecrets } from '../destinations/secrets/resolution.ts'
import { secretReferences } from '../destinations/secrets/storage.ts'
import { resumeWaiting } from '../distribution/resume.ts'

/** Within the time that the API waits for an answer. */
const PROBE_MS = 12_000
/**
 * When to retry without a free slot: a probe that hangs ends within the time above. Fixed, because probes have no
 * queue.
 */
const BUSY_MS = 5000

/** Checks a destination; the result is also stored in `destination_health_checks`. */
export async function probe(deps: ActivityDeps, input: ProbeInput, signal: AbortSignal): Promise<ProbeResult> {
  // A thousand probes that hang would hold every slot for callbacks.
  const slot = deps.backgroundSlots.slot()
  const taken = slot.take(input.tenant_id, `${input.tenant_id} probes`)
  if (!taken.taken) {
    return { busy_ms: BUSY_MS, healthy: false, code: null, message: null, response_time_ms: 0 }
  }
  try {
    return await probeNow(deps, input, signal)
  } finally {
    slot.end()
  }
}

async function probeNow(deps: ActivityDeps, input: ProbeInput, signal: AbortSignal): Promise<ProbeResult> {
  const startedAt = performance.now()
  const failure = await tryProbe(deps, input, AbortSignal.any([signal, AbortSignal.timeout(PROBE_MS)]))
  const result: ProbeResult = {
    healthy: failure === null,
    code: failure?.code ?? null,
    message: failure?.message ?? null,
    response_time_ms: Math.round(performance.now() - startedAt),
  }
  const { tenant_id, destination_id } = input
  // The destination was not probed, so there is no result to store.
  if (failure?.code === 'DESTINATION_DISABLED') return result
  await withTenant(deps.pool, tenant_id, async (db) => {
    // A connection does not prove that deliveries work, so the circuit stays half open: one waiting delivery may try
    // now. Written before the destination's row, in the order in which a failing attempt locks them.
    if (result.healthy) await halfOpen(db, tenant_id, destination_id)
    await recordHealthCheck(db, destination_id, result)
  })
  if (result.healthy) await resumeWaiting(deps, { tenant_id, target: destination_id })
  return result
}

async function tryProbe(deps: ActivityDeps, input: ProbeInput, signal: AbortSignal): Promise<DeliveryError | null> {
  try {
    const found = await withTenant(deps.pool, input.tenant_id, async (db) => {
      const destination = await findDestinationToProbe(db, input.destination_id)
      if (!destination) return null
      if (destination.tenant_status !== 'active') {
        throw new DeliveryError('DESTINATION_DISABLED', `The tenant is ${destination.tenant_status}`)
      }
      const built = destinationFor(destination.protocol)
      const names = secretReferences(built.config, destination.configuration)
      return {
        built,
        configuration: destination.configuration,
        credentials: await loadCredentials(db, deps.sealer, names),
      }
    })
    if (!found) return new DeliveryError('DESTINATION_DELETED', 'The destination does not exist')
    const environment = environmentCredentials(deps.environmentSecrets, input.tenant_id)
    const config = resolveSecrets(found.built.config, found.configuration, found.credentials, environment, 'registered')
    await found.built.probe(config, signal, { egress: deps.egress })
    return null
  } catch (error) {
    if (error instanceof DeliveryError) return error
    if (signal.aborted) return new DeliveryError('TIMEOUT', 'The destination did not answer in time', { cause: error })
    deps.logger.error({ ...input, err: error }, 'probe failed unexpectedly')
    return new DeliveryError('UNEXPECTED', 'An unexpected error', { cause: error })
  }
}
