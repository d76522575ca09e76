// The checks of a submission that need neither the clock nor the database.
import type { Egress } from '../../activities/destinations/network/egress.ts'
import { targetOfUrl } from '../../activities/destinations/network/target.ts'
import { requireOwnTenant } from '../http/auth.ts'
import type { Caller } from '../http/context.ts'
import type { RequestBody } from '../http/endpoint.ts'
import { ApiError, type Detail } from '../http/errors.ts'
import { issuesOf } from '../schemas/issues.ts'
import {
  MAX_DESTINATIONS,
  metadataIsTooLarge,
  type Submission,
  submissionWithoutDestinations,
} from '../schemas/submission.ts'
import { type CheckedEntries, checkEntries, forbiddenHost, forbiddenTarget } from './destination-entries.ts'
import { keyOf } from './idempotency.ts'

export interface SubmitRequest {
  caller: Caller
  body: RequestBody
  /** Header `Idempotency-Key`. */
  key: string | undefined
  request_id: string
}

export interface CheckedSubmission {
  submission: Submission | undefined
  entries: CheckedEntries
  key: string | null
  details: Detail[]
}

/** The problems of the request itself. Uses no clock and no database, so that a repeat gets the same result. */
export async function checkSubmission(
  { body, key, caller }: SubmitRequest,
  egress: Egress,
): Promise<CheckedSubmission> {
  const raw = body.value as Record<string, unknown>
  const listed = Array.isArray(raw.destinations) ? (raw.destinations as unknown[]) : []
  if (listed.length > MAX_DESTINATIONS) throw tooManyDestinations(listed.length)
  const hugeMetadata = metadataIsTooLarge(body.texts.bytes('metadata'))
  const parsed = submissionWithoutDestinations.safeParse(hugeMetadata ? { ...raw, metadata: undefined } : raw)
  const entries = await checkEntries(listed, egress)
  const details = [...(parsed.success ? [] : issuesOf(submissionWithoutDestinations, parsed.error)), ...entries.details]
  if (typeof raw.tenant_id === 'string') requireOwnTenant(caller, raw.tenant_id)
  if (hugeMetadata) {
    details.push({ field: 'metadata', issue: 'must have at most 65536 bytes' })
  }
  const given = (raw.options ?? {}) as Record<string, unknown>
  details.push(...callbackIssues(given.callback_url, egress))
  // Rejected, because it would be ignored.
  if (given.encryption_required === true) {
    details.push({ field: 'options.encryption_required', issue: 'is not supported yet' })
  }
  if (raw.ordering != null && raw.ordering_key == null) {
    details.push({ field: 'ordering', issue: 'needs an ordering_key' })
  }
  const inBody = typeof given.idempotency_key === 'string' ? given.idempotency_key : undefined
  const used = keyOf(key, inBody, 'options.idempotency_key', details) ?? null
  return { submission: parsed.success ? parsed.data : undefined, entries, key: used, details }
}

/** Problems of the URL of a callback; none if there is no URL. */
export function callbackIssues(url: unknown, egress: Egress, field = 'options.callback_url'): Detail[] {
  if (typeof url !== 'string') return []
  const parsed = URL.canParse(url) ? new URL(url) : undefined
  if (!parsed || !/^https?:$/.test(parsed.protocol)) return [{ field, issue: 'must be an http or https URL' }]
  if (parsed.username || parsed.password) return [{ field, issue: 'must not contain a user name or password' }]
  const issue = forbiddenHost(parsed.hostname, egress) ?? forbiddenTarget(targetOfUrl(parsed), egress)
  return issue ? [{ field, issue }] : []
}

function tooManyDestinations(count: number): ApiError {
  return new ApiError('PAYLOAD_TOO_LARGE', `a distribution has at most ${MAX_DESTINATIONS} destinations`, [
    { field: 'destinations', issue: `has ${count} entries, at most ${MAX_DESTINATIONS} are allowed` },
  ])
}
