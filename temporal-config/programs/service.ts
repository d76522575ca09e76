// API and worker in one process, with the embedded servers where no addresses are given.
import { withTenant } from '../../db/pool.ts'
import { bootstrapTenant, loadCallbackSecret } from '../../db/tenants/tenants.ts'
import type { Started } from '../process/program.ts'
import { untilReady } from '../process/until-ready.ts'
import { startSurroundings } from '../stack/embedded.ts'
import { keepAs, readKept } from '../stack/kept.ts'
import { installRuntime } from '../worker/runtime.ts'
import { openApi, refuseTakenPort } from './api-port.ts'
import { assemble, openPool, withSdkMetrics } from './composition.ts'
import { runWorkers } from './worker-side.ts'

export interface Service {
  url: string
  /** Where `METRICS_PORT` is set. */
  metrics: string | undefined
  temporal: string
  temporal_ui: string | undefined
  database: 'embedded' | 'given'
  bootstrap_api_key: string | undefined
  callback_secret: string | undefined
  bootstrap_api_key_file: string | undefined
}

/** Starts all of it and returns once everything answers; a second start on the same folder names `what` in its error. */
export async function startService(what: string, started: Started): Promise<Service> {
  const { settings, logger, life } = started
  await refuseTakenPort(settings)
  const surroundings = await startSurroundings(what, started)
  const worker = assemble({
    settings,
    surroundings,
    logger,
    life,
    name: 'worker',
    connections: 20,
    async prepare(pool, sealer) {
      if (!surroundings.bootstrap_api_key) return
      const tenant = settings.BOOTSTRAP_TENANT
      const file = surroundings.callback_secret_file
      await bootstrapTenant(pool, sealer, {
        tenant,
        apiKey: surroundings.bootstrap_api_key,
        callbackSecret: surroundings.callback_secret,
        firstCallbackSecret: file && readKept(file),
      })
      if (!file) return
      // After a restore the file is missing or of another database. Receivers know the secret of the row.
      const secret = await withTenant(pool, tenant, (db) => loadCallbackSecret(db, sealer, tenant))
      if (secret) surroundings.callback_secret = keepAs(file, secret)
    },
  })
  const api = { ...worker, pool: openPool({ surroundings, logger, life, name: 'api', connections: 10 }) }
  const sdk = await installRuntime(logger)
  const { dispatcher } = runWorkers(worker, surroundings.temporal, life)
  const { url, failing, metrics } = await openApi(
    api,
    dispatcher,
    withSdkMetrics(worker.metrics.registry, sdk),
    settings,
    life,
  )
  await worker.database.found
  await untilReady(failing, logger, life)
  return {
    url,
    metrics,
    temporal: surroundings.temporal.address,
    temporal_ui: surroundings.temporal_ui,
    database: surroundings.database,
    bootstrap_api_key: surroundings.bootstrap_api_key,
    callback_secret: surroundings.callback_secret,
    bootstrap_api_key_file: surroundings.bootstrap_api_key_file,
  }
}
