// One connection to PostgreSQL, with the client's own reconnecting, retrying and reading of the environment left out.
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
  /** Statements at the beginning of each transaction: settings of its own, of which nothing stays on the connection. */
  settings: string
  /** Something that hands each transaction to any of its own connections stands in between, or may do. */
  pooled: boolean
  destroy(): void
  close(): void
}

/** Connected, logged in and set up; nothing is left open when that fails. */
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
    // A pooler tells a number of its own at the login.
    pooled: answer[0]?.pid !== (answer.state as { pid?: unknown } | undefined)?.pid,
    destroy,
    close() {
      sql.end().catch(() => {})
      // The client says goodbye a little later.
      setImmediate(() => socket.destroySoon())
    },
  }
}

/**
 * What decides how a value is read, whatever the role or the database says, and for how long an abandoned statement runs.
 */
function transactionSettings(config: JdbcConfig, { parameters }: PostgresTarget): string {
  // A statement outlives its client: what is abandoned here must not hold its locks for longer than an attempt may take.
  const abandonedMs = Math.ceil(config.timeout_seconds * 1000) + 1_000
  return [
    ...parameters.options.map(([name, value]) =>
      name === 'search_path' ? `search_path = ${searchPath(value)}` : `${name} = ${dollarQuoted(value)}`,
    ),
    `statement_timeout = ${abandonedMs}`,
    `idle_in_transaction_session_timeout = ${abandonedMs}`,
    // For timestamps that name no zone.
    "timezone = 'UTC'",
    "timezone_abbreviations = 'Default'",
    "datestyle = 'ISO, YMD'",
    "intervalstyle = 'postgres'",
    // For triggers and defaults that make text of values.
    "bytea_output = 'hex'",
    'standard_conforming_strings = on',
    'array_nulls = on',
    'xmloption = content',
    ...(parameters.current_schema === undefined ? [] : [`search_path = ${searchPath(parameters.current_schema)}`]),
  ]
    .map((setting) => `set local ${setting}`)
    .join('; ')
}

/** `a, "B"` as PostgreSQL reads a list of names; what is in quotation marks keeps its case. */
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
    // The connection is made already; a name with colons would be taken apart.
    host: 'database',
    port,
    database,
    username: config.username,
    password: config.password,
    /** Once: a client that lost its connection would come for another one. */
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
