// The audit log of the caller's tenant.
import { listAudit } from '../../db/tenants/audit.ts'
import { endpoint } from '../http/endpoint.ts'
import { NUMBER_CURSOR, pageOf, readCursor, readRange } from '../http/pages.ts'
import { auditLog, auditQuery } from '../schemas/administration.ts'

export const list = endpoint({
  method: 'get',
  path: '/audit-log',
  tag: 'Administration',
  summary: 'List the events of the audit log, newest first',
  role: 'admin',
  query: auditQuery,
  answers: { 200: { description: 'One page', schema: auditLog } },
}).handle(async ({ transaction, query }) => {
  const { limit = 50, cursor, from_date, to_date, ...rest } = query
  const filter = { ...rest, ...readRange({ from_date, to_date }) }
  const before = readCursor(cursor, NUMBER_CURSOR)
  const rows = await transaction((db) => listAudit(db, filter, { limit: limit + 1, before }))
  const { page, pagination } = pageOf(rows, limit, ({ id }) => id)
  return { status: 200, body: { events: page, pagination } }
})
