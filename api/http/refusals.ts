// Counts the requests that the API refused although they may be valid, by tenant and reason.
import { createMiddleware } from 'hono/factory'
import type { ApiEnv, ApiMetrics } from './context.ts'

export function countRefusals({ apiRefusals, tenant }: Pick<ApiMetrics, 'apiRefusals' | 'tenant'>) {
  return createMiddleware<ApiEnv>(async function countRefusals(c, next) {
    await next()
    const reason = c.get('refusal')
    const caller = c.get('caller')
    if (reason) apiRefusals.inc({ tenant_id: caller ? tenant(caller.tenant_id) : '', reason })
  })
}
