// The worker's own port: health and metrics, without a key, on loopback unless WORKER_HOST says otherwise.

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Metrics } from '../../activities/metrics.ts'
import { clockWarning } from '../../db/clock.ts'
import { askDatabase } from '../../db/health.ts'
import type { Pool } from '../../db/pool.ts'
import { portRefused } from '../process/port-refused.ts'
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
export async function serveWorkerHealth(health: WorkerHealth, host: string, port: number, life: Life): Promise<string> {
  const server = createServer((request, response) => {
    const answer = (status: number, body: string, type = 'application/json') => {
      response.writeHead(status, { 'content-type': type }).end(body)
    }
    const failed = () => answer(500, JSON.stringify({ error: 'INTERNAL_ERROR' }))
    switch (request.url?.split('?')[0]) {
      case '/health/live':
        return answer(200, JSON.stringify({ status: 'live' }))
      case '/health/ready':
        return void readiness(health).then((found) => {
          answer(found.failing.length === 0 ? 200 : 503, JSON.stringify(found))
        }, failed)
      case '/metrics':
        return void health.registry.metrics().then((text) => answer(200, text, health.registry.contentType), failed)
      default:
        return answer(404, JSON.stringify({ error: 'NOT_FOUND' }))
    }
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, resolve)
  }).catch((error: NodeJS.ErrnoException) => {
    throw portRefused('WORKER', host, port, error)
  })
  life.atEnd('the health server', () => {
    server.close()
    server.closeAllConnections()
  })
  return `http://${host.includes(':') ? `[${host}]` : host}:${(server.address() as AddressInfo).port}`
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
