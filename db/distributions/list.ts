// The tenant's distributions by filter, newest first. Time filters become ranges of the id, so that PostgreSQL reads
// only the partitions of those months.
import type { Db } from '../pool.ts'
import { type DeliveryStatus, type JobStatus, OPEN_JOB, type Priority } from '../states.ts'

export interface DistributionFilter {
  statuses?: readonly JobStatus[] | undefined
  data_type?: string | undefined
  priority?: Priority | undefined
  destination?: string | undefined
  /** The status of a delivery; with `destination`, of the delivery to it. */
  delivery_status?: DeliveryStatus | undefined
  /** The code of a delivery that meets the fields above; without them also that of the distribution itself. */
  error_code?: string | undefined
  /** A delivery that meets the fields above failed in this time; `from` is inclusive, `until` exclusive. */
  failed?: { from?: Date | undefined; until?: Date | undefined } | undefined
  idempotency_key?: string | undefined
  /** The uuid of a batch that they belong to. */
  batch?: string | undefined
  /** The uuid of the schedule that made them. */
  schedule_id?: string | undefined
  ordering_key?: string | undefined
  /** Inclusive. */
  from?: Date | undefined
  /** Exclusive. */
  until?: Date | undefined
}

export interface ListedDistribution {
  id: string
  distribution_id: string
  status: JobStatus
  priority: Priority
  data_type: string
  submitted_at: Date
  started_at: Date | null
  completed_at: Date | null
  expires_at: Date
  error_code: string | null
  error_message: string | null
  retry_count: number
  destinations_count: number
  destinations_succeeded: number
  destinations_failed: number
}

// A null turns a filter off. PostgreSQL plans the statement for each request, so filters that are off cost nothing.
const FILTER = `
  ($1::text[] is null or j.status = any ($1))
  and ($2::text is null or j.data_type = $2)
  and ($3::text is null or j.priority = $3)
  and (($4::text is null and $10::text is null and $11::text is null and $12::timestamptz is null and $13::timestamptz is null)
       or exists (select from distribution_deliveries d
                   where d.distribution_job_id = j.id
                     and ($4::text is null or d.destination_name = $4)
                     and ($10::text is null or d.status = $10)
                     and ($11::text is null or d.error_code = $11)
                     and ($12::timestamptz is null or (d.status = 'failed' and d.completed_at >= $12))
                     and ($13::timestamptz is null or (d.status = 'failed' and d.completed_at < $13)))
       or ($10::text is null and $12::timestamptz is null and $13::timestamptz is null
           and case when $4::text is null then j.error_code = $11
                    else $11::text is null and j.planned_at is null
                         and j.destinations @> jsonb_build_array(jsonb_build_object('name', $4::text)) end))
  and ($5::timestamptz is null or j.id >= id_floor($5))
  and ($6::timestamptz is null or j.id < id_floor($6))
  and ($7::uuid is null or j.id in (select i.distribution_job_id from batch_items i where i.batch_id = $7))
  and ($8::uuid is null or j.schedule_id = $8)
  and ($9::text is null or j.ordering_key = $9)
  and ($14::text is null or j.id in (select k.job_id from idempotency_keys k where k.key = $14))`

function filterValues(filter: DistributionFilter): unknown[] {
  return [
    filter.statuses ?? null,
    filter.data_type ?? null,
    filter.priority ?? null,
    filter.destination ?? null,
    filter.from ?? null,
    filter.until ?? null,
    filter.batch ?? null,
    filter.schedule_id ?? null,
    filter.ordering_key ?? null,
    filter.delivery_status ?? null,
    filter.error_code ?? null,
    filter.failed?.from ?? null,
    filter.failed?.until ?? null,
    filter.idempotency_key ?? null,
  ]
}

