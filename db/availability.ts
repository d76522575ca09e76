// Whether an error means that the database is unavailable. The class and the code decide, never the text. The driver's own
// errors have no code, so client.ts wraps them in one of these classes.
import pg from 'pg'

/** The database cannot be reached, or does not answer; a retry may succeed. */
export class DatabaseUnavailable extends Error {
  override name = 'DatabaseUnavailable'
  readonly code: string = 'DATABASE_UNAVAILABLE'
}

/** No connection of the pool was free in time. */
export class PoolTimeout extends DatabaseUnavailable {
  override readonly code = 'POOL_TIMEOUT'
}

/** The tenant's transactions held its whole share of the connections for too long, although the database answers. */
export class TenantBusy extends Error {
  override name = 'TenantBusy'
  readonly code = 'TENANT_BUSY'
}

/** The server answers but the connection fails, so the settings must be wrong. */
export class DatabaseRefused extends Error {
  override name = 'DatabaseRefused'
  readonly code = 'DATABASE_REFUSED'
}

/** The host is unreachable, or this process cannot open another connection. */
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
 * Class 08: connection errors (poolers use it for all of their errors). Class 53: too many connections, disk or memory
 * full. Class 58: errors of the server's disk. 57P0x: the server stops, starts or crashed. 57014: the statement timed
 * out. 25006: the server is a read-only standby, as after a failover.
 */
const UNAVAILABLE = /^(08...|53...|58...|57P0[1-5]|57014|25006)$/

/** The primary has moved: this connection leads to a read-only server. */
const READ_ONLY = '25006'

/** The server listens on a Unix socket and has not created it yet. */
const NO_SOCKET = 'ENOENT'

/** Whether a retry may succeed without a change of the settings. */
export function isUnavailable(error: unknown): boolean {
  if (error instanceof DatabaseUnavailable || isStalePlan(error)) return true
  if (error instanceof pg.DatabaseError) return UNAVAILABLE.test(error.code ?? '')
  return error instanceof Error && NETWORK.has(codeOf(error) ?? '')
}

/** Whether the connection fails until somebody changes the settings: the login or the database name is wrong. */
export function isRefused(error: unknown): boolean {
  return (
    error instanceof DatabaseRefused || (error instanceof pg.DatabaseError && /^(28...|3D000)$/.test(error.code ?? ''))
  )
}

/** Whether the connection must not be used again, although it still answers. */
export function isReadOnly(error: unknown): boolean {
  return error instanceof pg.DatabaseError && error.code === READ_ONLY
}

/**
 * A named statement of the connection cannot be used any more: a migration changed the type of a column that it returns, or
 * somebody removed the statements of the session.
 */
export function isStalePlan(error: unknown): boolean {
  if (!(error instanceof pg.DatabaseError)) return false
  return error.code === '26000' || (error.code === '0A000' && error.routine === 'RevalidateCachedQuery')
}

/** Converts the error of a failed connect; `closed`: the socket is closed. */
export function connectError(error: Error, closed: boolean): Error {
  if (isOurs(error)) return error
  const code = codeOf(error)
  const unavailable = code === undefined ? closed : code === NO_SOCKET || NETWORK.has(code)
  return new (unavailable ? DatabaseUnavailable : DatabaseRefused)(textOf(error), { cause: error })
}

/** Converts the error of a statement; `closed`: the connection was lost. */
export function statementError(error: Error, closed: boolean): Error {
  if (isOurs(error) || !closed) return error
  return new DatabaseUnavailable(textOf(error), { cause: error })
}

/** A short reason for the log and the terminal: the error's code if it has one. */
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

/** Node's error after all addresses of a host failed has no message. */
function textOf(error: Error): string {
  return error.message || (codeOf(error) ?? 'the connection could not be made')
}
