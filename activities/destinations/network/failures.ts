// What a broken connection means, whatever was spoken on it: by `err.code`, never by the text of a message.
import { DeliveryError, type Response } from '../errors.ts'

const OURS = new Set(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM', 'EADDRNOTAVAIL'])

/** OpenSSL's names for a certificate that does not hold, and Node's for a handshake that broke. */
const CERTIFICATE =
  /CERT|CRL|^UNABLE_TO_|^INVALID_(CA|PURPOSE)$|^HOSTNAME_MISMATCH$|^PATH_LENGTH_EXCEEDED$|^ERR_TLS_|^ERR_SSL_|^EPROTO$/

/**
 * A DeliveryError for what the network did: TIMEOUT, or DESTINATION_UNAVAILABLE. An error that is no fault of the
 * network (a bug, or this machine's own limits) comes back as it is, as does a DeliveryError.
 */
export function networkFailure(error: unknown, response?: Response): unknown {
  if (error instanceof DeliveryError) return error
  const code = codeOf(error)
  if (code === undefined || OURS.has(code)) return error
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

/** More answers before the answer (1xx) than any server has reason to send. */
export function endlessInterim(): DeliveryError {
  return new DeliveryError('DESTINATION_UNAVAILABLE', 'the destination sends interim answers (1xx) without end')
}

/** A `101 Switching Protocols`: what follows is not HTTP. */
export function switchedProtocols(): DeliveryError {
  return new DeliveryError(
    'DESTINATION_UNAVAILABLE',
    'the destination switched to another protocol (101), which nobody asked for',
  )
}

/** The `code` of an error, where it is a text. */
export function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' ? code : undefined
}
