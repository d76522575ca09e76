// Every request has an id, from its sender or generated, in the response and in its log lines. One log line per request.
import { randomUUID } from 'node:crypto'
import { createMiddleware } from 'hono/factory'
import type { Logger } from 'pino'
import type { ApiEnv, ApiMetrics } from './context.ts'

/** An id from a sender must be printable, and fit the column that stores it. */
const ACCEPTED = /^[\x21-\x7e]{1,255}$/

/** Sets `request_id`, returns it as `X-Request-Id`, and logs and counts the request. */
export function requestId(logger: Logger, { apiSeconds }: Pick<ApiMetrics, 'apiSeconds'>) {
  return createMiddleware<ApiEnv>(async function requestId(c, next) {
    const started = performance.now()
    const given = c.req.header('x-request-id')
    const id = given && ACCEPTED.test(given) ? given : randomUUID()
    c.set('request_id', id)
    c.set('log', logger)
    c.set('route', 'unmatched')
    await next()
    c.header('X-Request-Id', id)
    const warns = c.get('address') !== undefined || c.get('unavailable') !== undefined
    const level = warns ? 'warn' : levelOf(c.get('route'), c.res.status)
    const ms = performance.now() - started
    apiSeconds.observe({ method: c.req.method, route: c.get('route'), status: c.res.status }, ms / 1000)
    logger[level](
      {
        request_id: id,
        tenant_id: c.get('caller')?.tenant_id,
        distribution_id: c.get('distribution_id'),
        method: c.req.method,
        path: c.get('route'),
        status: c.res.status,
        error: c.get('error_code'),
        reason: c.get('unavailable'),
        address: c.get('address'),
        ms: Math.round(ms),
      },
      'request',
    )
  })
}

/** Health checks come every second, and their response already shows the problem. */
function levelOf(route: string, status: number): 'debug' | 'info' | 'error' {
  if (route.startsWith('/health/')) return 'debug'
  return status >= 500 ? 'error' : 'info'
}
