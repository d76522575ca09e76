// One connection to MySQL or MariaDB. The server is not trusted: it gets no files, and no password in plain text.
import type { Socket } from 'node:net'
import net from 'node:net'
import mysql, { type Connection, type ConnectionOptions } from 'mysql2'
import type { Attempt } from '../../network/deadline.ts'
import type { Egress } from '../../network/egress.ts'
import { connectGuarded } from '../../network/guarded.ts'
import { tlsMaterial } from '../../network/tls.ts'
import type { IsolationLevel, JdbcConfig } from '../config.ts'
import { createAnswerCounter } from '../failure.ts'
import type { JdbcTarget } from '../url.ts'

export type MysqlTarget = Extract<JdbcTarget, { kind: 'mysql' | 'mariadb' }>

export type Parameter = string | boolean | Buffer | null

export interface Result {
  /** The rows of a query. */
  rows: unknown[][]
  /** The number of rows that a statement wrote. */
  affected: number
}

export interface MysqlConnection {
  /** Runs a statement without parameters. */
  query(text: string): Promise<Result>
  /** Runs a prepared statement: its parameters are sent separately from its text. */
  execute(text: string, parameters: Parameter[]): Promise<Result>
  /** Applies the session's settings. Can be called again. */
  setUp(): Promise<void>
  destroy(): void
  close(): void
}

/** Connects, logs in and applies the settings. If that fails, nothing stays open. */
export async function openMysql(
  config: JdbcConfig,
  target: MysqlTarget,
  attempt: Attempt,
  egress: Egress,
): Promise<MysqlConnection> {
  const options = clientOptions(config, target)
  return connectGuarded(target, attempt, egress, async ({ socket, destroy }) => {
    attempt.expect('greet and accept the login')
    const connection = await logIn({ ...options, stream: named(socket, target.host) })
    const session = sessionOf(connection, socket, settings(config, target), destroy)
    await session.setUp()
    return session
  })
}

function clientOptions(config: JdbcConfig, { host, port, database, parameters }: MysqlTarget): ConnectionOptions {
  const { ca, cert, key, passphrase, servername } = tlsMaterial(config.tls)
  const secured = parameters.tls !== 'disable'
  return {
    // Only the name for the check of the certificate: the socket is already connected.
    host: servername ?? host.replace(/\.$/, ''),
    port,
    user: config.username,
    password: config.password,
    database,
    charset: 'UTF8MB4_UNICODE_CI',
    connectTimeout: 0,
    multipleStatements: false,
    // Without FOUND_ROWS the server does not count a row whose values stay the same.
    flags: ['-LOCAL_FILES', '-FOUND_ROWS'],
    infileStreamFactory() {
      throw Object.assign(new Error('the server asks for a file'), { code: 'LOCAL_INFILE' })
    },
    // The client would otherwise generate code from the column names of the server.
    disableEval: true,
    rowsAsArray: true,
    maxPreparedStatements: 16,
    enableCleartextPlugin: secured,
    connectAttributes: { program_name: 'Distributor' },
    ...(secured
      ? {
          ssl: {
            rejectUnauthorized: true,
            verifyIdentity: parameters.tls === 'verify-full',
            ...(ca !== undefined && { ca }),
            ...(cert !== undefined && { cert }),
            ...(key !== undefined && { key }),
            ...(passphrase !== undefined && { passphrase }),
          },
        }
      : !parameters.allow_public_key_retrieval && { authPlugins: withoutKeyRetrieval() }),
  }
}

function withoutKeyRetrieval(): ConnectionOptions['authPlugins'] {
  const onServerPublicKey = () => {
    throw Object.assign(new Error('the server sends a key'), { code: 'PUBLIC_KEY_RETRIEVAL' })
  }
  return {
    caching_sha2_password: mysql.authPlugins.caching_sha2_password({ onServerPublicKey }),
    sha256_password: mysql.authPlugins.sha256_password({ onServerPublicKey }),
  }
}

/** For an IP address the client passes no name to Node, which would then verify the certificate for `localhost`. */
function named(socket: Socket, host: string): Socket {
  return net.isIP(host) === 0 ? socket : Object.assign(socket, { _host: host })
}

function logIn(options: ConnectionOptions): Promise<Connection> {
  return new Promise((resolve, reject) => {
    const connection = contained(mysql.createConnection(options))
    // Kept for the life of the connection: a connection that breaks while it is idle reports the error here.
    connection.on('error', reject)
    connection.connect((error) => (error ? reject(error) : resolve(connection)))
  })
}

/**
 * Protects the process from a server that is not trusted:
 * - A malformed packet outside of any command would end the process, because the client reads it without a guard.
 * - An answer must not fill the memory. Its bytes are counted before the client joins the parts of a packet, because a
 *   packet can have any number of parts.
 * - The client would print a line for each packet out of order, and a trace for an invalid length.
 */
