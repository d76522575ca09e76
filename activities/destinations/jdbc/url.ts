// JDBC URLs of one server: `jdbc:postgresql://host:port/database?parameter=value&…`, and the same for MySQL and
// MariaDB.
import { distance } from 'fastest-levenshtein'
import { targetOf } from '../network/target.ts'
import { type MysqlParameters, mysqlParameters } from './mysql/parameters.ts'
import { type ParameterTable, UrlError } from './parameters.ts'
import { type PostgresParameters, postgresParameters } from './postgres/parameters.ts'

interface Server {
  host: string
  port: number
  database: string
}

export type JdbcTarget =
  | (Server & { kind: 'postgresql'; parameters: PostgresParameters })
  | (Server & { kind: 'mysql' | 'mariadb'; parameters: MysqlParameters })

const SUPPORTED = 'supported are jdbc:postgresql:, jdbc:mysql: and jdbc:mariadb:'
const PORTS = { postgresql: 5432, mysql: 3306, mariadb: 3306 }
const SECRETS: Record<string, string> = { user: 'username', username: 'username', password: 'password' }

/** @throws UrlError; its message contains no part of the URL that may be a secret */
export function parseJdbcUrl(url: string): JdbcTarget {
  if (/[\s\\\p{Cc}]/u.test(url)) throw new UrlError('has a space, a backslash or a control character')
  if (/[{}]/.test(url)) throw new UrlError('must not contain placeholders: the payload must not choose the server')
  const kind = /^jdbc:([a-z0-9+]+):/i.exec(url)?.[1]?.toLowerCase()
  if (kind === undefined) throw new UrlError(`must begin with jdbc:; ${SUPPORTED}`)
  if (kind !== 'postgresql' && kind !== 'mysql' && kind !== 'mariadb') {
    throw new UrlError(`jdbc:${kind}: is not supported; ${SUPPORTED}`)
  }
  const match = /^[^:]*:[^:]*:\/\/([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/.exec(url)
  if (!match) throw new UrlError(`must have the form jdbc:${kind}://host:port/database?parameter=value`)
  const [, authority = '', path = '', query = ''] = match
  const server = { ...authorityOf(authority, PORTS[kind]), database: decode(path) }
  if (server.database === '' || server.database.includes('/'))
    throw new UrlError('must name one database after the host')
  const given = query.split('&').filter(Boolean).map(splitParameter)
  return kind === 'postgresql'
    ? { ...server, kind, parameters: read(given, postgresParameters) }
    : { ...server, kind, parameters: read(given, mysqlParameters) }
}

/** The host of a URL, even if another part of the URL is invalid. */
export function jdbcHost(url: string): string | undefined {
  const authority = /^[^/]*\/\/([^/?#]*)/.exec(url)?.[1]
  if (authority === undefined) return undefined
  return /^(?:[^@]*@)?(?:\[([^\]]*)\]|([^:,]*))/.exec(authority)?.slice(1).find(Boolean)
}

function authorityOf(authority: string, usualPort: number): { host: string; port: number } {
  if (authority.includes('@'))
    throw new UrlError('must not contain credentials; use the fields "username" and "password"')
  if (authority.includes(',') || /[()=]/.test(authority)) throw new UrlError('must name one host')
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(authority)
  if (!match) throw new UrlError('must name a host')
  const port = match[3] === undefined ? usualPort : Number(match[3])
  if (port < 1 || port > 65535) throw new UrlError('has a port outside of 1 to 65535')
  const host = match[1] ?? match[2]!
  if (!targetOf(host, port)) throw new UrlError('must name a host')
  return { host, port }
}

function splitParameter(text: string): [name: string, value: string] {
  const at = text.indexOf('=')
  return at < 0 ? [decode(text), ''] : [decode(text.slice(0, at)), decode(text.slice(at + 1))]
}

function decode(text: string): string {
  let decoded: string
  try {
    decoded = decodeURIComponent(text)
  } catch {
    throw new UrlError('has an invalid percent-encoding')
  }
  if (decoded.includes('\0')) throw new UrlError('has a NUL character')
  return decoded
}

function read<Parameters extends object>(given: [string, string][], table: ParameterTable<Parameters>): Parameters {
  const into = { ...table.defaults }
  const seen = new Set<string>()
  for (const [name, value] of given) {
    if (seen.has(name)) throw new UrlError(`has the parameter ${name} twice`)
    seen.add(name)
    if (table.ignored.includes(name)) continue
    const field = SECRETS[name.toLowerCase()]
    if (field) throw new UrlError(`must not contain the parameter ${name}: use the field "${field}"`)
    if (!Object.hasOwn(table.readers, name)) throw new UrlError(unknownParameter(name, table))
    try {
      table.readers[name]!(value, into)
    } catch (error) {
      if (error instanceof UrlError) throw new UrlError(`parameter ${name}: ${error.message}`)
      throw error
    }
  }
  return into
}

function unknownParameter<Parameters>(name: string, table: ParameterTable<Parameters>): string {
  const known = [...Object.keys(table.readers), ...table.ignored]
  const nearest = known.toSorted((a, b) => distance(name, a) - distance(name, b))[0]!
  return `has the unknown parameter ${name.slice(0, 100)}; the nearest known one is ${nearest}`
}
