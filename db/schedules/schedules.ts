// Schedules: what to submit and when, and the one distribution of each scheduled time.
import { createHash } from 'node:crypto'
import { claimIdempotencyKey, OWN_KEY_PREFIX } from '../distributions/idempotency.ts'
import { findSubmittedJob, type NewJob, type SubmittedJob, submitJob } from '../distributions/jobs.ts'
import type { Db } from '../pool.ts'
import type { JobStatus, Overlap } from '../states.ts'

/** The content of each distribution's row, without payload and metadata. */
export type ScheduleTemplate = Pick<
  NewJob,
  | 'data_type'
  | 'priority'
  | 'payload_queryable'
  | 'destinations'
  | 'callback_url'
  | 'max_retries'
  | 'timeout_seconds'
  | 'options'
  | 'ordering_key'
  | 'ordering_blocks'
>

export interface ScheduleContent {
  name: string
  description: string | null
  cron: string | null
  interval_seconds: number | null
  time_zone: string
  overlap: Overlap
  catchup_seconds: number
  paused: boolean
  /** JSON text, as the request had it. */
  submission: string
  payload_text: string
  metadata_text: string
  template: ScheduleTemplate
}

/** Scheduled times that created no distribution and will create none. */
export interface Missed {
  count: number
  first: string
  last: string
  /** The latest of them. */
  times: string[]
  reason: string
  /** When they were noticed. */
  at: string
}

export function missedText({ count, first, last, reason }: Missed): string {
  return count === 1
    ? `The time ${first} was missed: ${reason}`
    : `${count} times were missed, from ${first} to ${last}: ${reason}`
}

export interface ScheduleRow extends ScheduleContent {
  id: string
  tenant_id: string
  version: number
  last_fired_at: Date | null
  last_distribution_id: string | null
  /** Also null if that distribution is no longer stored. */
  last_status: JobStatus | null
  last_completed_at: Date | null
  /** Why the last time created no distribution, or why Temporal rejects the schedule; null if there is no problem. */
  problem: string | null
  problem_at: Date | null
  /** Every time up to here has a distribution, is counted in `missed`, or was not required. */
  accounted_at: Date
  /** Since the schedule was last changed or resumed; null if none was missed. */
  missed: Missed | null
  /** By the database's clock. */
  now: Date
  created_at: Date
  updated_at: Date
  deleted: boolean
  /** Temporal's schedule equals this row. */
  in_sync: boolean
}

const COLUMNS = `id, tenant_id, name, description, cron, interval_seconds, time_zone, overlap, catchup_seconds, paused,
  submission, payload_text, metadata_text, template, version, last_fired_at,
  'dist_' || last_distribution_id as last_distribution_id,
  (select j.status from distribution_jobs j where j.id = last_distribution_id) as last_status,
  (select j.completed_at from distribution_jobs j where j.id = last_distribution_id) as last_completed_at, problem, problem_at,
  accounted_at, missed, clock_timestamp() as now, created_at, updated_at, deleted_at is not null as deleted,
  check_at is null as in_sync`

function valuesOf(content: Omit<ScheduleContent, 'paused'> & { paused: boolean | null }): unknown[] {
  return [
    content.name,
    content.description,
    content.cron,
    content.interval_seconds,
    content.time_zone,
    content.overlap,
    content.catchup_seconds,
    content.paused,
    content.submission,
    content.payload_text,
    content.metadata_text,
    JSON.stringify(content.template),
  ]
}

/** Null when the name is taken. */
export async function insertSchedule(db: Db, tenantId: string, content: ScheduleContent): Promise<ScheduleRow | null> {
  const { rows } = await db.query<ScheduleRow>(
    `insert into distribution_schedules
            (name, description, cron, interval_seconds, time_zone, overlap, catchup_seconds, paused, submission,
             payload_text, metadata_text, template, tenant_id)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::jsonb, $13)
         on conflict (tenant_id, name) where deleted_at is null do nothing
      returning ${COLUMNS}`,
    [...valuesOf(content), tenantId],
  )
  return rows[0] ?? null
}

/** Replaces the content, but keeps `paused` if it is null. Returns null if no schedule has this id. */
export async function replaceSchedule(
  db: Db,
  id: string,
  content: Omit<ScheduleContent, 'paused'> & { paused: boolean | null },
): Promise<ScheduleRow | null> {
  const { rows } = await db.query<ScheduleRow>(
    `update distribution_schedules
        set name = $1, description = $2, cron = $3, interval_seconds = $4, time_zone = $5, overlap = $6,
            catchup_seconds = $7, paused = coalesce($8, paused), problem = null, problem_at = null,
            accounted_at = clock_timestamp(), missed = null, submission = $9, payload_text = $10, metadata_text = $11,
            template = $12::jsonb, version = version + 1, updated_at = clock_timestamp(),
            check_at = clock_timestamp() + interval '10 seconds'
      where id = $13 and deleted_at is null
      returning ${COLUMNS}`,
    [...valuesOf(content), id],
  )
  return rows[0] ?? null
}

/** Pauses or resumes; a repeat changes nothing. */
export async function pauseSchedule(db: Db, id: string, paused: boolean): Promise<void> {
  await db.query(
    `update distribution_schedules
        set paused = $2, accounted_at = clock_timestamp(), missed = null, version = version + 1, updated_at = clock_timestamp(),
            check_at = clock_timestamp() + interval '10 seconds'
      where id = $1 and deleted_at is null and paused <> $2`,
    [id, paused],
  )
}

export async function deleteSchedule(db: Db, id: string): Promise<void> {
  await db.query(
    `update distribution_schedules
        set deleted_at = clock_timestamp(), version = version + 1, check_at = clock_timestamp() + interval '10 seconds'
      where id = $1 and deleted_at is null`,
    [id],
  )
}

