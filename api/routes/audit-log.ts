// The audit log of the caller's tenant.

import { withTenant } from '../../db/pool.ts'
import { listAudit } from '../../db/tenants/audit.ts'
import type { AppDeps } from '../http/context.ts'
import { type Endpoint, endpoint } from '../http/endpoint.ts'
import { cursorOf, NUMBER_CURSOR, readCursor, readRange } from '../http/pages.ts'
import { auditLog, auditQuery } from '../schemas/administration.ts'

const tag = 'Administration'

export function auditLogEndpoints({ pool }: AppDeps): Endpoint[] {
  const audits = endpoint({
    method: 'get',
    path: '/audit-log',
    tag,
    summary: 'Who did what, newest first',
    role: 'admin',
    query: auditQuery,
    answers: { 200: { description: 'One page', schema: auditLog } },
    async handle({ c, caller, query }) {
      const { limit = 50, cursor, from_date, to_date, ...rest } = query
      const filter = { ...rest, ...readRange({ from_date, to_date }) }
      const before = readCursor(cursor, NUMBER_CURSOR)
      const rows = await withTenant(pool, caller.tenant_id, (db) => listAudit(db, filter, { limit: limit + 1, before }))
      const page = rows.slice(0, limit)
      const has_more = rows.length > limit
      const next_cursor = has_more ? cursorOf(page[page.length - 1]!.id) : null
      return c.json({ events: page, pagination: { limit, has_more, next_cursor } })
    },
  })

  return [audits]
}
