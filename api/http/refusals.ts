// Counts the requests that the API refused although they may be valid, by tenant and reason.
import { createMiddleware } from 'hono/factory'
import type { Counter } from 'prom-client'
import type { ApiEnv } from './context.ts'

export function countRefusals(refusals: Counter<'tenant_id' | 'reason'>) {
  return createMiddleware<ApiEnv>(async function countRefusals(c, next) {
    await next()
    const reason = c.get('refusal')
    if (reason) refusals.inc({ tenant_id: c.get('caller')?.tenant_id ?? '', reason })
  })
}