/** By uuid or name; a deleted schedule only by its uuid. With `lock` its row is locked until the transaction ends. */
export async function findSchedule(db: Db, idOrName: string, lock = false): Promise<ScheduleRow | null> {
  const { rows } = await db.query<ScheduleRow>(
    `select ${COLUMNS} from distribution_schedules
      where id::text = $1 or (name = $1 and deleted_at is null) order by id::text = $1 desc limit 1 ${lock ? 'for update' : ''}`,
    [idOrName],
  )
  return rows[0] ?? null
}

/** In the order of the names; `after` is the last name of the page before. */
export async function listSchedules(db: Db, page: { after: string | null; limit: number }): Promise<ScheduleRow[]> {
  const { rows } = await db.query<ScheduleRow>(
    `select ${COLUMNS} from distribution_schedules
      where deleted_at is null and ($1::text is null or name > $1) order by name limit $2`,
    [page.after, page.limit],
  )
  return rows
}

/**
 * Notes that Temporal's schedule equals this version of the row. If the row has a newer version, the sweep updates
 * Temporal again. The row of a deleted schedule is removed.
 */
export async function noteInSync(db: Db, id: string, version: number): Promise<void> {
  await db.query(
    'update distribution_schedules set check_at = case version when $2 then null else clock_timestamp() end where id = $1',
    [id, version],
  )
  await db.query('delete from distribution_schedules where id = $1 and deleted_at is not null and check_at is null', [
    id,
  ])
}

/** Stores the problem, or null when it is solved. Returns whether there was no problem before. */
export async function noteProblem(db: Db, id: string, problem: string | null): Promise<boolean> {
  const { rows } = await db.query<{ was: string | null }>(
    `with before as (select id, problem as was from distribution_schedules where id = $1 for update)
     update distribution_schedules r
        set problem = $2, problem_at = case when $2::text is null then null else clock_timestamp() end
       from before
      where r.id = before.id and r.problem is distinct from $2
      returning before.was`,
    [id, problem],
  )
  return rows.length === 1 && rows[0]!.was === null
}

/**
 * Notes that every time up to `accounted` is created or missed, and adds `missed` to the missed times. Returns what to
 * report in an event, at most once an hour.
 */
export async function accountSchedule(
  db: Db,
  id: string,
  accounted: Date,
  missed: Missed | null,
): Promise<Missed | null> {
  const { rows } = await db.query<{ told: Missed | null }>(
    `with before as (
       select id, missed as was,
              coalesce((missed ->> 'told_at')::timestamptz < clock_timestamp() - interval '1 hour', true) as tells
         from distribution_schedules where id = $1 for update),
     sum as (
       select id, tells,
              case when $3::jsonb is null then was
                   when was is null then $3::jsonb
                   else was || $3::jsonb || jsonb_build_object('first', was -> 'first', 'count',
                          (was ->> 'count')::int + ($3::jsonb ->> 'count')::int) end as missed
         from before)
     update distribution_schedules r
        set accounted_at = greatest(r.accounted_at, $2),
            missed = case when $3::jsonb is not null and tells
                          then sum.missed || jsonb_build_object('told_at', clock_timestamp()) else sum.missed end
       from sum where r.id = sum.id
     returning case when $3::jsonb is not null and tells then sum.missed - 'told_at' end as told`,
    [id, accounted, missed && JSON.stringify(missed)],
  )
  return rows[0]?.told ?? null
}

/** The sweep updates Temporal again after so many seconds. */
export async function syncLater(db: Db, id: string, seconds: number): Promise<void> {
  await db.query(
    `update distribution_schedules set check_at = clock_timestamp() + $2 * interval '1 second'
      where id = $1 and check_at is not null`,
    [id, seconds],
  )
}

/** Schedules of all tenants that Temporal must be updated with; with `all` also every one that is not deleted. */
export async function dueSchedules(
  db: Db,
  limit: number,
  all: boolean,
  after: string | null,
): Promise<{ tenant_id: string; id: string }[]> {
  const { rows } = await db.query<{ tenant_id: string; id: string }>(
    'select tenant_id, id from due_schedules($1, $2, $3)',
    [limit, all, after],
  )
  return rows
}

/**
 * Creates the distribution of one `occasion` (a scheduled time, or a caller's key). A repeat returns the same distribution.
 * @param mayBeMade throws if there must be none; not called for a repeat
 * @param once the key that makes it unique, if that is not the occasion
 */
export async function insertScheduledJob(
  db: Db,
  row: ScheduleRow,
  occasion: string,
  by: { request_id: string; actor: string },
  mayBeMade: () => Promise<void> = async () => {},
  once = occasion,
): Promise<SubmittedJob> {
  const key = `${OWN_KEY_PREFIX}schedule:${row.id}:${once}`
  const claim = await claimIdempotencyKey(db, row.tenant_id, key, createHash('sha256').update(key).digest())
  if (!claim.claimed) {
    const first = await findSubmittedJob(db, claim.job_id)
    if (first) return first
    throw new Error('the distribution of this scheduled time is no longer stored')
  }
  await mayBeMade()
  const { template, payload_text, metadata_text, tenant_id } = row
  const job = await submitJob(db, {
    ...template,
    options: { ...template.options, schedule: { id: row.id, name: row.name, version: row.version, occasion } },
    payload_text,
    metadata_text,
    tenant_id,
    id: claim.job_id,
    expires_at: null,
    deliver_at: null,
    ...by,
  })
  await db.query('update distribution_jobs set schedule_id = $2 where id = $1', [job.id, row.id])
  await db.query(
    `update distribution_schedules set last_fired_at = clock_timestamp(), last_distribution_id = $2 where id = $1`,
    [row.id, job.id],
  )
  return job
}
