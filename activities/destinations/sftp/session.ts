// One SFTP session over a guarded socket. ssh2-sftp-client connects and logs in; file requests use the channel that it
// opens. Its own file methods are not used: they change status codes (`stat` reports every failure as a missing file), write
// one packet at a time, and have no fsync.
import type { SFTPWrapper } from 'ssh2'
import SftpClient from 'ssh2-sftp-client'
import { DeliveryError } from '../errors.ts'
import type { Attempt } from '../network/deadline.ts'
import type { Egress } from '../network/egress.ts'
import { connectGuarded, type GuardedConnection } from '../network/guarded.ts'
import { type Login, loginOf } from './authentication.ts'
import type { SftpConfig } from './config.ts'
import { type Handshake, STATUS, sessionFailure, statusOf } from './failure.ts'
import { createHostCheck } from './host-key.ts'

/** Algorithms of old servers, which ssh2 does not offer by default. */
const LEGACY = {
  kex: ['diffie-hellman-group-exchange-sha1', 'diffie-hellman-group14-sha1', 'diffie-hellman-group1-sha1'],
  serverHostKey: ['ssh-dss'],
  cipher: ['aes256-cbc', 'aes192-cbc', 'aes128-cbc', '3des-cbc'],
  hmac: ['hmac-sha1-96', 'hmac-md5'],
} as const

/** The maximum of bytes that the server has not read. Sending a file keeps at most 2 MiB waiting. */
const MAX_UNREAD_BYTES = 4_194_304

/** `SSH_OPEN_RESOURCE_SHORTAGE` of RFC 4254, section 5.1. */
const RESOURCE_SHORTAGE = 4
/** How long the server may take to close the connection. */
const CLOSE_MS = 500

type Done<T> = (error?: Error | null, value?: T) => void

export interface Session {
  /**
   * Sends one request and resolves with its answer. It also rejects when the connection is lost, after which ssh2 does not
   * call some callbacks. A status is an Error whose `code` is the status; OP_UNSUPPORTED if the server does not have the
   * extension.
   */
  request<T>(send: (sftp: SFTPWrapper, done: Done<T>) => void): Promise<T>
  /** Destroys the socket at once. */
  destroy(): void
  /** Disconnects, and destroys the socket when the server does not close it in time. */
  close(): Promise<void>
}

/** @throws DeliveryError; no socket is left open then */
export async function openSession(config: SftpConfig, attempt: Attempt, egress: Egress): Promise<Session> {
  const login = loginOf(config)
  return connectGuarded({ host: config.host, port: config.port }, attempt, egress, (connection) =>
    startSession(config, login, connection, attempt),
  )
}

async function startSession(
  config: SftpConfig,
  login: Login,
  connection: GuardedConnection,
  attempt: Attempt,
): Promise<Session> {
  const client = createClient()
  const hostCheck = createHostCheck(config.host_key)
  const handshake: Handshake = { host: hostCheck, phase: 'greeting', login }
  const fail = (error: unknown) => void connection.end(sessionFailure(error, handshake))
  // These listeners stay: the end of an idle connection must not be an unhandled error.
  client.on('error', fail)
  client.on('change password', () => connection.end(new DeliveryError('UNAUTHORIZED', 'the password has expired')))

  const answered = <T>(send: (done: Done<T>) => void): Promise<T> =>
    connection.orLost(
      new Promise((resolve, reject) => send((error, value) => (error ? reject(error) : resolve(value as T)))),
    )

  attempt.expect('complete the SSH handshake')
  client.on('handshake', () => {
    // Each key exchange emits this event.
    if (handshake.phase !== 'greeting') return
    handshake.phase = 'login'
    endFlood(connection)
    attempt.expect('accept the login')
  })
  client.on('ready', () => {
    handshake.phase = 'open'
    attempt.expect('open an SFTP session')
  })
  const sftp = await answered<SFTPWrapper>((done) => {
    const opening = client.connect({
      sock: connection.socket,
      username: config.username,
      authHandler: login.next,
      hostVerifier: hostCheck.verify,
      readyTimeout: 0,
      ident: 'Distributor',
      algorithms: {
        // A small compressed packet could grow without bound.
        compress: ['none'],
        ...(config.legacy_algorithms && {
          kex: { append: [...LEGACY.kex], prepend: [], remove: [] },
          serverHostKey: { append: [...LEGACY.serverHostKey], prepend: [], remove: [] },
          cipher: { append: [...LEGACY.cipher], prepend: [], remove: [] },
          hmac: { append: [...LEGACY.hmac], prepend: [], remove: [] },
        }),
      },
    })
    opening.then(
      (channel) => done(null, channel),
      (error: Error) => {
        if (error.cause !== undefined) done(noSession(error.cause))
        // An error without a cause is the end of the connection, for which `end` keeps the first reason.
        else connection.end(new DeliveryError('DESTINATION_UNAVAILABLE', 'the server closed the connection'))
      },
    )
  })
  sftp.on('error', fail)
  sftp.on('close', () => connection.end(channelClosed()))

  return {
    request: (send) =>
      answered((done) => {
        try {
          // ssh2 fails the open requests with errors without a status when the channel ends.
          send(sftp, (error, value) =>
            done(error && statusOf(error) === undefined ? channelClosed(error) : error, value),
          )
        } catch (cause) {
          // ssh2 throws when the server has not announced the extension.
          done(Object.assign(new Error('not offered by the server', { cause }), { code: STATUS.OP_UNSUPPORTED }))
        }
      }),
    destroy: connection.destroy,
    async close() {
      const timer = setTimeout(connection.destroy, CLOSE_MS)
      await client.end().catch(() => {})
      clearTimeout(timer)
    },
  }
}

/** ssh2 answers each request of the server even if the server does not read: the answers could fill the memory. */
function endFlood({ socket, end }: GuardedConnection): void {
  socket.on('data', () => {
    if (socket.writableLength <= MAX_UNREAD_BYTES) return
    end(new DeliveryError('DESTINATION_UNAVAILABLE', 'the server sends requests and does not read the answers'))
  })
}

/** Without callbacks, because the default ones write to the console. */
function createClient(): SftpClient {
  const client = new SftpClient('Distributor', {}) as SftpClient & { fmtError(...of: [unknown]): Error }
  const { fmtError } = client
  // Its errors keep only text and code of ssh2's error, whose other fields say why no session was opened.
  client.fmtError = (...of) => Object.assign(fmtError.apply(client, of), { cause: of[0] })
  return client
}

function channelClosed(cause?: Error): DeliveryError {
  return new DeliveryError('DESTINATION_UNAVAILABLE', 'the server ended the SFTP session', { cause })
}

/** The login was accepted, but no SFTP session. Final, unless the server lacks resources or its program was killed. */
function noSession(error: unknown): DeliveryError {
  const { reason, signal } = error as { reason?: unknown; signal?: unknown }
  if (reason === RESOURCE_SHORTAGE || signal !== undefined) {
    return new DeliveryError('DESTINATION_UNAVAILABLE', 'the server could not open an SFTP session', { cause: error })
  }
  return new DeliveryError('MISCONFIGURED', 'the server accepts the login, but opens no SFTP session for this user', {
    cause: error,
  })
}
