// Accepts a distribution: checks everything, then stores it in one transaction. The caller starts the workflow.
import { OTHER } from '../../activities/metrics.ts'
import {
  addWarnings,
  findSubmittedJob,
  type NewJob,
  readSurroundings,
  type SubmissionSurroundings,
  type SubmittedJob,
  submitJob,
} from '../../db/distributions/jobs.ts'
import { type Db, withTenant } from '../../db/pool.ts'
import { type KnownDestinations, knownDestinations } from '../destinations/known.ts'
import type { AppDeps } from '../http/context.ts'
import { type Detail, invalid } from '../http/errors.ts'
import { type CheckedPayload, checkPayload, NotChecked } from '../rules/catalogue-check.ts'
import { DEFAULT_LIFE_SECONDS, type Submission } from '../schemas/submission.ts'
import { checkSubmission, type SubmitRequest } from './check.ts'
import { type CheckedEntries, checkNames } from './destination-entries.ts'
import { claimKey, noLongerKept } from './idempotency.ts'

const MAX_DELIVER_AHEAD_MS = 90 * 86_400_000
const ESTIMATE_MS = 5000

export interface Submitted {
  job: SubmittedJob
  /** False if the idempotency key belongs to the distribution of an earlier request. */
  created: boolean
  catalogued: boolean
}

/** Checks and stores. Throws one `ApiError` with every problem, and stores nothing then. */
export async function submit(
  deps: Pick<AppDeps, 'pool' | 'egress' | 'shaper'>,
  request: SubmitRequest,
): Promise<Submitted> {
  const { caller } = request
  const checked = await checkSubmission(request, deps.egress)
  if (!checked.submission || checked.details.length > 0) {
    // Names are looked up too, so that one response lists everything.
    const known = await withTenant(deps.pool, caller.tenant_id, (db) => knownDestinations(db, checked.entries.named))
    const compression = checked.submission?.options.compression ?? 'none'
    throw invalid([...checked.details, ...checkNames(checked.entries.named, known, compression)])
  }
  const submission = checked.submission
  let payload: CheckedPayload | undefined
  const store = async (queryable: boolean): Promise<Submitted> => {
    try {
      return await withTenant(
        deps.pool,
        caller.tenant_id,
        (db) => storeSubmission(db, request, submission, checked.entries, checked.key, payload, queryable),
        { planOnce: true },
      )
    } catch (error) {
      if (!(error instanceof NotChecked)) throw error
      const { metadata } = submission
      const bytes = request.body.texts.bytes('payload')!
      payload = await checkPayload(deps.shaper, caller.tenant_id, error.by, { payload: bytes, metadata })
      return await store(queryable)
    }
  }
  try {
    return await store(request.body.queryable)
  } catch (error) {
    if (!isRefusedByJsonb(error)) throw asRefusal(error)
  }
  // jsonb accepts less than JSON (no U+0000, lone surrogates or huge numbers). The delivery uses the stored bytes.
  try {
    return await store(false)
  } catch (error) {
    if (isRefusedByJsonb(error)) throw invalid([{ field: 'metadata', issue: 'contains a value that cannot be stored' }])
    throw asRefusal(error)
  }
}

/** The response to a submission and to every repeat, from the stored row. */
export function acceptedAnswer(job: SubmittedJob) {
  const begins = Math.max(job.created_at.getTime(), job.deliver_at?.getTime() ?? 0)
  return {
    distribution_id: job.distribution_id,
    status: 'accepted' as const,
    estimated_completion: new Date(begins + ESTIMATE_MS),
    destinations_count: job.destinations_count === 0 ? null : job.destinations_count,
    tracking_url: trackingUrl(job.distribution_id),
    callback_registered: job.callback_registered,
  }
}

export function trackingUrl(distributionId: string): string {
  return `/api/v1/distribution/${distributionId}/status`
}

/** The label of a submission in metrics. */
export function dataTypeLabel({ job, catalogued }: Submitted): string {
  return catalogued ? job.data_type : OTHER
}