/** One page; `before` is the id of the last distribution of the page before. */
export async function listDistributions(
  db: Db,
  filter: DistributionFilter,
  page: { limit: number; offset: number; before: string | null },
): Promise<ListedDistribution[]> {
  const { rows } = await db.query<ListedDistribution>(
    `select j.id, j.distribution_id, j.status, j.priority, j.data_type, j.created_at as submitted_at, j.started_at,
            j.completed_at, j.expires_at, j.error_code, j.error_message, j.retry_count,
            case when j.planned_at is not null then d.count
                 when jsonb_typeof(j.destinations) = 'array' then jsonb_array_length(j.destinations)
                 else 0 end as destinations_count,
            d.succeeded as destinations_succeeded, d.failed as destinations_failed
       from (select id, distribution_id, status, priority, data_type, created_at, started_at, completed_at, expires_at,
                    error_code, error_message, retry_count, planned_at, destinations
               from distribution_jobs j
              where ${FILTER} and ($15::uuid is null or j.id < $15)
              order by j.id desc limit $16 offset $17) j
      cross join lateral (
            select count(*)::int as count, count(*) filter (where status = 'success')::int as succeeded,
                   count(*) filter (where status = 'failed')::int as failed
              from distribution_deliveries where distribution_job_id = j.id) d
      order by j.id desc`,
    [...filterValues(filter), page.before, page.limit, page.offset],
  )
  return rows
}

/** How many distributions the whole filter matches, by status. */
export async function countDistributions(
  db: Db,
  filter: DistributionFilter,
): Promise<Partial<Record<JobStatus, number>>> {
  const { rows } = await db.query<{ status: JobStatus; count: number }>(
    `select j.status, count(*)::int as count from distribution_jobs j where ${FILTER} group by j.status`,
    filterValues(filter),
  )
  return Object.fromEntries(rows.map(({ status, count }) => [status, count]))
}

// The same choice as a retry makes (commands.ts), except that only the retry excludes failover groups that have a
// success. A distribution that is open, or that ended without deliveries, also has something to send. `$15` is `force`.
const SENDABLE = `
  (exists (select from distribution_deliveries d
            where d.distribution_job_id = j.id
              and (d.status in ('failed', 'cancelled') or ($15::boolean and d.status = 'success')
                   or (d.status = 'skipped' and ($4::text is not null or d.error_code is not null)))
              and ($4::text is null or d.destination_name = $4))
   or (j.planned_at is null and j.status not in ${OPEN_JOB})
   or ((j.status = 'failed' or ($15::boolean and j.status in ('completed', 'cancelled')))
       and not exists (select from distribution_deliveries d where d.distribution_job_id = j.id)))`

export interface Matched {
  /** Distributions that match the filter. */
  matched: number
  /** Of these, the distributions that have something to send again. */
  sendable: number
}

/** How many distributions a retry by this filter would look at, and how many of them it would send again. */
export async function countSendable(db: Db, filter: DistributionFilter, force: boolean): Promise<Matched> {
  const { rows } = await db.query<Matched>(
    `select count(*)::int as matched, count(*) filter (where ${SENDABLE})::int as sendable
       from distribution_jobs j where ${FILTER}`,
    [...filterValues(filter), force],
  )
  return rows[0]!
}

/**
 * Adds to the batch every distribution that matches the filter now and has something to send again: oldest first, and
 * under one ordering key in the order of the key. One statement chooses them all, so later changes do not alter the
 * choice.
 */
export async function selectIntoBatch(
  db: Db,
  filter: DistributionFilter,
  batch: { id: string; tenant_id: string; force: boolean },
): Promise<Matched> {
  const { rows } = await db.query<Matched>(
    `with matched as materialized (
       select j.id, j.ordering_seq, j.round, ${SENDABLE} as sendable from distribution_jobs j where ${FILTER}),
     noted as (
       insert into batch_items (batch_id, position, tenant_id, distribution_job_id, round)
       select $16, row_number() over (order by ordering_seq nulls first, id), $17, id, round from matched where sendable
       returning position)
     select (select count(*) from matched)::int as matched, (select count(*) from noted)::int as sendable`,
    [...filterValues(filter), batch.force, batch.id, batch.tenant_id],
  )
  return rows[0]!
}
