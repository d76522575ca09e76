// The HTTP API, built from what its process provides. It opens no port.
import { OpenAPIHono } from '@hono/zod-openapi'
import { createRuleCache } from '../activities/rules/rule-cache.ts'
import { DatabaseUnavailable } from '../db/availability.ts'
import { ENDPOINTS, SERVICE_ENDPOINTS } from './endpoints.ts'
import { type Authenticate, createKeyLookup } from './http/auth.ts'
import { createBodiesUnderWay } from './http/bodies-under-way.ts'
import type { ApiEnv, AppDeps } from './http/context.ts'
import { serveDocs } from './http/docs.ts'
import type { ApiDeps } from './http/endpoint.ts'
import { ApiError, renderError } from './http/errors.ts'
import { mount } from './http/mount.ts'
import { createRequestLimit } from './http/rate-limit.ts'
import { countRefusals } from './http/refusals.ts'
import { requestId } from './http/request-id.ts'
import { boundedShaper } from './rules/bounded-shaper.ts'
import { createBulkQueue } from './submission/bulk-queue.ts'

export type { AppDeps } from './http/context.ts'

/** The whole API. Servers call `app.fetch`, tests call `app.request()`. */
export function createApp(given: AppDeps): OpenAPIHono<ApiEnv> {
  const { pool, logger, limits, metrics, version } = given
  const keys = createKeyLookup(pool)
  const deps: ApiDeps = {
    ...given,
    shaper: boundedShaper(given.shaper),
    keys,
    bulkQueue: createBulkQueue(limits.max_body_bytes),
    rules: createRuleCache(),
  }
  const app = new OpenAPIHono<ApiEnv>()
  app.use(requestId(logger, metrics))
  app.use(countRefusals(metrics))
  app.onError(renderError)
  app.notFound((c) =>
    renderError(
      new ApiError(
        'NOT_FOUND',
        'no such path, or the path does not support this method; GET /docs lists all endpoints',
      ),
      c,
    ),
  )
  const limit = createRequestLimit(pool)
  const identify: Authenticate = async (c) => {
    if (deps.databaseFound?.() === false) throw new DatabaseUnavailable('the database has not been reached yet')
    return await keys.authenticate(c)
  }
  const authenticate: Authenticate = async (c) => {
    const caller = await identify(c)
    await limit.take(caller)
    return caller
  }
  const bodies = createBodiesUnderWay(limits.max_body_bytes)
  mount(app, ENDPOINTS, deps, { prefix: '/api/v1', authenticate, bodies })
  mount(app, SERVICE_ENDPOINTS, deps, { prefix: '', authenticate: identify, bodies })
  serveDocs(app, version)
  return app
}
