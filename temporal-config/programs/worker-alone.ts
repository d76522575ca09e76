// The workers alone, with their health server.
import type { Started } from '../process/program.ts'
import { findSurroundings } from '../stack/embedded.ts'
import { serveWorkerHealth } from '../worker/health.ts'
import { installRuntime } from '../worker/runtime.ts'
import { assemble, withSdkMetrics } from './composition.ts'
import { runWorkers, type WorkersTuning } from './worker-side.ts'

/** Starts the workers and their health server, and returns once they poll. */
export async function startWorker({ settings, logger, life }: Started, tuning?: WorkersTuning) {
  const surroundings = findSurroundings(settings)
  const parts = assemble({ settings, surroundings, logger, life, name: 'worker', connections: 20 })
  const sdk = await installRuntime(logger)
  const side = runWorkers(parts, surroundings.temporal, life, tuning)
  const { WORKER_HOST, WORKER_PORT } = settings
  const health = { ...parts, registry: withSdkMetrics(parts.metrics.registry, sdk), polling: side.isPolling }
  const url = await serveWorkerHealth(health, WORKER_HOST, WORKER_PORT, life)
  parts.own.add(url)
  await parts.database.found
  await side.polling
  return { health: `${url}/health/ready`, metrics: `${url}/metrics`, temporal: surroundings.temporal.address }
}
