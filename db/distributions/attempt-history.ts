// Every attempt of a distribution, oldest first, a page at a time.
import type { Db } from '../pool.ts'
import type { AttemptStatus } from '../states.ts'

export interface AttemptRow {
  id: string
  destination_name: string
  delivery_id: string
  attempt_number: number
  round: number
  status: AttemptStatus
  started_at: Date
  completed_at: Date | null
  response_status_code: number | null
  response_body: string | null
  error_message: string | null
  retry_reason: string | null
  configuration_version: number | null
  worker: string | null
  metadata: Record<string, unknown>
}

/**
 * Attempts after the attempt `after` (an id; null for the first page). Ids are in the order in which rows were opened.
 */
export async function listAttempts(
  db: Db,
  jobId: string,
  page: { after: string | null; limit: number },
): Promise<AttemptRow[]> {
  const { rows } = await db.query<AttemptRow>(
    `select id, destination_name, delivery_id, attempt_number, round, status, started_at, completed_at,
            response_status_code, response_body, error_message, retry_reason, configuration_version, worker, metadata
       from distribution_attempts
      where distribution_job_id = $1 and ($2::uuid is null or id > $2)
      order by id limit $3`,
    [jobId, page.after, page.limit],
  )
  return rows
}
