// The tenant's distributions by filter, newest first. Time filters become ranges of the id, so that only their months
// are read.
import type { Db } from './pool.ts'
import type { JobStatus, Priority } from './states.ts'

export interface DistributionFilter {
  status?: JobStatus | undefined
  data_type?: string | undefined
  priority?: Priority | undefined
  destination?: string | undefined
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

// Each filter is left out by a null; a list is asked for with few of them, and planned anew each time.
const FILTER = `
  ($1::text is null or j.status = $1)
  and ($2::text is null or j.data_type = $2)
  and ($3::text is null or j.priority = $3)
  and ($4::text is null
       or exists (select from distribution_deliveries d where d.distribution_job_id = j.id and d.destination_name = $4)
       or (j.planned_at is null and j.destinations @> jsonb_build_array(jsonb_build_object('name', $4::text))))
  and ($5::timestamptz is null or j.id >= id_floor($5))
  and ($6::timestamptz is null or j.id < id_floor($6))`

function filterValues(filter: DistributionFilter): unknown[] {
  return [
    filter.status ?? null,
    filter.data_type ?? null,
    filter.priority ?? null,
    filter.destination ?? null,
    filter.from ?? null,
    filter.until ?? null,
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
            case when j.planned_at is null then jsonb_array_length(j.destinations) else d.count end as destinations_count,
            d.succeeded as destinations_succeeded, d.failed as destinations_failed
       from (select id, distribution_id, status, priority, data_type, created_at, started_at, completed_at, expires_at,
                    error_code, error_message, retry_count, planned_at, destinations
               from distribution_jobs j
              where ${FILTER} and ($7::uuid is null or j.id < $7)
              order by j.id desc limit $8 offset $9) j
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

/**
 * Notes every distribution that the filter matches now as an item of the batch, oldest first; returns how many. One
 * statement, so that they are chosen once: what changes afterwards is neither missed nor added.
 */
export async function selectIntoBatch(
  db: Db,
  filter: DistributionFilter,
  batch: { id: string; tenant_id: string },
): Promise<number> {
  const { rowCount } = await db.query(
    `insert into batch_items (batch_id, position, tenant_id, distribution_job_id)
     select $7, row_number() over (order by j.id), $8, j.id from distribution_jobs j where ${FILTER}`,
    [...filterValues(filter), batch.id, batch.tenant_id],
  )
  return rowCount ?? 0
}