/** One transaction. The idempotency key comes first: a repeat gets the first response, even if anything has changed since. */
async function storeSubmission(
  db: Db,
  request: SubmitRequest,
  submission: Submission,
  entries: CheckedEntries,
  key: string | null,
  payload: CheckedPayload | undefined,
  queryable: boolean,
): Promise<Submitted> {
  const { caller, body } = request
  const claim = key === null ? null : await claimKey(db, caller.tenant_id, key, body.bytes)
  const surroundings = await readSurroundings(db, caller.tenant_id, submission.data_type)
  if (claim && !claim.claimed) {
    const first = await findSubmittedJob(db, claim.job_id)
    if (!first) throw noLongerKept('distribution')
    return { job: first, created: false, catalogued: surroundings.catalogued }
  }
  const details = storedIssues(submission, entries, await knownDestinations(db, entries.named), surroundings, payload)
  if (details.length > 0) throw invalid(details)
  const job = await submitJob(db, {
    ...newJob(request, submission, entries),
    id: claim?.job_id ?? null,
    payload_queryable: queryable,
  })
  await addWarnings(db, [{ id: job.id, warnings: payload?.warnings ?? [] }])
  return { job, created: true, catalogued: surroundings.catalogued }
}

/**
 * The problems that need the database: its clock, its catalogue, its destinations.
 * @throws NotChecked if the payload must be checked by its data type first
 */
export function storedIssues(
  submission: Submission,
  entries: CheckedEntries,
  known: KnownDestinations,
  surroundings: SubmissionSurroundings,
  payload: CheckedPayload | undefined,
): Detail[] {
  const { check } = surroundings
  if (check && payload?.state !== check.state) throw new NotChecked(check)
  const details = [
    ...timeIssues(submission, surroundings.now),
    ...checkNames(entries.named, known, submission.options.compression),
  ]
  if (surroundings.requires_catalogued && !surroundings.catalogued) {
    details.push({ field: 'data_type', issue: 'is not in the catalogue of data types' })
  }
  return check ? [...details, ...payload!.refusals] : details
}

/** The row of a checked submission. */
export function newJob({ caller, body, request_id }: SubmitRequest, submission: Submission, entries: CheckedEntries) {
  const expires_at = submission.expires_at ? new Date(submission.expires_at) : null
  return {
    tenant_id: caller.tenant_id,
    id: null,
    data_type: submission.data_type,
    priority: submission.priority,
    payload_text: body.texts.bytes('payload')!,
    payload_queryable: true,
    destinations: entries.destinations,
    callback_url: submission.options.callback_url ?? null,
    max_retries: submission.options.max_retries ?? null,
    timeout_seconds: submission.options.timeout_seconds ?? DEFAULT_LIFE_SECONDS,
    expires_at,
    deliver_at: submission.deliver_at ? new Date(submission.deliver_at) : null,
    metadata_text: submission.metadata ? body.texts.get('metadata')! : '{}',
    options: {
      compression: submission.options.compression,
      encryption_required: submission.options.encryption_required,
      // The plan may extend a default life, but not beyond `expires_at`.
      ...(submission.options.timeout_seconds === undefined && { default_life: true }),
      ...(expires_at && { expires_at }),
    },
    request_id,
    actor: caller.actor,
    ordering_key: submission.ordering_key ?? null,
    ordering_blocks: submission.ordering === 'block',
  } satisfies NewJob
}

function timeIssues(submission: Submission, now: Date): Detail[] {
  const details: Detail[] = []
  const expires = submission.expires_at ? Date.parse(submission.expires_at) : null
  const deliver = submission.deliver_at ? Date.parse(submission.deliver_at) : null
  if (expires !== null && expires <= now.getTime()) details.push({ field: 'expires_at', issue: 'is in the past' })
  else if (expires !== null && deliver !== null && expires <= deliver) {
    details.push({ field: 'expires_at', issue: 'is not after deliver_at' })
  }
  if (deliver !== null && deliver > now.getTime() + MAX_DELIVER_AHEAD_MS) {
    details.push({ field: 'deliver_at', issue: 'is more than 90 days ahead' })
  }
  return details
}

/** Untranslatable character, invalid text, number out of range, invalid bytes, and the limits of jsonb itself. */
const JSONB_REFUSES = /^(22P05|22P02|22003|22021|22023|54000|54001)$/

export function isRefusedByJsonb(error: unknown): boolean {
  return JSONB_REFUSES.test(String((error as { code?: unknown }).code))
}

/** An expiry in the next moment may be earlier than the id of the distribution. */
export function asRefusal(error: unknown): unknown {
  const { code, constraint } = error as { code?: string; constraint?: string }
  return code === '23514' && constraint === 'chk_distribution_jobs_expires_future'
    ? invalid([{ field: 'expires_at', issue: 'is in the past' }])
    : error
}
