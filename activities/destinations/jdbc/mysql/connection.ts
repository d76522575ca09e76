// One connection to MySQL or MariaDB. The server may be anybody's: it gets no files, and no password in plain text.
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
  /** Of a question. */
  rows: unknown[][]
  /** Of a statement that writes. */
  affected: number
}

export interface MysqlConnection {
  /** A statement as it stands. */
  query(text: string): Promise<Result>
  /** A prepared statement: parameters travel apart from its text. */
  execute(text: string, parameters: Parameter[]): Promise<Result>
  /** Gives the session its settings; also again. */
  setUp(): Promise<void>
  destroy(): void
  close(): void
}

/** Connected, logged in and set up; nothing is left open when that fails. */
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
    // The client takes the name to verify from here; the connection is made already.
    host: servername ?? host.replace(/\.$/, ''),
    port,
    user: config.username,
    password: config.password,
    database,
    charset: 'UTF8MB4_UNICODE_CI',
    connectTimeout: 0,
    multipleStatements: false,
    // Without FOUND_ROWS a row that stays as it is does not count.
    flags: ['-LOCAL_FILES', '-FOUND_ROWS'],
    infileStreamFactory() {
      throw Object.assign(new Error('the server asks for a file'), { code: 'LOCAL_INFILE' })
    },
    // A parser made of the server's column names is no parser to evaluate.
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

/** For an address the client names nothing to Node, which then verifies the certificate for this; else for `localhost`. */
function named(socket: Socket, host: string): Socket {
  return net.isIP(host) === 0 ? socket : Object.assign(socket, { _host: host })
}

function logIn(options: ConnectionOptions): Promise<Connection> {
  return new Promise((resolve, reject) => {
    const connection = contained(mysql.createConnection(options))
    // Stays for as long as the connection lives: one that dies idle tells it here.
    connection.on('error', reject)
    connection.connect((error) => (error ? reject(error) : resolve(connection)))
  })
}

/**
 * The server may be anybody's: a malformed packet that comes while nothing was asked would end the process, for the client
 * reads it outside of its own guard. An answer may not fill the memory: bytes are counted before the client joins the
 * parts of a packet, which can have any number of them. And the client prints a line for every packet that is out of
 * order, and a trace for a length that is none: neither of these reaches it.
 */
function contained(connection: Connection): Connection {
  const inside = connection as Connection & Inside
  const handle = inside.handlePacket
  const answer = createAnswerCounter()
  // Gets every chunk, with TLS the decrypted one.
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
        // A server that ends the connection numbers its last word anew.
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

/** The first byte of a packet, and of a length that does not exist. */
const ERROR = 0xff

/** Where the client reads a length that does not exist it prints where it is; the error is enough. */
function withoutTraces(packet: Packet): void {
  const kind = Object.getPrototypeOf(packet) as Partial<Packet>
  const read = kind.readLengthCodedNumberExt
  if (read === undefined || quiet.has(kind)) return
  quiet.add(kind)
  kind.readLengthCodedNumberExt = function (this: Packet, tag, ...rest) {
    // Also beyond the end of the packet.
    if (!(tag >= 0xfb && tag < ERROR)) throw new Error('a length that is none')
    return read.call(this, tag, ...rest)
  }
}

const quiet = new WeakSet<object>()

/** What the client calls on itself. */
interface Inside {
  stream: Socket
  /** What is being answered. */
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
      // The goodbye was handed to the socket, or to the TLS above it, which hands it on at once.
      setImmediate(() => socket.destroySoon())
    },
  }
}

function settings(config: JdbcConfig, { parameters }: MysqlTarget): string[] {
  const seconds = Math.ceil(config.timeout_seconds) + 1
  return [
    // A server may be set up to take no notice of what the login says.
    "set names 'utf8mb4' collate 'utf8mb4_unicode_ci'",
    [
      `set session time_zone = '${parameters.time_zone}'`,
      `session sql_mode = '${SQL_MODE}'`,
      // Names are looked for in backticks.
      'session sql_quote_show_create = 1',
      // A statement outlives its client: what is abandoned here must not hold its locks for long.
      `session innodb_lock_wait_timeout = ${seconds}`,
      `session wait_timeout = 60 /*M!100100 , session max_statement_time = ${seconds} */`,
    ].join(', '),
    `set session transaction isolation level ${ISOLATION[config.isolation_level]}`,
  ]
}

/**
 * Whatever the server's own modes are. A value that does not fit is refused, not bent until it does; 0 is a number, not
 * the next one; a day that does not exist is none; and an empty text is not null.
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
