// Makes a DeliveryError from a status or a network error: by `err.code`, never by the text of a message.
import { errors } from 'undici'
import { DeliveryError, type Response } from '../errors.ts'
import { codeOf, networkFailure } from '../network/failures.ts'
import { retryAfterMs } from '../network/retry-after.ts'

const TIMEOUTS = new Set(['UND_ERR_CONNECT_TIMEOUT', 'UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT'])

/** Like `networkFailure`, with the errors of HTTP and of undici. */
export function httpFailure(error: unknown, response?: Response): unknown {
  const code = error instanceof errors.HTTPParserError ? 'HTTP_PARSER' : codeOf(error)
  if (code === undefined || error instanceof DeliveryError) return error
  // The parser's error contains received bytes, which must not be logged.
  const cause = error instanceof errors.HTTPParserError ? new Error(error.message) : error
  const options = { cause, response }
  if (TIMEOUTS.has(code))
    return new DeliveryError('TIMEOUT', `the destination did not answer in time (${code})`, options)
  if (code === 'UND_ERR_INVALID_ARG' || code === 'ERR_INVALID_CHAR') {
    return new DeliveryError('MISCONFIGURED', 'the request cannot be written as HTTP', options)
  }
  if (code === 'HTTP_PARSER' || code.startsWith('HPE_') || code === 'UND_ERR_HEADERS_OVERFLOW') {
    return new DeliveryError('DESTINATION_UNAVAILABLE', `the response is not valid HTTP (${code})`, options)
  }
  if (code === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH') {
    return new DeliveryError('DESTINATION_UNAVAILABLE', 'the response was cut off before its stated length', options)
  }
  if (/^UND_ERR_[A-Z_]+$/.test(code)) {
    return new DeliveryError('DESTINATION_UNAVAILABLE', `the connection failed (${code})`, options)
  }
  return networkFailure(error, response)
}

/** The failure for a status other than 2xx. 408, 425, 429 and 5xx are retried; all others are final. */
export function statusFailure(
  response: Response & { status: number },
  headers: Record<string, string | string[] | undefined>,
  unreadable?: string,
): DeliveryError {
  const { status } = response
  const answered = `the destination answered ${status}${unreadable ? ` with a body that cannot be decoded: ${unreadable}` : ''}`
  if (status === 429 || status === 408 || status === 425 || status >= 500) {
    const code = status === 429 ? 'THROTTLED' : status === 408 ? 'TIMEOUT' : 'DESTINATION_UNAVAILABLE'
    return new DeliveryError(code, answered, { response, retryAfterMs: retryAfterMs(headers) })
  }
  if (status === 401 || status === 403) return new DeliveryError('UNAUTHORIZED', answered, { response })
  if (status === 410)
    return new DeliveryError('REJECTED', `${answered}: it is permanently gone`, { response, gone: true })
  const redirect = status >= 300 && status < 400 ? '; redirects are not followed' : ''
  return new DeliveryError('REJECTED', `${answered}${redirect}`, { response })
}
