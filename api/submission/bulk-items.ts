// The items of a bulk submission: each is checked like a single submission.
import { createHash } from 'node:crypto'
import type { AppDeps } from '../http/context.ts'
import { ApiError, type Detail } from '../http/errors.ts'
import { parseJson } from '../http/json.ts'
import type { CheckedPayload } from '../rules/catalogue-check.ts'
import type { BulkSubmission } from '../schemas/batches.ts'
import type { Submission } from '../schemas/submission.ts'
import { checkSubmission, type SubmitRequest } from './check.ts'
import type { CheckedEntries } from './destination-entries.ts'

/** Details per rejected distribution: they are stored with the batch and shown in its status. */
const MOST_DETAILS = 20

export interface BulkRequest extends Omit<SubmitRequest, 'body'> {
  /** The exact text of each item, in UTF-8. */
  items: Buffer[]
  options: BulkSubmission['options']
  /** The decoded body, which identifies a repeat. */
  bytes: Buffer
}

export interface Rejected {
  index: number
  details: Detail[]
}

export interface Item {
  index: number
  request: SubmitRequest
  submission: Submission
  entries: CheckedEntries
  key: string | null
  sha256: Buffer
  /** The result of the check by its data type, once there is one. */
  payload?: CheckedPayload
}

export async function checkItem(
  deps: Pick<AppDeps, 'egress'>,
  request: BulkRequest,
  index: number,
  bytes: Buffer,
): Promise<Item | Rejected> {
  try {
    const parsed = await parseJson(bytes)
    if (typeof parsed.value !== 'object' || parsed.value === null || Array.isArray(parsed.value)) {
      return { index, details: [{ field: 'body', issue: 'must be a JSON object' }] }
    }
    if (parsed.unstorable.length > 0) return { index, details: parsed.unstorable }
    const { caller, request_id } = request
    const single = { caller, request_id, key: undefined, body: { bytes, ...parsed } }
    const { submission, entries, key, details } = await checkSubmission(single, deps.egress)
    if (!submission || details.length > 0) return { index, details }
    const sha256 = createHash('sha256').update(bytes).digest()
    return { index, request: single, submission, entries, key, sha256 }
  } catch (error) {
    if (error instanceof ApiError) return { index, details: detailsOf(error) }
    throw error
  }
}

export function firstDetails(details: Detail[]): Detail[] {
  const more = details.length - MOST_DETAILS
  return more > 0 ? [...details.slice(0, MOST_DETAILS), { field: 'body', issue: `has ${more} more problems` }] : details
}

export function detailsOf(error: ApiError): Detail[] {
  return error.details.length > 0 ? error.details : [{ field: 'body', issue: error.message }]
}
