// The DeliveryError for a broken connection in any protocol. Decided by `err.code`, never by the text of a message.
import { DeliveryError, type Response } from '../errors.ts'

/** Limits of this machine. */
const LOCAL = new Set(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM', 'EADDRNOTAVAIL'])

/** The codes of OpenSSL for an invalid certificate, and of Node for a failed handshake. */
const CERTIFICATE =
  /CERT|CRL|^UNABLE_TO_|^INVALID_(CA|PURPOSE)$|^HOSTNAME_MISMATCH$|^PATH_LENGTH_EXCEEDED$|^ERR_TLS_|^ERR_SSL_|^EPROTO$/

/**
 * The DeliveryError for a network error: TIMEOUT or DESTINATION_UNAVAILABLE. Any other error (a bug, a limit of this machine, a
 * DeliveryError) is returned unchanged.
 */
export function networkFailure(error: unknown, response?: Response): unknown {
  if (error instanceof DeliveryError) return error
  const code = codeOf(error)
  if (code === undefined || LOCAL.has(code)) return error
  const options = { cause: error, response }
  if (code === 'ETIMEDOUT') {
    return new DeliveryError('TIMEOUT', `the destination did not answer in time (${code})`, options)
  }
  if (CERTIFICATE.test(code)) {
    return new DeliveryError('DESTINATION_UNAVAILABLE', `no secure connection could be made (${code})`, options)
  }
  if (/^E[A-Z0-9]+$/.test(code)) {
    return new DeliveryError('DESTINATION_UNAVAILABLE', `the connection failed (${code})`, options)
  }
  return error
}

/** For a server that sends more interim responses (1xx) than the limit. */
export function endlessInterim(): DeliveryError {
  return new DeliveryError('DESTINATION_UNAVAILABLE', 'the destination keeps sending interim responses (1xx)')
}

/** For a `101 Switching Protocols`: the bytes after it are not HTTP. */
export function switchedProtocols(): DeliveryError {
  return new DeliveryError(
    'DESTINATION_UNAVAILABLE',
    'the destination switched to another protocol (101), which the request did not ask for',
  )
}

/** The `code` of an error if it is a text. */
export function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' ? code : undefined
}
