// One connection to PostgreSQL. The client must not reconnect, retry or read the environment by itself.
import type { Duplex } from 'node:stream'
import postgres from 'postgres'
import type { Attempt } from '../../network/deadline.ts'
import type { Egress } from '../../network/egress.ts'
import { connectGuarded, type GuardedConnection } from '../../network/guarded.ts'
import { tlsMaterial } from '../../network/tls.ts'
import type { JdbcConfig } from '../config.ts'
import { dollarQuoted, quoted } from '../identifiers.ts'
import type { JdbcTarget } from '../url.ts'
import { guarded } from './guard.ts'
import { secured } from './tls.ts'

export type PostgresTarget = Extract<JdbcTarget, { kind: 'postgresql' }>

export interface PostgresConnection {
  sql: postgres.Sql
  /** Statements to run at the beginning of each transaction: settings that end with the transaction. */
  settings: string
  /** There may be a pooler, which can use another server connection for each transaction. */
  pooled: boolean
  destroy(): void
  close(): void
}

/** Connects, logs in and applies the settings. If that fails, nothing stays open. */
export async function openPostgres(
  config: JdbcConfig,
  target: PostgresTarget,
  attempt: Attempt,
  egress: Egress,
): Promise<PostgresConnection> {
  const material = tlsMaterial(config.tls)
  return connectGuarded(target, attempt, egress, async (connection) => {
    if (target.parameters.tls !== 'disable') {
      attempt.expect('agree on TLS')
      await secured(connection, material, target.parameters)
    }
    attempt.expect('accept the login')
    return logIn(config, target, connection)
  })
}

async function logIn(
  config: JdbcConfig,
  target: PostgresTarget,
  { socket, orLost, end, destroy }: GuardedConnection,
): Promise<PostgresConnection> {
  const stream = guarded(socket, { secured: target.parameters.tls !== 'disable', refuse: end })
  const sql = postgres(clientOptions(config, target, stream))
  const settings = transactionSettings(config, target)
  const asked = sql.unsafe<{ pid: number }[]>('select pg_backend_pid() as pid').simple()
  const answer = await orLost(asked)
  return {
    sql,
    settings,
    // At the login, a pooler reports a process number of its own.
    pooled: answer[0]?.pid !== (answer.state as { pid?: unknown } | undefined)?.pid,
    destroy,
    close() {
      sql.end().catch(() => {})
      // The client sends its terminate message a little later.
      setImmediate(() => socket.destroySoon())
    },
  }
}

/**
 * Settings that must not depend on the role or the database: how values are read, and how long an abandoned statement
 * runs.
 */
function transactionSettings(config: JdbcConfig, { parameters }: PostgresTarget): string {
  // A statement keeps running after its client has gone. It must not hold locks for longer than an attempt may take.
  const abandonedMs = Math.ceil(config.timeout_seconds * 1000) + 1_000
  return [
    ...parameters.options.map(([name, value]) =>
      name === 'search_path' ? `search_path = ${searchPath(value)}` : `${name} = ${dollarQuoted(value)}`,
    ),
    `statement_timeout = ${abandonedMs}`,
    `idle_in_transaction_session_timeout = ${abandonedMs}`,
    // For timestamps without a zone.
    "timezone = 'UTC'",
    "timezone_abbreviations = 'Default'",
    "datestyle = 'ISO, YMD'",
    "intervalstyle = 'postgres'",
    // For triggers and defaults that convert values to text.
    "bytea_output = 'hex'",
    'standard_conforming_strings = on',
    'array_nulls = on',
    'xmloption = content',
    ...(parameters.current_schema === undefined ? [] : [`search_path = ${searchPath(parameters.current_schema)}`]),
  ]
    .map((setting) => `set local ${setting}`)
    .join('; ')
}

/** Reads a list of names such as `a, "B"` as PostgreSQL does: a name in quotation marks keeps its case. */
function searchPath(list: string): string {
  const names = list.match(/"(?:[^"]|"")*"|[^,]+/g)?.map((name) => name.trim()) ?? []
  const known = names.filter((name) => name !== '')
  if (known.length === 0) return "''"
  return known.map((name) => (/^"(?:[^"]|"")+"$/.test(name) ? name : quoted(name.toLowerCase()))).join(', ')
}

function clientOptions(
  config: JdbcConfig,
  { port, database, parameters }: PostgresTarget,
  stream: Duplex,
): postgres.Options<Record<string, never>> {
  let given = false
  const options = {
    // The socket is already connected. The client would split a host that contains colons.
    host: 'database',
    port,
    database,
    username: config.username,
    password: config.password,
    /** Works once: after a lost connection the client would otherwise connect again. */
    socket() {
      if (given || stream.destroyed) {
        throw Object.assign(new Error('the connection closed'), { code: 'CONNECTION_CLOSED' })
      }
      given = true
      return stream
    },
    ssl: false,
    max: 1,
    prepare: false,
    fetch_types: false,
    idle_timeout: 0,
    connect_timeout: 0,
    max_lifetime: 0,
    keep_alive: 0,
    backoff: false as const,
    debug: false,
    onnotice: () => {},
    connection: {
      application_name: parameters.application_name,
    },
  }
  return options
}
