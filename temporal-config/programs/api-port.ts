// The API at the address of the settings.

import type { Metrics } from '../../activities/metrics.ts'
import { listen } from '../../api/http/listen.ts'
import { type ServedApi, serveApi } from '../../api/serve.ts'
import type { Dispatcher } from '../../workflows/client.ts'
import { metricsRoute, servePlain } from '../process/plain-server.ts'
import { portRefused } from '../process/port-refused.ts'
import { type Life, StartRefused } from '../process/program.ts'
import { addReadinessGauge } from '../process/scraped-gauges.ts'
import type { Settings } from '../process/settings.ts'
import { usedBy } from '../stack/lock.ts'
import type { Parts } from './composition.ts'

/** Serves the API until the program ends, and its metrics on a port of their own where `METRICS_PORT` is set. */
export async function openApi(
  parts: Parts,
  dispatcher: Dispatcher,
  registry: Metrics['registry'],
  settings: Settings,
  life: Life,
): Promise<ServedApi & { metrics?: string }> {
  const { API_HOST: host, API_PORT: port, MAX_BODY_BYTES: max_body_bytes } = settings
  const served = await serveApi(
    { ...parts, dispatcher, registry, limits: { max_body_bytes }, databaseFound: parts.database.isFound },
    { host, port, atEnd: (close) => life.atEnd('the API', close) },
  ).catch((error) => {
    throw portRefused('API', host, port, error)
  })
  parts.own.add(served.url)
  addReadinessGauge(parts.metrics.registry, served.failing)
  const { WORKER_HOST, METRICS_PORT } = settings
  if (METRICS_PORT === undefined) return served
  const place = { prefix: 'METRICS', host: WORKER_HOST, port: METRICS_PORT, closing: 'the metrics server' } as const
  const url = await servePlain({ '/metrics': metricsRoute(registry) }, place, life)
  parts.own.add(url)
  return { ...served, metrics: `${url}/metrics` }
}

/** Opens the port for a moment, so that a port in use is reported before anything slow starts. */
export async function refuseTakenPort({ API_HOST: host, API_PORT: port, DATA_DIR }: Settings): Promise<void> {
  if (port === 0) return
  try {
    const tried = await listen(() => new Response(), host, port)
    await tried.close()
  } catch (error) {
    const refused = portRefused('API', host, port, error as NodeJS.ErrnoException)
    // The usual reason is an earlier `npm start` that still runs; its lock names it.
    const holder = usedBy(DATA_DIR)
    throw holder ? new StartRefused(...refused.lines, holder) : refused
  }
}
