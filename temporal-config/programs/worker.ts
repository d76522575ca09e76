// `npm run worker`: the workers alone. Stateless; run as many as needed.

import { runProgram } from '../process/program.ts'
import { findSurroundings } from '../stack/embedded.ts'
import { serveWorkerHealth } from '../worker/health.ts'
import { installRuntime } from '../worker/runtime.ts'
import { assemble, withSdkMetrics } from './composition.ts'
import { runWorkers } from './temporal-side.ts'

await runProgram('worker', async ({ settings, logger, life }) => {
  const surroundings = findSurroundings(settings)
  const parts = assemble({ settings, surroundings, logger, life, name: 'worker', connections: 20 })
  const sdk = await installRuntime(logger)
  const side = runWorkers(parts, surroundings.temporal, life)
  const { WORKER_HOST, WORKER_PORT } = settings
  const health = { ...parts, registry: withSdkMetrics(parts.metrics.registry, sdk), polling: side.isPolling }
  const url = await serveWorkerHealth(health, WORKER_HOST, WORKER_PORT, life)
  parts.own.add(url)
  await parts.database.found
  await side.polling
  return { health: `${url}/health/ready`, metrics: `${url}/metrics`, temporal: surroundings.temporal.address }
})
