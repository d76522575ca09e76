// Distributions as the API writes and finds them. `status.ts` reads their progress.

import type { Db } from '../pool.ts'
import type { ValidationRules } from '../rules/data-types.ts'
import type { JobStatus, Priority } from '../states.ts'
import { publicId } from './job-id.ts'
import { orderJobs } from './ordering.ts'
import type { SubmittedDestination } from './submitted.ts'

export interface NewJob {
  tenant_id: string
  /** The uuid that an idempotency key was claimed with; null: a new one is created. */
  id: string | null
  data_type: string
  priority: Priority
  /** The payload exactly as it was sent: JSON, or its bytes in UTF-8. */
  payload_text: string | Buffer
  /** False: jsonb cannot store the payload. The column then contains `{}`, and `metadata.payload_state` says so. */
  payload_queryable: boolean
  destinations: SubmittedDestination[]
  callback_url: string | null
  max_retries: number | null
  timeout_seconds: number
  expires_at: Date | null
  deliver_at: Date | null
  /** JSON text of an object, as it was sent. */
  metadata_text: string
  options: Record<string, unknown>
  request_id: string
  actor: string
  /** Distributions with the same key are sent to a destination one after another. */
  ordering_key?: string | null
  /** A failure blocks the later ones. */
  ordering_blocks?: boolean
}

/**
 * Inserts a `pending` job through the SQL procedure. If both `expires_at` and a timeout are given, the earlier one
 * counts.
 */
export async function submitJob(db: Db, job: NewJob): Promise<SubmittedJob> {
  const { rows } = await db.query<{ p_id: string }>(
    `call submit_distribution(
       p_tenant_id => $1, p_distribution_id => null, p_data_type => $2, p_payload => (case when $3::boolean then convert_from($11::bytea, 'UTF8') else '{}' end)::jsonb,
       p_destinations => $4::jsonb, p_priority => $5, p_callback_url => $6, p_max_retries => $7,
       p_expires_at => $8::timestamptz, p_payload_bytes => $11::bytea,
       p_metadata => $12::jsonb || $13::jsonb, p_options => $14::jsonb, p_timeout_seconds => $10::int,
       p_deliver_at => $9::timestamptz, p_request_id => $15, p_actor => $16, p_id => $17::uuid)`,
    [
      job.tenant_id,
      job.data_type,
      job.payload_queryable,
      JSON.stringify(job.destinations),
      job.priority,
      job.callback_url,
      job.max_retries,
      job.expires_at,
      job.deliver_at,
      job.timeout_seconds,
      bytesOf(job),
      job.metadata_text,
      job.payload_queryable ? '{}' : '{"payload_state": "not_queryable"}',
      JSON.stringify(job.options),
      job.request_id,
      job.actor,
      job.id,
    ],
  )
  const id = rows[0]!.p_id
  await orderJobs(db, job.tenant_id, [{ ...job, id }])
  const { data_type, priority, deliver_at } = job
  return {
    id,
    distribution_id: publicId(id),
    status: 'pending',
    data_type,
    priority,
    // The same value as the generated column: the time in the id, in milliseconds.
    created_at: new Date(Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16)),
    deliver_at,
    destinations_count: job.destinations.length,
    callback_registered: job.callback_url !== null,
  }
}

export function bytesOf({ payload_text }: Pick<NewJob, 'payload_text'>): Buffer {
  return typeof payload_text === 'string' ? Buffer.from(payload_text, 'utf8') : payload_text
}

/** The data of the answer to a submission; a repeated submission gets the same. */
export interface SubmittedJob {
  id: string
  distribution_id: string
  status: JobStatus
  data_type: string
  priority: Priority
  created_at: Date
  deliver_at: Date | null
  destinations_count: number
  callback_registered: boolean
}

/** The job as it was accepted, or null. */
export async function findSubmittedJob(db: Db, id: string): Promise<SubmittedJob | null> {
  const { rows } = await db.query<SubmittedJob>(
    `select id, distribution_id, status, data_type, priority, created_at, deliver_at,
            case jsonb_typeof(destinations) when 'array' then jsonb_array_length(destinations) else 0 end as destinations_count, callback_url is not null as callback_registered
       from distribution_jobs where id = $1`,
    [id],
  )
  return rows[0] ?? null
}

/** What a data type requires of a payload. */
export interface DataTypeCheck {
  id: string
  /** Changes with every update of the data type. */
  state: string
  /** As JSON, with the digits of its numbers as they were sent. */
  schema_definition: string | null
  validation_rules: ValidationRules
}

export interface SubmissionSurroundings {
  /** The database's clock, by which times are compared. */
  now: Date
  /** The data type is in the tenant's catalogue or in the shared one. */
  catalogued: boolean
  /** The tenant accepts only data types that are in a catalogue. */
  requires_catalogued: boolean
  /** Null when the data type has no requirements, or is in no catalogue. */
  check: DataTypeCheck | null
}

/**
 * What a submission is checked against besides its destinations. The tenant's data type takes precedence over a shared
 * one.
 */
export async function readSurroundings(db: Db, tenantId: string, dataType: string): Promise<SubmissionSurroundings> {
  const { rows } = await db.query<SubmissionSurroundings>(
    `select clock_timestamp() as now, t.id is not null as catalogued,
            coalesce((select require_known_data_type from tenants where id = $1), false) as requires_catalogued,
            case when t.schema_definition is not null or t.validation_rules <> '{}' then jsonb_build_object(
              'id', t.id, 'state', concat_ws(' ', t.tenant_id, t.created_at, t.updated_at),
              'schema_definition', t.schema_definition::text,
              'validation_rules', case jsonb_typeof(t.validation_rules) when 'object' then t.validation_rules else '{}' end
            ) end as check
       from (select) as one
       left join lateral (
         select id, tenant_id, schema_definition, validation_rules, created_at, updated_at
           from data_types where id = $2
          order by tenant_id nulls last limit 1) as t on true`,
    [tenantId, dataType],
  )
  return rows[0]!
}

/** Adds warnings to distributions when they are accepted. */
export async function addWarnings(db: Db, found: { id: string; warnings: string[] }[]): Promise<void> {
  const some = found.filter(({ warnings }) => warnings.length > 0)
  if (some.length === 0) return
  await db.query(
    `update distribution_jobs j set warnings = j.warnings || w.warnings
       from jsonb_to_recordset($1::jsonb) as w (id uuid, warnings jsonb) where j.id = w.id`,
    [JSON.stringify(some)],
  )
}

/**
 * The status of one job, without a lock, and in how many milliseconds it is due. A negative number: how long it has
 * been due without any change of the row.
 */
export async function peekJob(db: Db, id: string): Promise<{ status: JobStatus; due_in_ms: number } | null> {
  const { rows } = await db.query<{ status: JobStatus; due_in_ms: number }>(
    `select status, extract(epoch from greatest(updated_at, deliver_at) - clock_timestamp())::float8 * 1000 as due_in_ms
       from distribution_jobs where id = $1`,
    [id],
  )
  return rows[0] ?? null
}
