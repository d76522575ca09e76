// The HTTP API, put together from what its process hands in. No port is opened here.
import { OpenAPIHono } from '@hono/zod-openapi'
import { type Authenticate, createKeyLookup } from './http/auth.ts'
import { createBodiesUnderWay } from './http/bodies-under-way.ts'
import type { ApiEnv, AppDeps } from './http/context.ts'
import { serveDocs } from './http/docs.ts'
import { mount } from './http/endpoint.ts'
import { ApiError, databaseAway, renderError } from './http/errors.ts'
import { createRequestLimit } from './http/rate-limit.ts'
import { requestId } from './http/request-id.ts'
import { auditLogEndpoints } from './routes/audit-log.ts'
import { batchEndpoints } from './routes/batches.ts'
import { commandEndpoints } from './routes/commands.ts'
import { credentialEndpoints } from './routes/credentials.ts'
import { dataTypeEndpoints } from './routes/data-types.ts'
import { destinationEndpoints } from './routes/destinations.ts'
import { distributionEndpoints } from './routes/distributions.ts'
import { previewEndpoints } from './routes/preview.ts'
import { routingEndpoints } from './routes/routing.ts'
import { ruleEndpoints } from './routes/rules.ts'
import { scheduleEndpoints } from './routes/schedules.ts'
import { serviceEndpoints } from './routes/service.ts'
import { tenantEndpoints } from './routes/tenants.ts'
import { boundedShaper } from './rules/bounded-shaper.ts'

export type { AppDeps } from './http/context.ts'

/** The whole API; `app.fetch` serves it, `app.request()` tests it. */
export function createApp(given: AppDeps): OpenAPIHono<ApiEnv> {
  const deps = { ...given, shaper: boundedShaper(given.shaper) }
  const app = new OpenAPIHono<ApiEnv>()
  const keys = createKeyLookup(deps.pool)
  app.use(requestId(deps.logger))
  app.onError(renderError)
  app.notFound((c) =>
    renderError(new ApiError('NOT_FOUND', 'no such path, or not for this method; GET /docs shows all of them'), c),
  )
  const endpoints = [
    ...batchEndpoints(deps),
    // Before the distributions: its ids may be names, such as `status`.
    ...scheduleEndpoints(deps),
    ...distributionEndpoints(deps),
    ...commandEndpoints(deps),
    ...destinationEndpoints(deps),
    ...previewEndpoints(deps),
    ...dataTypeEndpoints(deps),
    ...ruleEndpoints(deps),
    ...routingEndpoints(deps),
    ...credentialEndpoints(deps),
    ...auditLogEndpoints(deps),
    ...tenantEndpoints(deps, keys.forget),
  ]
  const limit = createRequestLimit(deps.pool, deps.metrics.apiRefusals)
  const identify: Authenticate = async (c) => {
    if (deps.databaseFound?.() === false) throw databaseAway()
    return await keys.authenticate(c)
  }
  const authenticate: Authenticate = async (c) => {
    const caller = await identify(c)
    await limit.take(caller)
    return caller
  }
  const bodies = createBodiesUnderWay(deps.limits.max_body_bytes)
  mount(app, '/api/v1', endpoints, deps, authenticate, bodies)
  mount(app, '', serviceEndpoints(deps), deps, identify, bodies)
  serveDocs(app, deps.version)
  return app
}
