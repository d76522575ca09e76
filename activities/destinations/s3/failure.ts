// Converts an answer of S3 to a DeliveryError, by error code and status, never by the text of the message.
import type { DeliveryCode } from '../../../db/states.ts'
import { DeliveryError } from '../errors.ts'
import { codeOf, networkFailure } from '../network/failures.ts'
import { retryAfterMs } from '../network/retry-after.ts'
import { redact } from '../secrets/redaction/index.ts'
import { storable } from '../storable.ts'
import type { Exchange } from './exchange.ts'

const MAX_MESSAGE = 1000

/** Error codes whose status would give a wrong result. */
const CODES = new Map<string, DeliveryCode>([
  ...all('THROTTLED', [
    'SlowDown',
    'SlowDownRead',
    'SlowDownWrite',
    'Throttling',
    'ThrottlingException',
    'RequestLimitExceeded',
    'RequestThrottled',
    'TooManyRequests',
    'TooManyRequestsException',
    'BandwidthLimitExceeded',
    'KMS.ThrottlingException',
    // The store is full, which may change (Ceph, MinIO).
    'QuotaExceeded',
    'XMinioAdminBucketQuotaExceeded',
  ]),
  ...all('TIMEOUT', ['RequestTimeout', 'RequestTimeoutException']),
  ...all('DESTINATION_UNAVAILABLE', [
    'InternalError',
    'ServiceUnavailable',
    // Another write of the same key came first.
    'OperationAborted',
    'ConditionalRequestConflict',
    // The clocks differ. The document is fine, and can be sent after an operator has set the clock.
    'RequestTimeTooSkewed',
    'RequestExpired',
    // The bytes did not arrive as they were sent.
    'IncompleteBody',
    'BadDigest',
    'XAmzContentSHA256Mismatch',
    // Something aborted our upload, or one of its parts was lost.
    'NoSuchUpload',
    'InvalidPart',
    // A new bucket, whose name is not known in all regions yet.
    'TemporaryRedirect',
  ]),
  ...all('UNAUTHORIZED', [
    'InvalidAccessKeyId',
    'SignatureDoesNotMatch',
    'AccessDenied',
    'ExpiredToken',
    'InvalidToken',
    'TokenRefreshRequired',
    'XAdminUserNotFound',
  ]),
  ...all('MISCONFIGURED', [
    'NoSuchBucket',
    'InvalidBucketName',
    'PermanentRedirect',
    'AuthorizationHeaderMalformed',
    'IllegalLocationConstraintException',
    'KMS.NotFoundException',
    'KMS.DisabledException',
    'KMS.InvalidStateException',
  ]),
  // The store does not support something that the configuration requires.
  ...all('REJECTED', ['NotImplemented']),
])

function all(code: DeliveryCode, names: string[]): [string, DeliveryCode][] {
  return names.map((name) => [name, code])
}

/**
 * Converts the error of an SDK call. An error without an answer and without a broken connection is a bug and is
 * returned unchanged.
 * @param secrets are removed from the text of the store
 */
export function s3Failure(error: unknown, { answer, failure }: Exchange, secrets: readonly string[]): unknown {
  if (error instanceof DeliveryError) return error
  if (failure !== undefined) return wireFailure(failure)
  if (answer === undefined) return error
  const { status } = answer
  const name = codeIn(error)
  const named = name === undefined ? undefined : CODES.get(name)
  if (status < 300 && named === undefined) {
    // The SDK's own error may quote the answer.
    const cause = new Error(`${status} with ${name ?? 'an unreadable body'}`)
    return new DeliveryError(
      'DESTINATION_UNAVAILABLE',
      `the destination answered ${status}, but the body is not from S3`,
      {
        cause,
        response: { status, body: null },
      },
    )
  }
  const region = regionIn(error, answer.headers)
  const wrongRegion = region !== undefined && (status === 301 || name === 'AuthorizationHeaderMalformed')
  const what = name === undefined ? '' : ` (${name})`
  const where = wrongRegion ? `; the bucket is in the region "${region}"` : ''
  return new DeliveryError(named ?? byStatus(status), `the destination answered ${status}${what}${where}`, {
    response: { status, body: textOf(error, name, secrets) },
    retryAfterMs: retryAfterMs(answer.headers),
  })
}

function wireFailure(error: unknown): unknown {
  const code = codeOf(error)
  if (code === 'ERR_INVALID_CHAR') {
    return new DeliveryError('MISCONFIGURED', 'the request cannot be written as HTTP', { cause: error })
  }
  if (code?.startsWith('HPE_')) {
    // The parser's error contains the bytes that it could not read; they must not be logged.
    const cause = new Error(code)
    return new DeliveryError('DESTINATION_UNAVAILABLE', `the response is not valid HTTP (${code})`, { cause })
  }
  return networkFailure(error)
}

function byStatus(status: number): DeliveryCode {
  if (status === 429) return 'THROTTLED'
  if (status === 408) return 'TIMEOUT'
  if (status >= 500 || status === 425 || status === 307) return 'DESTINATION_UNAVAILABLE'
  if (status === 401 || status === 403) return 'UNAUTHORIZED'
  // A redirect to another endpoint, or the endpoint has no such bucket.
  if (status < 400 || status === 404) return 'MISCONFIGURED'
  return 'REJECTED'
}

interface S3Error {
  name?: unknown
  Code?: unknown
  Region?: unknown
  message?: unknown
}

/** The error code of S3; undefined when the answer has none (no XML, or no body). */
export function codeIn(error: unknown): string | undefined {
  const { Code } = error as S3Error
  return typeof Code === 'string' && /^[A-Za-z0-9._]{1,64}$/.test(Code) ? Code : undefined
}

function regionIn(error: unknown, headers: Record<string, string | string[] | undefined>): string | undefined {
  const region = headers['x-amz-bucket-region'] ?? (error as S3Error).Region
  return typeof region === 'string' && /^[a-z0-9-]{1,63}$/.test(region) ? region : undefined
}

/** S3's code and message. The rest of the answer may contain parts of the request, such as the session token. */
function textOf(error: unknown, name: string | undefined, secrets: readonly string[]): string | null {
  const { message } = error as S3Error
  if (name === undefined || typeof message !== 'string') return null
  // Redacted before it is cut, so that no part of a secret remains.
  return storable(redact(`${name}: ${message}`, secrets).slice(0, MAX_MESSAGE))
}
