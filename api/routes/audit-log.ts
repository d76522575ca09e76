// The audit log of the caller's tenant.
import { z } from 'zod'
import { parseDistributionId } from '../../db/distributions/job-id.ts'
import { listAudit } from '../../db/tenants/audit.ts'
import { parseWebhookId } from '../../db/webhooks/webhook-id.ts'
import { endpoint } from '../http/endpoint.ts'
import { pageOf, readPage, readRange } from '../http/pages.ts'
import { auditLog, auditQuery } from '../schemas/administration.ts'

/** Ids are 64-bit integers, which a JavaScript number may not hold exactly. */
const EVENT_KEY = z.string().regex(/^\d{1,18}$/)

export const list = endpoint({
  method: 'get',
  path: '/audit-log',
  operation: 'listAuditLog',
  tag: 'Administration',
  summary: 'List the events of the audit log, newest first',
  role: 'admin',
  query: auditQuery,
  answers: { 200: { description: 'One page', schema: auditLog } },
}).handle(async ({ transaction, query }) => {
  const { limit, after, filter } = readPage(query, EVENT_KEY)
  const { from_date, to_date, resource_id, ...rest } = filter
  const wanted = { ...rest, resource_id: resource_id && storedId(resource_id), ...readRange(from_date, to_date) }
  const rows = await transaction((db) => listAudit(db, wanted, { limit: limit + 1, before: after }))
  const { page, pagination } = pageOf(rows, limit, ({ id }) => id)
  return { status: 200, body: { events: page, pagination } }
})

/** The audit log has the uuid of a distribution, a batch or an event; clients use it with a prefix, such as `dist_`. */
function storedId(given: string): string {
  return parseDistributionId(given) ?? parseWebhookId(given)?.subject_id ?? given
}
