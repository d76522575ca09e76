// Makes a DeliveryError from ssh2's error level, SSH's disconnect reason or SFTP's status code, never from a text.
import { DeliveryError } from '../errors.ts'
import { codeOf, networkFailure } from '../network/failures.ts'
import { storable } from '../storable.ts'
import type { Login } from './authentication.ts'
import type { HostCheck } from './host-key.ts'

/** The progress of the connection. */
export interface Handshake {
  host: HostCheck
  phase: 'greeting' | 'login' | 'open'
  login: Login
}

/**
 * Reasons of a disconnect (RFC 4253, section 11.1) that mean a refused login: OpenSSH reports too many failed attempts as
 * a protocol error.
 */
const LOGIN_ENDED = new Set([2, 13, 14, 15])

/** `SSH_FX_…` of draft-ietf-secsh-filexfer-02, section 7: version 3, which servers use. */
export const STATUS = {
  EOF: 1,
  NO_SUCH_FILE: 2,
  PERMISSION_DENIED: 3,
  FAILURE: 4,
  BAD_MESSAGE: 5,
  OP_UNSUPPORTED: 8,
  /** Of later versions; some servers send it in version 3 too. */
  NO_SUCH_PATH: 10,
} as const

/** Whether the server answered that there is no such file or folder. */
export function isMissing(error: unknown): boolean {
  const status = statusOf(error)
  return status === STATUS.NO_SUCH_FILE || status === STATUS.NO_SUCH_PATH
}

/** The status in the server's answer; undefined when the request failed in another way. */
export function statusOf(error: unknown): number | undefined {
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'number' && !(error instanceof DeliveryError) ? code : undefined
}

/** The failure for the end of a connection. */
export function sessionFailure(error: unknown, { host, phase, login }: Handshake): unknown {
  const shown = host.shown()
  if (shown && !shown.trusted) {
    return new DeliveryError(
      'MISCONFIGURED',
      `the server's key is not the one in "host_key": it showed ${shown.fingerprint} (${shown.type}) and not ` +
        `${host.expected}. Nothing was sent: this may be a man-in-the-middle attack. If the server has a new key, state it in "host_key"`,
    )
  }
  const { level, code } = error as { level?: unknown; code?: unknown }
  if (level === 'client-authentication' || (phase === 'login' && LOGIN_ENDED.has(code as number))) {
    const offered = login.offered()
    return new DeliveryError(
      'UNAUTHORIZED',
      `the server refused the ${login.kind} or the username${offered.length > 0 ? `; it accepts: ${offered.join(', ')}` : ''}`,
      { cause: error },
    )
  }
  // Algorithms are negotiated before the server shows its key.
  if (level === 'handshake' && !shown) {
    return new DeliveryError(
      'MISCONFIGURED',
      'client and server have no algorithm in common (compression is not supported); "legacy_algorithms": true also offers those of old servers',
      { cause: error },
    )
  }
  if (codeOf(error) !== undefined || error instanceof DeliveryError) return networkFailure(error)
  const reason = typeof code === 'number' ? `the server disconnected (SSH reason ${code})` : 'the SSH connection broke'
  return new DeliveryError('DESTINATION_UNAVAILABLE', reason, { cause: error })
}

/**
 * The failure for a refused request.
 * @param what the request, such as "rename the file"
 * @returns the same error if the server did not answer
 */
export function requestFailure(error: unknown, what: string): unknown {
  const status = statusOf(error)
  if (status === undefined) return error
  const text = storable((error as Error).message).slice(0, 200)
  const fail = (code: DeliveryError['code'], why: string) =>
    new DeliveryError(code, `the server could not ${what}: ${why}`, {
      cause: error,
      response: { status, body: text },
    })
  switch (status) {
    case STATUS.NO_SUCH_FILE:
    case STATUS.NO_SUCH_PATH:
      return fail('MISCONFIGURED', 'there is no such file or folder')
    case STATUS.PERMISSION_DENIED:
      return fail('REJECTED', 'permission denied')
    case STATUS.BAD_MESSAGE:
      return fail('MISCONFIGURED', 'the name is too long, or the server does not accept it')
    case STATUS.OP_UNSUPPORTED:
      return fail('MISCONFIGURED', 'it does not support this')
    default:
      // Version 3 has one code for a full disk, a used-up quota and a broken disk. All of them may pass.
      return fail('DESTINATION_UNAVAILABLE', 'it reported a failure, such as a full disk')
  }
}
