// Errors of the API: one class, rendered in one place.

import type { Context } from 'hono'
import { isRefused, isStalePlan, isUnavailable, shortReason, TenantBusy } from '../../db/availability.ts'
import { nowDate } from '../../db/clock.ts'
import type { ApiEnv, Refusal } from './context.ts'

/** The API's error codes, each with its status. */
export const ERROR_STATUS = {
  VALIDATION_ERROR: 400,
  AUTHENTICATION_FAILED: 401,
  AUTHORIZATION_FAILED: 403,
  NOT_FOUND: 404,
  REQUEST_TIMEOUT: 408,
  CONFLICT: 409,
  PAYLOAD_TOO_LARGE: 413,
  RATE_LIMIT_EXCEEDED: 429,
  INTERNAL_ERROR: 500,
  SERVICE_UNAVAILABLE: 503,
} as const
export type ErrorCode = keyof typeof ERROR_STATUS

/** The default reason of a code. An invalid request (400, 404, 409) and a bug (500) are not refusals. */
const USUAL_REFUSAL: Partial<Record<ErrorCode, Refusal>> = {
  AUTHENTICATION_FAILED: 'unauthenticated',
  AUTHORIZATION_FAILED: 'forbidden',
  REQUEST_TIMEOUT: 'too_slow',
  PAYLOAD_TOO_LARGE: 'too_large',
  RATE_LIMIT_EXCEEDED: 'tenant_busy',
  SERVICE_UNAVAILABLE: 'unavailable',
}

/** One problem of a request: `field` is a path such as `destinations[0].endpoint`, never a value. */
export interface Detail {
  field: string
  issue: string
}

/** An error for the sender: `message` and `details` contain no secret, no value from the request and no foreign text. */
export class ApiError extends Error {
  readonly code: ErrorCode
  readonly details: Detail[]
  /** For a 429 or 503, in whole seconds. */
  readonly retryAfterSeconds: number | undefined
  readonly refusal: Refusal | undefined

  constructor(
    code: ErrorCode,
    message: string,
    details: Detail[] = [],
    { retryAfterSeconds, refusal, ...options }: { cause?: unknown; retryAfterSeconds?: number; refusal?: Refusal } = {},
  ) {
    super(message, options)
    this.retryAfterSeconds = retryAfterSeconds
    this.refusal = refusal ?? USUAL_REFUSAL[code]
    this.name = 'ApiError'
    this.code = code
    this.details = details
  }

  get status(): (typeof ERROR_STATUS)[ErrorCode] {
    return ERROR_STATUS[this.code]
  }
}

/** A response lists only the first problems of a request. */
export const MAX_DETAILS = 100

/** Collects problems: keeps the first, and counts all. */
export interface Issues {
  count: number
  details: Detail[]
  /** `make` is called only if the detail is kept, because building its path is expensive. */
  add(make: () => Detail): void
}

export function issueList(): Issues {
  return {
    count: 0,
    details: [],
    add(make) {
      this.count += 1
      if (this.details.length < MAX_DETAILS) this.details.push(make())
    },
  }
}

/** A 400 that lists the problems of the request. */
export function invalid(found: Detail[] | Issues): ApiError {
  const [all, count] = Array.isArray(found) ? [found, found.length] : [found.details, found.count]
  const details = all.slice(0, MAX_DETAILS)
  const first = details[0]
  const rest = count > 1 ? ` (and ${count - 1} more)` : ''
  return new ApiError('VALIDATION_ERROR', first ? `${first.field}: ${first.issue}${rest}` : 'invalid request', details)
}

/** Does not exist, or belongs to another tenant: the response is the same. */
export function notFound(what: string): ApiError {
  return new ApiError('NOT_FOUND', `no such ${what}`)
}

/** A 409 for a name that exists; `field` is its path in the request, and `path` the endpoint that replaces the object. */
export function nameTaken(what: string, name: string, field = 'name', path?: string): ApiError {
  const hint = path === undefined ? '' : `: use PUT ${path} or delete it first`
  const issue = `a ${what} named ${JSON.stringify(name)} already exists${hint}`
  return new ApiError('CONFLICT', issue, [{ field, issue }])
}

/**
 * Renders every error of a request. The cause of an unknown error is only logged. While the database is not available, every
 * request fails for the same reason, so only the log line of the request has it.
 */
export function renderError(error: Error, c: Context<ApiEnv>): Response {
  const known = error instanceof ApiError ? error : translate(error)
  if (isUnavailable(error)) c.set('unavailable', shortReason(error))
  else if (known.status >= 500) c.get('log').error({ err: error, request_id: c.get('request_id') }, 'request failed')
  c.set('error_code', known.code)
  c.set('refusal', known.refusal)
  const { retryAfterSeconds } = known
  if (retryAfterSeconds !== undefined) c.header('Retry-After', String(retryAfterSeconds))
  return c.json(
    {
      error: known.code,
      message: known.message,
      details: known.details,
      ...(retryAfterSeconds === undefined ? {} : { retry_after_seconds: retryAfterSeconds }),
      request_id: c.get('request_id'),
      timestamp: nowDate().toISOString(),
    },
    known.status,
  )
}

/** `Retry-After` when the database is not available: a restart takes some seconds. */
const RETRY_AFTER_SECONDS = 5

/** `Retry-After` for a tenant that uses its whole share of the connections: its transactions are short. */
const BUSY_RETRY_AFTER_SECONDS = 1

/**
 * A tenant with too many requests at once gets a 429. A database that is not available is a 503; every other error is a 500
 * without details.
 */
function translate(error: Error): ApiError {
  if (error instanceof TenantBusy) {
    return new ApiError('RATE_LIMIT_EXCEEDED', 'too many requests of this tenant at once; try again in 1 s', [], {
      cause: error,
      retryAfterSeconds: BUSY_RETRY_AFTER_SECONDS,
    })
  }
  if (isStalePlan(error)) return unavailable('the schema of the database has just changed; try again', error)
  return isUnavailable(error) || isRefused(error)
    ? unavailable('the database does not answer; try again', error)
    : new ApiError('INTERNAL_ERROR', 'internal error', [], { cause: error })
}

function unavailable(message: string, cause: unknown): ApiError {
  return new ApiError('SERVICE_UNAVAILABLE', message, [], { cause, retryAfterSeconds: RETRY_AFTER_SECONDS })
}
