// Whether an error means that the database cannot be reached just now. Decided by class and code, never by words: the
// driver's own errors have no code, so they are given a class where they arise (client.ts).
import pg from 'pg'

/** The database cannot be reached, or does not answer; the same may succeed later. */
export class DatabaseUnavailable extends Error {
  override name = 'DatabaseUnavailable'
  readonly code: string = 'DATABASE_UNAVAILABLE'
}

/** No connection of the pool was free in time. */
export class PoolTimeout extends DatabaseUnavailable {
  override readonly code = 'POOL_TIMEOUT'
}

/** The tenant used its whole share of the connections for too long, while the database answers. */
export class TenantBusy extends Error {
  override name = 'TenantBusy'
  readonly code = 'TENANT_BUSY'
}

/** Something answers at the address that a connection cannot be made with: the settings are wrong. */
export class DatabaseRefused extends Error {
  override name = 'DatabaseRefused'
  readonly code = 'DATABASE_REFUSED'
}

/** What the network says while a host is away, or a process has no room for one more connection. */
const NETWORK: ReadonlySet<string> = new Set([
  'EADDRNOTAVAIL',
  'EAGAIN',
  'EAI_AGAIN',
  'EAI_FAIL',
  'EAI_NODATA',
  'ECONNABORTED',
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTDOWN',
  'EHOSTUNREACH',
  'EMFILE',
  'ENETDOWN',
  'ENETRESET',
  'ENETUNREACH',
  'ENFILE',
  'ENOBUFS',
  'ENOTFOUND',
  'EPIPE',
  'ETIMEDOUT',
])

/**
 * Class 08: trouble with the connection (poolers use it for all of theirs). Class 53: too many connections, no room.
 * Class 58: the server's own disk. 57P0x: it stops, starts or crashed. 57014: a statement took longer than it may.
 * 25006: it is a standby that only reads, as after a failover.
 */
const AWAY = /^(08...|53...|58...|57P0[1-5]|57014|25006)$/

/** The primary has moved: this connection leads to a server that only reads. */
const READ_ONLY = '25006'

/** A server that listens on a Unix socket, and has not made it yet. */
const NO_SOCKET = 'ENOENT'

/** Whether the same may succeed later, without anybody changing a setting. */
export function isAway(error: unknown): boolean {
  if (error instanceof DatabaseUnavailable) return true
  if (error instanceof pg.DatabaseError) return AWAY.test(error.code ?? '')
  return error instanceof Error && NETWORK.has(codeOf(error) ?? '')
}

/** Whether no connection was given for a reason that somebody has to change: the login or the database is not accepted. */
export function isRefused(error: unknown): boolean {
  return (
    error instanceof DatabaseRefused || (error instanceof pg.DatabaseError && /^(28...|3D000)$/.test(error.code ?? ''))
  )
}

/** Whether the connection must not be used again, although it still answers. */
export function isReadOnly(error: unknown): boolean {
  return error instanceof pg.DatabaseError && error.code === READ_ONLY
}

/** An error of a connection that could not be made; `closed`: its socket is gone. */
export function connectError(error: Error, closed: boolean): Error {
  if (isOurs(error)) return error
  const code = codeOf(error)
  const away = code === undefined ? closed : code === NO_SOCKET || NETWORK.has(code)
  return new (away ? DatabaseUnavailable : DatabaseRefused)(textOf(error), { cause: error })
}

/** An error of a statement; `closed`: the connection was lost over it. */
export function statementError(error: Error, closed: boolean): Error {
  if (isOurs(error) || !closed) return error
  return new DatabaseUnavailable(textOf(error), { cause: error })
}

/** What the log and the terminal show: a code where there is one. */
export function shortReason(error: unknown): string {
  for (let one = error; one instanceof Error; one = one.cause) {
    const code = codeOf(one)
    if (code !== undefined && code !== 'DATABASE_UNAVAILABLE') return code
  }
  return error instanceof Error ? error.message : 'unknown'
}

function isOurs(error: Error): boolean {
  return error instanceof DatabaseUnavailable || error instanceof DatabaseRefused || error instanceof pg.DatabaseError
}

function codeOf(error: Error): string | undefined {
  const { code } = error as { code?: unknown }
  return typeof code === 'string' ? code : undefined
}

/** Several addresses that were all tried in vain make an error without words. */
function textOf(error: Error): string {
  return error.message || (codeOf(error) ?? 'the connection could not be made')
}
