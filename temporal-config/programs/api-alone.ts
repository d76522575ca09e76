// The API alone. It answers without Temporal, and accepts what a sweep will start later.
import { bootstrapTenant } from '../../db/tenants/tenants.ts'
import type { Started } from '../process/program.ts'
import { findSurroundings } from '../stack/embedded.ts'
import { openApi } from './api-port.ts'
import { connectApi } from './api-side.ts'
import { assemble } from './composition.ts'

export async function startApi({ settings, logger, life }: Started) {
  const surroundings = findSurroundings(settings)
  const parts = assemble({
    settings,
    surroundings,
    logger,
    life,
    name: 'api',
    connections: 10,
    async prepare(pool, sealer) {
      if (!settings.BOOTSTRAP_API_KEY) return
      await bootstrapTenant(pool, sealer, {
        tenant: settings.BOOTSTRAP_TENANT,
        apiKey: settings.BOOTSTRAP_API_KEY,
        callbackSecret: settings.CALLBACK_SECRET,
      })
    },
  })
  const dispatcher = connectApi(parts, surroundings.temporal, life)
  const { url, metrics } = await openApi(parts, dispatcher, parts.metrics.registry, settings, life)
  await parts.database.found
  return { api: url, docs: `${url}/docs`, metrics, temporal: surroundings.temporal.address }
}
