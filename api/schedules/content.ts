// The submission of a schedule: read and checked when the schedule is written, and checked again when it runs.
import type { z } from '@hono/zod-openapi'
import { readSurroundings } from '../../db/distributions/jobs.ts'
import type { Db } from '../../db/pool.ts'
import type { ScheduleContent, ScheduleRow } from '../../db/schedules/schedules.ts'
import { knownDestinations } from '../destinations/known.ts'
import type { Caller } from '../http/context.ts'
import type { Request } from '../http/endpoint.ts'
import { ApiError, type Detail, invalid } from '../http/errors.ts'
import { parseJson } from '../http/json.ts'
import { type CheckedPayload, NotChecked } from '../rules/catalogue-check.ts'
import type { scheduleContent } from '../schemas/schedules.ts'
import { checkSubmission } from '../submission/check.ts'
import { isRefusedByJsonb, newJob, storedIssues } from '../submission/submit.ts'

export interface Content {
  given: z.output<typeof scheduleContent>
  text: string
  request: Parameters<typeof newJob>[0]
  submission: Parameters<typeof newJob>[1]
  entries: Parameters<typeof newJob>[2]
  /** The result of the check by its data type, once there is one. */
  payload?: CheckedPayload
}

/** Checks that need no database. @throws ApiError that lists every problem */
export async function readContent({
  deps,
  caller,
  request_id,
  body: given,
  raw,
}: Request<unknown, unknown, z.output<typeof scheduleContent>>): Promise<Content> {
  const details: Detail[] = []
  if ((given.cron == null) === (given.interval_seconds == null)) {
    details.push({ field: 'cron', issue: 'either cron or interval_seconds is required, and not both' })
  }
  const bytes = raw.texts.bytes('submission')
  if (bytes === undefined) throw invalid([...details, { field: 'submission', issue: 'is required' }])
  const parsed = await below(() => parseJson(bytes))
  if (typeof parsed.value !== 'object' || parsed.value === null || Array.isArray(parsed.value)) {
    throw invalid([...details, { field: 'submission', issue: 'must be a JSON object' }])
  }
  const body = { bytes, ...parsed }
  const request = { caller, body, key: undefined, request_id }
  const checked = await below(() => checkSubmission(request, deps.egress))
  const found = [...parsed.unstorable, ...checked.details, ...notSchedule(parsed.value)]
  details.push(...found.map(underSubmission))
  if (!checked.submission || details.length > 0) throw invalid(details)
  return { given, text: bytes.toString('utf8'), request, submission: checked.submission, entries: checked.entries }
}

/** Checks that need the database. */
export async function checkContent(
  db: Db,
  { tenant_id }: Caller,
  { given, text, request, submission, entries, payload }: Content,
): Promise<Omit<ScheduleContent, 'paused'> & { paused: boolean | null }> {
  const surroundings = await readSurroundings(db, tenant_id, submission.data_type)
  const details = storedIssues(submission, entries, await knownDestinations(db, entries.named), surroundings, payload)
  if (details.length > 0) throw invalid(details.map(underSubmission))
  const { metadata_text, ...job } = newJob(request, submission, entries)
  const payload_text = request.body.texts.get('payload')!
  const { data_type, priority, destinations, callback_url, max_retries, timeout_seconds, options } = job
  const { ordering_key, ordering_blocks } = job
  if (!(await isJsonb(db, metadata_text))) {
    throw invalid([{ field: 'submission.metadata', issue: 'contains a value that cannot be stored' }])
  }
  return {
    name: given.name,
    description: given.description ?? null,
    cron: given.cron ?? null,
    interval_seconds: given.interval_seconds ?? null,
    time_zone: given.time_zone,
    overlap: given.overlap,
    catchup_seconds: given.catchup_seconds,
    paused: given.paused ?? null,
    submission: text,
    payload_text,
    metadata_text,
    template: {
      data_type,
      priority,
      payload_queryable: request.body.queryable && (await isJsonb(db, payload_text)),
      destinations,
      callback_url,
      max_retries,
      timeout_seconds,
      options,
      ordering_key,
      ordering_blocks,
    },
  }
}

/** A submission that was valid when the schedule was written may be invalid when it runs. */
export async function refuseUnfit(db: Db, { tenant_id, template }: ScheduleRow, fit: CheckedPayload | undefined) {
  const { check, catalogued, requires_catalogued } = await readSurroundings(db, tenant_id, template.data_type)
  if (requires_catalogued && !catalogued) {
    throw invalid([{ field: 'submission.data_type', issue: 'is not in the catalogue of data types' }])
  }
  if (check && fit?.state !== check.state) throw new NotChecked(check)
  if (check && fit && fit.refusals.length > 0) throw invalid(fit.refusals.map(underSubmission))
}

/** Fields that are only useful for a single distribution. */
function notSchedule(submission: object): Detail[] {
  const { expires_at, deliver_at, options } = submission as Record<string, unknown>
  const issue = 'is not allowed in a schedule'
  const key = (options as { idempotency_key?: unknown } | null | undefined)?.idempotency_key
  return [
    ...(expires_at == null ? [] : [{ field: 'expires_at', issue: `${issue}; use options.timeout_seconds` }]),
    ...(deliver_at == null ? [] : [{ field: 'deliver_at', issue }]),
    ...(key == null ? [] : [{ field: 'options.idempotency_key', issue }]),
  ]
}

function underSubmission({ field, issue }: Detail): Detail {
  return { field: field === 'body' ? 'submission' : `submission.${field}`, issue }
}

/** Prefixes the paths in errors with the submission's path in the request. */
async function below<T>(work: () => T): Promise<Awaited<T>> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    throw new ApiError(error.code, error.message, error.details.map(underSubmission))
  }
}

/** jsonb accepts less than JSON does. */
async function isJsonb(db: Db, text: string): Promise<boolean> {
  await db.query('savepoint jsonb')
  try {
    await db.query('select $1::jsonb', [text])
    return true
  } catch (error) {
    if (!isRefusedByJsonb(error)) throw error
    await db.query('rollback to savepoint jsonb')
    return false
  }
}