function contained(connection: Connection): Connection {
  const inside = connection as Connection & Inside
  const handle = inside.handlePacket
  const answer = createAnswerCounter()
  // Receives every chunk; with TLS, after decryption.
  const parser = inside.packetParser
  inside.packetParser = {
    execute(chunk) {
      const endless = answer.add(chunk)
      if (endless) inside.stream.destroy(endless)
      else parser.execute(chunk)
    },
  }
  inside.handlePacket = (packet) => {
    try {
      if (packet && inside._command && packet.sequenceId !== inside.sequenceId) {
        // A server that ends the connection may start the packet numbers again for its last error.
        if (packet.peekByte() !== ERROR) throw new Error('a packet out of order')
        packet.sequenceId = inside.sequenceId
      }
      if (packet) withoutTraces(packet)
      handle.call(connection, packet)
    } catch {
      inside.stream.destroy()
    }
  }
  const write = inside.write
  inside.write = (bytes) => {
    answer.asked()
    write.call(connection, bytes)
  }
  return connection
}

/** The first byte of an error packet; as the first byte of a length it is invalid. */
const ERROR = 0xff

/** For an invalid length the client prints a trace; an error is enough. */
function withoutTraces(packet: Packet): void {
  const kind = Object.getPrototypeOf(packet) as Partial<Packet>
  const read = kind.readLengthCodedNumberExt
  if (read === undefined || quiet.has(kind)) return
  quiet.add(kind)
  kind.readLengthCodedNumberExt = function (this: Packet, tag, ...rest) {
    // Also beyond the end of the packet.
    if (!(tag >= 0xfb && tag < ERROR)) throw new Error('an invalid length')
    return read.call(this, tag, ...rest)
  }
}

const quiet = new WeakSet<object>()

/** Internal methods of the client. */
interface Inside {
  stream: Socket
  /** The command whose answer is being read. */
  _command: unknown
  sequenceId: number
  packetParser: { execute(chunk: Buffer): void }
  handlePacket(packet: Packet | undefined): void
  write(bytes: Buffer): void
}

interface Packet {
  sequenceId: number
  peekByte(): number
  readLengthCodedNumberExt(tag: number, ...rest: unknown[]): unknown
}

function sessionOf(
  connection: Connection,
  socket: Socket,
  settings: readonly string[],
  destroy: () => void,
): MysqlConnection {
  const settle = (resolve: (result: Result) => void, reject: (error: unknown) => void) => {
    return (error: unknown, answer: unknown) => {
      if (error) reject(error)
      else if (Array.isArray(answer)) resolve({ rows: answer as unknown[][], affected: 0 })
      else resolve({ rows: [], affected: (answer as { affectedRows?: number } | undefined)?.affectedRows ?? 0 })
    }
  }
  const query = (sql: string) =>
    new Promise<Result>((resolve, reject) => connection.query(sql, settle(resolve, reject)))
  return {
    query,
    async setUp() {
      for (const setting of settings) await query(setting)
    },
    execute: (sql, parameters) =>
      new Promise((resolve, reject) => connection.execute(sql, parameters, settle(resolve, reject))),
    destroy,
    close() {
      connection.end(() => {})
      // The quit command has been passed to the socket, or to TLS, which sends it at once.
      setImmediate(() => socket.destroySoon())
    },
  }
}

function settings(config: JdbcConfig, { parameters }: MysqlTarget): string[] {
  const seconds = Math.ceil(config.timeout_seconds) + 1
  return [
    // A server may be configured to ignore the character set of the login.
    "set names 'utf8mb4' collate 'utf8mb4_unicode_ci'",
    [
      `set session time_zone = '${parameters.time_zone}'`,
      `session sql_mode = '${SQL_MODE}'`,
      // The code that reads names expects them in backticks.
      'session sql_quote_show_create = 1',
      // A statement keeps running after its client has gone. Its time is limited, so that it does not hold locks for
      // long.
      `session innodb_lock_wait_timeout = ${seconds}`,
      `session wait_timeout = 60 /*M!100100 , session max_statement_time = ${seconds} */`,
    ].join(', '),
    `set session transaction isolation level ${ISOLATION[config.isolation_level]}`,
  ]
}

/**
 * Set explicitly, whatever the server's defaults are: a value that does not fit is refused, not changed; 0 in a key is
 * stored as 0, not as the next number; a date that does not exist is refused; and an empty text is not null.
 */
const SQL_MODE = [
  'STRICT_ALL_TABLES',
  'STRICT_TRANS_TABLES',
  'NO_ZERO_IN_DATE',
  'NO_ZERO_DATE',
  'ERROR_FOR_DIVISION_BY_ZERO',
  'NO_AUTO_VALUE_ON_ZERO',
  'NO_ENGINE_SUBSTITUTION',
].join(',')

const ISOLATION: Record<IsolationLevel, string> = {
  read_uncommitted: 'read uncommitted',
  read_committed: 'read committed',
  repeatable_read: 'repeatable read',
  serializable: 'serializable',
}
