// What a caller is told when a request is not carried out. One class, rendered in one place.

import type { Context } from 'hono'
import { isAway, isRefused } from '../../db/availability.ts'
import { nowDate } from '../../db/clock.ts'
import type { ApiEnv } from './context.ts'

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

/** One thing to mend: `field` is a path such as `destinations[0].endpoint`, never a value. */
export interface Detail {
  field: string
  issue: string
}

/** A refusal. `message` and `details` are shown to the caller: no secret, no value that was sent, no foreign text. */
export class ApiError extends Error {
  readonly code: ErrorCode
  readonly details: Detail[]
  /** Of a 429 or 503: whole seconds. */
  readonly retryAfterSeconds: number | undefined

  constructor(
    code: ErrorCode,
    message: string,
    details: Detail[] = [],
    { retryAfterSeconds, ...options }: { cause?: unknown; retryAfterSeconds?: number } = {},
  ) {
    super(message, options)
    this.retryAfterSeconds = retryAfterSeconds
    this.name = 'ApiError'
    this.code = code
    this.details = details
  }

  get status(): (typeof ERROR_STATUS)[ErrorCode] {
    return ERROR_STATUS[this.code]
  }
}

/** A body with a million faults is answered with the first of them. */
export const MAX_DETAILS = 100

/** Faults as they are found: the first are kept, the others only counted. */
export interface Issues {
  count: number
  details: Detail[]
  /** `make` is called only when the detail is kept: a path costs more than the fault. */
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

/** A 400 that lists everything that is wrong with the request. */
export function invalid(found: Detail[] | Issues): ApiError {
  const [all, count] = Array.isArray(found) ? [found, found.length] : [found.details, found.count]
  const details = all.slice(0, MAX_DETAILS)
  const first = details[0]
  const rest = count > 1 ? ` (and ${count - 1} more)` : ''
  return new ApiError('VALIDATION_ERROR', first ? `${first.field}: ${first.issue}${rest}` : 'invalid request', details)
}

/** What is not there, or belongs to another tenant: the two cannot be told apart. */
export function notFound(what: string): ApiError {
  return new ApiError('NOT_FOUND', `no such ${what}`)
}

/** There is one of this name; `field` is where the request states it. */
export function nameTaken(what: string, name: string, field = 'name'): ApiError {
  const issue = `a ${what} named ${JSON.stringify(name)} already exists`
  return new ApiError('CONFLICT', issue, [{ field, issue }])
}

/** Renders every error of a request; the cause of an unknown one goes to the log alone. */
export function renderError(error: Error, c: Context<ApiEnv>): Response {
  const known = error instanceof ApiError ? error : translate(error)
  if (known.status >= 500) c.get('log').error({ err: error, request_id: c.get('request_id') }, 'request failed')
  c.set('error_code', known.code)
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

/** A caller may try again after this time; a database that restarts takes some seconds. */
const RETRY_AFTER_SECONDS = 5

/** A database that cannot be reached just now is a 503, which says «again later»; all else is a bare 500. */
function translate(error: Error): ApiError {
  return isAway(error) || isRefused(error)
    ? databaseAway(error)
    : new ApiError('INTERNAL_ERROR', 'internal error', [], { cause: error })
}

/** The 503 of a database that does not answer. */
export function databaseAway(cause?: unknown): ApiError {
  return new ApiError('SERVICE_UNAVAILABLE', 'the database does not respond; try again', [], {
    cause,
    retryAfterSeconds: RETRY_AFTER_SECONDS,
  })
}
