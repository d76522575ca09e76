// The two databases for JDBC tests, with the operations that tests run on both.
import mysql from 'mysql2/promise'
import pg from 'pg'
import { startMariadb } from './mariadb.ts'
import { startPostgresReceiver } from './postgres.ts'
import type { Receiver } from './receiver.ts'

export const DATABASE_KINDS = ['PostgreSQL', 'MariaDB'] as const
export type DatabaseKind = (typeof DATABASE_KINDS)[number]

/** A row as text. */
export type TextRow = Record<string, string | null>

export interface Session {
  ask(sql: string): Promise<TextRow[]>
  end(): Promise<void>
}

export interface TestDatabaseServer extends Receiver {
  kind: DatabaseKind
  user: string
  database: string
  /** `jdbc:…`, in plain text unless other parameters are given; another port or host leads there by a detour. */
  url(detour?: { host?: string; port?: number; parameters?: string }): string
  /** A session of the user, or of somebody who may do everything. */
  session(who?: 'user' | 'admin'): Promise<Session>
  /** One question in a session of its own. */
  ask(sql: string, who?: 'user' | 'admin'): Promise<TextRow[]>
  quoted(name: string): string
}

export interface DatabaseOptions {
  password: string
  tls?: { certificate: string; key: string; ca?: string }
}

export function startDatabase(kind: DatabaseKind, options: DatabaseOptions): Promise<TestDatabaseServer> {
  return kind === 'PostgreSQL' ? startOnPostgres(options) : startOnMariadb(options)
}

const USER = 'distributor'
const DATABASE = 'reports'

async function startOnPostgres(options: DatabaseOptions): Promise<TestDatabaseServer> {
  const receiver = await startPostgresReceiver({ user: USER, database: DATABASE, ...options })
  const session = async (who: 'user' | 'admin' = 'user'): Promise<Session> => {
    const client = new pg.Client({
      connectionString: who === 'user' ? receiver.url : receiver.adminUrl,
      types: { getTypeParser: () => (text: unknown) => text as string },
    })
    client.on('error', () => {})
    await client.connect()
    await client.query("set timezone = 'UTC'")
    return { ask: async (sql) => (await client.query<TextRow>(sql)).rows, end: () => client.end() }
  }
  return {
    ...withAsk(session),
    ...receiver,
    kind: 'PostgreSQL',
    user: USER,
    url: ({ host = '127.0.0.1', port = receiver.port, parameters = 'sslmode=disable' } = {}) =>
      `jdbc:postgresql://${host}:${port}/${DATABASE}?${parameters}`,
    quoted: (name) => `"${name.replaceAll('"', '""')}"`,
  }
}

async function startOnMariadb(options: DatabaseOptions): Promise<TestDatabaseServer> {
  const receiver = await startMariadb({ user: USER, database: DATABASE, ...options })
  const session = async (who: 'user' | 'admin' = 'user'): Promise<Session> => {
    const connection = await mysql.createConnection({
      host: '127.0.0.1',
      port: receiver.port,
      database: DATABASE,
      ...(who === 'user' ? { user: USER, password: options.password } : receiver.admin),
      typeCast: (field) => field.string('utf8'),
      timezone: 'Z',
    })
    connection.on('error', () => {})
    await connection.query("set time_zone = '+00:00'")
    return {
      ask: async (sql) => (await connection.query(sql))[0] as unknown as TextRow[],
      end: () => connection.end(),
    }
  }
  return {
    ...withAsk(session),
    ...receiver,
    kind: 'MariaDB',
    user: USER,
    url: ({ host = '127.0.0.1', port = receiver.port, parameters = 'sslMode=disable' } = {}) =>
      `jdbc:mariadb://${host}:${port}/${DATABASE}?${parameters}`,
    quoted: (name) => `\`${name.replaceAll('`', '``')}\``,
  }
}

function withAsk(session: TestDatabaseServer['session']): Pick<TestDatabaseServer, 'session' | 'ask'> {
  return {
    session,
    async ask(sql, who) {
      const own = await session(who)
      try {
        return await own.ask(sql)
      } finally {
        await own.end()
      }
    },
  }
}
