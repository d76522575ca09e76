// The worker's own port: health and metrics, without a key, on loopback unless WORKER_HOST says otherwise.

import type { Metrics } from '../../activities/metrics.ts'
import { clockWarning } from '../../db/clock.ts'
import { askDatabase } from '../../db/health.ts'
import type { Pool } from '../../db/pool.ts'
import { metricsRoute, servePlain } from '../process/plain-server.ts'
import type { Life } from '../process/program.ts'
import type { DatabaseSide } from '../programs/database-side.ts'

export interface WorkerHealth {
  pool: Pool
  database: DatabaseSide
  registry: Metrics['registry']
  /** Whether the workers poll. */
  polling: () => boolean
}

/** Listens until the program ends; returns the URL. `/health/ready` is 503 and names the check that fails. */
export function serveWorkerHealth(health: WorkerHealth, host: string, port: number, life: Life): Promise<string> {
  const routes = {
    '/health/live': () => ({ status: 200, body: JSON.stringify({ status: 'live' }) }),
    '/health/ready': async () => {
      const found = await readiness(health)
      return { status: found.failing.length === 0 ? 200 : 503, body: JSON.stringify(found) }
    },
    '/metrics': metricsRoute(health.registry),
  }
  return servePlain(routes, { prefix: 'WORKER', host, port, closing: 'the health server' }, life)
}

async function readiness({ pool, database, polling }: WorkerHealth) {
  const answers = async () => {
    if (!database.isFound()) return false
    return await askDatabase(pool, async () => true).catch(() => false)
  }
  const checks = { database: await answers(), worker: polling() }
  const failing = Object.entries(checks).flatMap(([name, fine]) => (fine ? [] : [name]))
  const warning = clockWarning()
  return {
    status: failing.length === 0 ? 'ready' : 'unavailable',
    failing,
    ...(warning === undefined ? {} : { warnings: [warning] }),
  }
}
