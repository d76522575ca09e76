// Rows for tests: each builder sets defaults for the columns that a test does not give. They take any connection; the owner's
// (`adminUrl`) sees all tenants.
import type { Db } from '../../db/pool.ts'

/** A new id of that moment. Its month must exist before a row can have it (`make_month`). */
export async function idOf(db: Db, time: Date): Promise<string> {
  // The milliseconds of the moment and the rest of a new id: unique, unlike id_floor.
  const { rows } = await db.query(
    'select (left(id_floor($1)::text, 13) || substr(new_uuidv7()::text, 14))::uuid as id',
    [time],
  )
  return rows[0].id
}

export async function aTenant(db: Db, id: string): Promise<string> {
  await db.query('insert into tenants (id, name) values ($1, $1) on conflict do nothing', [id])
  return id
}

export interface JobFields {
  id?: string
  tenant_id?: string
  status?: string
  priority?: string
  data_type?: string
  payload?: unknown
  metadata?: unknown
  destinations?: unknown
  completed_at?: string | Date | null
  expires_at?: string | Date
  retry_count?: number
  error_message?: string | null
  check_at?: string | Date | null
  cancel_requested_at?: string | Date | null
}

/** Inserts a job straight into the table; returns its id. */
export async function aJob(db: Db, fields: JobFields = {}): Promise<string> {
  const id = fields.id ?? (await idOf(db, new Date()))
  const payload = JSON.stringify(fields.payload ?? {})
  await db.query(
    `insert into distribution_jobs
       (id, tenant_id, distribution_id, status, priority, data_type, payload, payload_bytes, metadata, destinations,
        completed_at, expires_at, retry_count, error_message, check_at, cancel_requested_at)
     values ($1::uuid, $2, 'dist_' || $1::uuid::text, $3, $4, $5, $6::text::jsonb, convert_to($6::text, 'UTF8'), $7, $8, $9,
       coalesce($10::timestamptz, id_time($1::uuid) + interval '5 minutes'), $11, $12, $13, $14)`,
    [
      id,
      fields.tenant_id ?? 'demo',
      fields.status ?? 'pending',
      fields.priority ?? 'normal',
      fields.data_type ?? 'report',
      payload,
      JSON.stringify(fields.metadata ?? {}),
      JSON.stringify(fields.destinations ?? []),
      fields.completed_at ?? null,
      fields.expires_at ?? null,
      fields.retry_count ?? 0,
      fields.error_message ?? null,
      fields.check_at ?? null,
      fields.cancel_requested_at ?? null,
    ],
  )
  return id
}

export interface DeliveryFields {
  distribution_job_id: string
  destination_name?: string
  tenant_id?: string
  status?: string
  attempts?: number
}

export async function aDelivery(db: Db, fields: DeliveryFields): Promise<void> {
  await db.query(
    `insert into distribution_deliveries
       (distribution_job_id, destination_name, tenant_id, protocol, position, status, attempts)
     values ($1, $2, $3, 'REST', 1, $4, $5)`,
    [
      fields.distribution_job_id,
      fields.destination_name ?? 'warehouse',
      fields.tenant_id ?? 'demo',
      fields.status ?? 'pending',
      fields.attempts ?? 0,
    ],
  )
}

export interface AttemptFields {
  distribution_job_id: string
  destination_name?: string
  tenant_id?: string
  attempt_number?: number
  status?: string
  started_at?: string | Date
  completed_at?: string | Date | null
  response_status_code?: number | null
  error_message?: string | null
}

/** Inserts an attempt; returns its id. */
export async function anAttempt(db: Db, fields: AttemptFields): Promise<string> {
  const { rows } = await db.query(
    `insert into distribution_attempts
       (distribution_job_id, destination_name, tenant_id, delivery_id, attempt_number, status, started_at, completed_at,
        response_status_code, error_message)
     values ($1, $2, $3, new_uuidv7(), $4, $5, coalesce($6::timestamptz, clock_timestamp()), $7, $8, $9)
     returning id`,
    [
      fields.distribution_job_id,
      fields.destination_name ?? 'warehouse',
      fields.tenant_id ?? 'demo',
      fields.attempt_number ?? 1,
      fields.status ?? 'processing',
      fields.started_at ?? null,
      fields.completed_at ?? null,
      fields.response_status_code ?? null,
      fields.error_message ?? null,
    ],
  )
  return rows[0].id
}

export interface DestinationFields {
  name?: string
  tenant_id?: string
  status?: string
  configuration?: unknown
  tags?: string[]
  health_status?: string
}

/** Inserts a registered destination; returns its id. */
export async function aDestination(db: Db, fields: DestinationFields = {}): Promise<string> {
  const { rows } = await db.query(
    `insert into destinations (name, tenant_id, protocol, status, configuration, tags, health_status)
     values ($1, $2, 'REST', $3, $4, $5, $6) returning id`,
    [
      fields.name ?? 'warehouse',
      fields.tenant_id ?? 'demo',
      fields.status ?? 'active',
      JSON.stringify(fields.configuration ?? { endpoint: 'https://warehouse.example/in' }),
      fields.tags ?? [],
      fields.health_status ?? 'unknown',
    ],
  )
  return rows[0].id
}
