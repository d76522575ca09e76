// Statements for planning: lock the job, find its destinations, store the plan.
import type { Db } from '../pool.ts'
import type { DestinationStatus, JobStatus, Priority, Protocol } from '../states.ts'
import { MOST_STORED } from './submitted.ts'

export interface LockedJob {
  id: string
  status: JobStatus
  round: number
  data_type: string
  priority: Priority
  /** As stored in the row; null when the value is not a list, or the list is too long. */
  destinations: unknown
  planned: boolean
  cancel_requested: boolean
  /** Milliseconds on the database's clock; 0 or less when the time has come. */
  delay_ms: number
  expires_in_ms: number
}

/** Upper bound of a wait: timers have one of some thousand years, and `infinity` allows no subtraction. */
function millisecondsUntil(time: string): string {
  const near = `greatest(least(${time}, now() + interval '100 years'), clock_timestamp())`
  return `greatest(0, ceil(extract(epoch from ${near} - clock_timestamp()) * 1000))::float8`
}

/** Locks the job's row until the transaction ends. Null when there is no such job (of this tenant). */
export async function lockJob(db: Db, id: string): Promise<LockedJob | null> {
  const { rows } = await db.query<LockedJob>(
    `select id, status, round, data_type, priority,
            case when jsonb_typeof(destinations) = 'array' and jsonb_array_length(destinations) <= $2
                 then destinations end as destinations,
            planned_at is not null as planned,
            cancel_requested_at is not null as cancel_requested,
            ${millisecondsUntil('coalesce(deliver_at, clock_timestamp())')} as delay_ms,
            ${millisecondsUntil('expires_at')} as expires_in_ms
       from distribution_jobs
      where id = $1
        for update`,
    [id, MOST_STORED],
  )
  return rows[0] ?? null
}

export interface KnownDestination {
  id: string
  name: string
  protocol: Protocol
  status: DestinationStatus
  deleted: boolean
}

/**
 * The tenant's registered destinations with these names; for a name that was deleted and registered again, the new one.
 */
export async function findDestinations(db: Db, names: string[]): Promise<Map<string, KnownDestination>> {
  if (names.length === 0) return new Map()
  const { rows } = await db.query<KnownDestination>(
    `select distinct on (name) id, name, protocol, status, deleted_at is not null as deleted
       from destinations
      where name = any ($1)
      order by name, deleted_at desc nulls first`,
    [names],
  )
  return new Map(rows.map((row) => [row.name, row]))
}

export interface NewDelivery {
  destination_name: string
  protocol: Protocol
  destination_id: string | null
  /** Only inline destinations have it here; that of a registered destination is read at every attempt. */
  configuration: Record<string, unknown> | null
  /** The key of an inline destination's circuit and limits; for a registered one its id is used. */
  target: string | null
  max_retries: number | null
  status: 'pending' | 'failed' | 'skipped'
  error_code: string | null
  error_message: string | null
}

/**
 * Writes the plan once: one delivery per chosen destination, in the given order. A distribution whose submission states
 * no expiry gets at least `lifeSeconds`. Returns the milliseconds until the expiry.
 */
export async function insertPlan(
  db: Db,
  tenantId: string,
  id: string,
  deliveries: NewDelivery[],
  warnings: string[],
  lifeSeconds = 0,
): Promise<number> {
  if (deliveries.length > 0) {
    await db.query(
      `insert into distribution_deliveries
              (distribution_job_id, tenant_id, destination_name, delivery_id, protocol, destination_id, configuration,
               target, round, ordering_key, ordering_seq, ordering_blocks, max_retries, position, status, error_code,
               error_message, completed_at)
       select $1, $2, p.destination_name, new_uuidv7(), p.protocol, p.destination_id, p.configuration, p.target,
              j.round, j.ordering_key, j.ordering_seq, j.ordering_blocks, p.max_retries, p.position, p.status, p.error_code,
              p.error_message,
              case when p.status <> 'pending' then clock_timestamp() end
         from jsonb_to_recordset($3::jsonb) as p (
              destination_name text, protocol text, destination_id uuid, configuration jsonb, target text, max_retries int,
              position int, status text, error_code text, error_message text)
       join distribution_jobs j on j.id = $1
           on conflict do nothing`,
      [id, tenantId, JSON.stringify(deliveries.map((delivery, position) => ({ ...delivery, position })))],
    )
  }
  const { rows } = await db.query<{ expires_in_ms: number }>(
    `with life as (
       select case when (options ->> 'default_life')::boolean then greatest(timeout_seconds, $3::int)
                   else timeout_seconds end as seconds
         from distribution_jobs where id = $1)
     update distribution_jobs j
        set planned_at = clock_timestamp(), warnings = j.warnings || $2::jsonb, timeout_seconds = life.seconds,
            expires_at = case when life.seconds = j.timeout_seconds then j.expires_at
                              else least(case when j.round = 1 then (j.options ->> 'expires_at')::timestamptz end,
                                         j.expires_at + (life.seconds - j.timeout_seconds) * interval '1 second') end
       from life where j.id = $1
     returning greatest(0, ceil(extract(epoch from j.expires_at - clock_timestamp()) * 1000))::float8 as expires_in_ms`,
    [id, JSON.stringify(warnings), lifeSeconds],
  )
  return rows[0]!.expires_in_ms
}

/** Sets a job that is due to `processing`. A repeated call changes nothing. */
export async function startJob(db: Db, id: string): Promise<void> {
  await db.query(
    `update distribution_jobs
        set status = 'processing', started_at = coalesce(started_at, clock_timestamp()), updated_at = clock_timestamp()
      where id = $1 and status = 'pending'`,
    [id],
  )
}
