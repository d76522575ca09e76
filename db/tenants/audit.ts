// The audit log, written in the same transaction as the change that it describes. Rows are never changed.
import type { Db } from '../pool.ts'

export interface AuditEvent {
  tenant_id: string
  /** `api_key:<id>`, or the name of a part of this system; never the key itself. */
  actor: string
  action: string
  resource_type: string
  resource_id: string
  /** Names, numbers, and a reason that the caller gave; never a secret, never a payload. */
  details?: Record<string, unknown>
  request_id?: string | null
}

export async function writeAudit(db: Db, event: AuditEvent): Promise<void> {
  await db.query(
    `insert into audit_log (tenant_id, actor, action, resource_type, resource_id, details, request_id)
     values ($1, $2, $3, $4, $5, $6::jsonb, $7)`,
    [
      event.tenant_id,
      event.actor,
      event.action,
      event.resource_type,
      event.resource_id,
      JSON.stringify(event.details ?? {}),
      event.request_id ?? null,
    ],
  )
}

export interface AuditRow extends Required<Omit<AuditEvent, 'request_id'>> {
  id: string
  request_id: string | null
  created_at: Date
}

export interface AuditFilter {
  action?: string | undefined
  resource_type?: string | undefined
  resource_id?: string | undefined
  from?: Date | undefined
  until?: Date | undefined
}

/** The tenant's events, newest first; `before` is the last id of the page before. */
export async function listAudit(
  db: Db,
  filter: AuditFilter,
  page: { limit: number; before: string | null },
): Promise<AuditRow[]> {
  const { rows } = await db.query<AuditRow>(
    `select id::text as id, tenant_id, actor, action, resource_type, resource_id, details, request_id, created_at
       from audit_log
      where ($1::text is null or action = $1)
        and ($2::text is null or resource_type = $2)
        and ($3::text is null or resource_id = $3)
        and ($4::timestamptz is null or created_at >= $4)
        and ($5::timestamptz is null or created_at < $5)
        and ($6::bigint is null or id < $6)
      order by audit_log.id desc limit $7`,
    [
      filter.action ?? null,
      filter.resource_type ?? null,
      filter.resource_id ?? null,
      filter.from ?? null,
      filter.until ?? null,
      page.before,
      page.limit,
    ],
  )
  return rows
}
