// One SSH connection with an SFTP session on it, over a socket of ours. ssh2 itself and not ssh2-sftp-client on top of
// it, which hides the status codes that decide, and has neither fsync nor requests that are open at the same time.
import type { Socket } from 'node:net'
import ssh2, { type SFTPWrapper } from 'ssh2'
import { DeliveryError } from '../errors.ts'
import type { Attempt } from '../network/deadline.ts'
import type { Egress } from '../network/egress.ts'
import { type Login, loginOf } from './authentication.ts'
import type { SftpConfig } from './config.ts'
import { type Handshake, STATUS, sessionFailure, statusOf } from './failure.ts'
import { createHostCheck } from './host-key.ts'

/** What old servers know beside the algorithms that ssh2 offers by itself. */
const LEGACY = {
  kex: ['diffie-hellman-group-exchange-sha1', 'diffie-hellman-group14-sha1', 'diffie-hellman-group1-sha1'],
  serverHostKey: ['ssh-dss'],
  cipher: ['aes256-cbc', 'aes192-cbc', 'aes128-cbc', '3des-cbc'],
  hmac: ['hmac-sha1-96', 'hmac-md5'],
} as const

/** `SSH_OPEN_RESOURCE_SHORTAGE` of RFC 4254, section 5.1. */
const RESOURCE_SHORTAGE = 4
/** A farewell that nobody answers is not waited for. */
const FAREWELL_MS = 500

type Done<T> = (error?: Error | null, value?: T) => void

export interface Session {
  /**
   * One request, answered, or failed once the connection is lost: ssh2 leaves some callbacks uncalled then. A status of
   * the server comes as an Error whose `code` is its number; what the server does not offer is
   * OP_UNSUPPORTED.
   */
  request<T>(send: (sftp: SFTPWrapper, done: Done<T>) => void): Promise<T>
  /** Ends the socket at once. */
  destroy(): void
  /** Takes leave; resolves when the connection is closed, or is closed then without more ado. */
  close(): Promise<void>
}

/** @throws DeliveryError; nothing is left open then */
export async function openSession(config: SftpConfig, attempt: Attempt, egress: Egress): Promise<Session> {
  const login = loginOf(config)
  const socket = egress.connect({ host: config.host, port: config.port })
  // Requests are small, and each waits for the answer to the one before.
  socket.setNoDelay(true)
  const off = attempt.onStop(() => socket.destroy())
  try {
    return await converse(config, login, socket, attempt)
  } catch (error) {
    socket.destroy()
    throw error
  } finally {
    off()
  }
}

async function converse(config: SftpConfig, login: Login, socket: Socket, attempt: Attempt): Promise<Session> {
  const client = new ssh2.Client()
  const hostCheck = createHostCheck(config.host_key)
  const handshake: Handshake = { host: hostCheck, phase: 'greeting', login }
  const waiting = new Set<(reason: unknown) => void>()
  let lost: { reason: unknown } | undefined

  /** The first reason is the one that counts; ssh2 reports the same end several times. */
  const lose = (reason: unknown) => {
    lost ??= { reason }
    socket.destroy()
    for (const reject of waiting) reject(lost.reason)
    waiting.clear()
  }
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  // These stay for as long as the connection lives: an idle one that dies is found out by its next user.
  client.on('error', (error) => lose(sessionFailure(error, handshake)))
  client.on('close', () => lose(new DeliveryError('DESTINATION_UNAVAILABLE', 'the server closed the connection')))
  client.on('change password', () => lose(new DeliveryError('UNAUTHORIZED', 'the password has expired')))
  socket.on('error', () => {})

  function orLost<T>(send: (done: Done<T>) => void): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (lost) return reject(lost.reason)
      waiting.add(reject)
      send((error, value) => {
        waiting.delete(reject)
        if (error) reject(error)
        else resolve(value as T)
      })
    })
  }

  client.on('connect', () => attempt.expect('complete the SSH handshake'))
  // Again when keys are renewed, which is nobody's concern.
  client.once('handshake', () => {
    handshake.phase = 'login'
    attempt.expect('accept the login')
  })
  await orLost<void>((done) => {
    client.once('ready', () => done())
    client.connect({
      sock: socket,
      username: config.username,
      authHandler: login.next,
      hostVerifier: hostCheck.verify,
      readyTimeout: 0,
      ident: 'Distributor',
      ...(config.legacy_algorithms && {
        algorithms: {
          kex: { append: [...LEGACY.kex], prepend: [], remove: [] },
          serverHostKey: { append: [...LEGACY.serverHostKey], prepend: [], remove: [] },
          cipher: { append: [...LEGACY.cipher], prepend: [], remove: [] },
          hmac: { append: [...LEGACY.hmac], prepend: [], remove: [] },
        },
      }),
    })
  })
  handshake.phase = 'open'
  attempt.expect('open an SFTP session')
  const sftp = await orLost<SFTPWrapper>((done) =>
    client.sftp((error, opened) => {
      opened?.on('error', (cause: Error) => lose(sessionFailure(cause, handshake)))
      opened?.on('close', () => lose(new DeliveryError('DESTINATION_UNAVAILABLE', 'the server ended the SFTP session')))
      done(error, opened)
    }),
  ).catch((error: unknown) => {
    throw error instanceof DeliveryError ? error : noSession(error)
  })

  return {
    request: (send) =>
      orLost((done) => {
        try {
          send(sftp, (error, value) => done(error && statusOf(error) === undefined ? unanswered(error) : error, value))
        } catch (cause) {
          // ssh2 throws for an extension that the server has not announced.
          done(Object.assign(new Error('not offered by the server', { cause }), { code: STATUS.OP_UNSUPPORTED }))
        }
      }),
    destroy: () => socket.destroy(),
    async close() {
      client.end()
      const timer = setTimeout(() => socket.destroy(), FAREWELL_MS)
      await closed
      clearTimeout(timer)
    },
  }
}

/** ssh2 fails what is open when the channel ends. */
function unanswered(cause: Error): DeliveryError {
  return new DeliveryError('DESTINATION_UNAVAILABLE', 'the server ended the SFTP session', { cause })
}

/** The login held, but there is no SFTP: for good, unless the server is short of something or the program was killed. */
function noSession(error: unknown): DeliveryError {
  const { reason, signal } = error as { reason?: unknown; signal?: unknown }
  if (reason === RESOURCE_SHORTAGE || signal !== undefined) {
    return new DeliveryError('DESTINATION_UNAVAILABLE', 'the server could not open an SFTP session', { cause: error })
  }
  return new DeliveryError('MISCONFIGURED', 'the server accepts the login, but opens no SFTP session for this user', {
    cause: error,
  })
}
