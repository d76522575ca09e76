// Errors of MySQL and MariaDB, interpreted by number and SQLSTATE only. Their texts contain values of the rows, so a name from
// a text is used only if it is a name of the schema.
import type { DeliveryCode } from '../../../../db/states.ts'
import { DeliveryError } from '../../errors.ts'
import { codeOf, networkFailure } from '../../network/failures.ts'
import { broken, refused, type Verdict, verdictOf, verdicts } from '../failure.ts'

/** Error numbers for cases that have the same SQLSTATE; of both servers unless a comment names one. */
const BY_NUMBER: Record<number, Verdict> = {
  1040: verdicts.full,
  1203: verdicts.full,
  1226: verdicts.full,
  1044: verdicts.privilege,
  1045: verdicts.credentials,
  1129: verdicts.privilege,
  1130: verdicts.privilege,
  1142: verdicts.privilege,
  1143: verdicts.privilege,
  1227: verdicts.privilege,
  1370: verdicts.privilege,
  1698: verdicts.credentials,
  1820: verdicts.credentials,
  1862: verdicts.credentials,
  3118: verdicts.credentials,
  4151: verdicts.credentials,
  1049: verdicts.unknownName,
  1054: verdicts.unknownName,
  1109: verdicts.unknownName,
  1146: verdicts.unknownName,
  1048: verdicts.constraint,
  1062: verdicts.constraint,
  1216: verdicts.constraint,
  1217: verdicts.constraint,
  1364: verdicts.constraint,
  1451: verdicts.constraint,
  1452: verdicts.constraint,
  1557: verdicts.constraint,
  1586: verdicts.constraint,
  1761: verdicts.constraint,
  1762: verdicts.constraint,
  3819: verdicts.constraint,
  4025: verdicts.constraint,
  1264: verdicts.value,
  1265: verdicts.value,
  1292: verdicts.value,
  1366: verdicts.value,
  1367: verdicts.value,
  1406: verdicts.value,
  1411: verdicts.value,
  3140: verdicts.value,
  4038: verdicts.value,
  1423: verdicts.constraint,
  1526: verdicts.constraint,
  1748: verdicts.constraint,
  // Views, triggers, computed columns and logs that do not allow it.
  1036: verdicts.statement,
  1348: verdicts.statement,
  1356: verdicts.statement,
  1393: verdicts.statement,
  1394: verdicts.statement,
  1442: verdicts.statement,
  1449: verdicts.statement,
  1471: verdicts.statement,
  1665: verdicts.statement,
  1906: verdicts.statement,
  3105: verdicts.statement,
  1153: verdicts.tooLarge,
  1205: verdicts.conflict,
  1213: verdicts.conflict,
  1020: verdicts.conflict,
  1290: verdicts.readOnly,
  1792: verdicts.readOnly,
  1836: verdicts.readOnly,
  1053: verdicts.trouble,
  1077: verdicts.trouble,
  1927: verdicts.trouble,
  // Too many prepared statements at the moment.
  1461: verdicts.trouble,
  // Interrupted, or longer than the time limit that we set.
  1317: verdicts.slow,
  1969: verdicts.slow,
  3024: verdicts.slow,
  // Authentication methods that this client does not support.
  1251: verdicts.statement,
  1275: verdicts.statement,
  1524: verdicts.statement,
}

/** Error codes of the client, not of the server. */
const REFUSALS: Record<string, [code: DeliveryCode, says: string]> = {
  HANDSHAKE_SSL_ERROR: [
    'DESTINATION_UNAVAILABLE',
    'no secure connection could be made: the certificate or the handshake fails',
  ],
  HANDSHAKE_NO_SSL_SUPPORT: ['DESTINATION_UNAVAILABLE', 'the URL asks for TLS, which the server does not offer'],
  MYSQL_CLEAR_PASSWORD_NOT_ENABLED: [
    'UNAUTHORIZED',
    'the server asks for the password in plain text, and the connection has no TLS',
  ],
  PUBLIC_KEY_RETRIEVAL: [
    'UNAUTHORIZED',
    'the server asks for the password encrypted with its own key, and the connection has no TLS; use TLS, or allowPublicKeyRetrieval=true',
  ],
  LOCAL_INFILE: ['REJECTED', 'the server asked for a local file, which is not allowed'],
}

export interface Statement {
  /** The object of the statement: `the table "orders"`. */
  place?: string
  /** The columns that the statement fills. */
  columns?: readonly string[]
  /** The number of its first row in the delivery, from 1. */
  first?: number
}

interface ServerError extends Error {
  errno: number
  sqlState?: string
  sqlMessage?: string
}

/** Converts an error of the client to a DeliveryError; a bug is returned unchanged. */
export function mysqlFailure(error: unknown, { place, columns = [], first }: Statement = {}): unknown {
  if (error instanceof DeliveryError) return error
  if (isServerError(error)) {
    const verdict = BY_NUMBER[error.errno] ?? verdictOf(error.sqlState ?? '')
    return refused({ label: `error ${error.errno}`, verdict, place, ...namesIn(error, columns, first) })
  }
  const code = codeOf(error)
  const refusal = code === undefined ? undefined : REFUSALS[code]
  if (refusal) return new DeliveryError(...refusal)
  // `fatal` means that the error ended the connection; some of these errors have no code.
  const fatal = (error as { fatal?: unknown } | null)?.fatal === true
  if (code === undefined) return fatal ? broken('protocol') : error
  const bare = Object.assign(new Error(`the connection failed (${code})`), { code })
  const failure = networkFailure(bare)
  if (failure !== bare) return failure
  return fatal || /^(PROTOCOL_|HANDSHAKE_|AUTH_SWITCH_)/.test(code) ? broken(code) : error
}

/** The number of a server's error; undefined for any other error. */
export function numberOf(error: unknown): number | undefined {
  return isServerError(error) ? error.errno : undefined
}

function isServerError(error: unknown): error is ServerError {
  return error instanceof Error && typeof (error as Partial<ServerError>).errno === 'number' && 'sqlMessage' in error
}

/** Only names of the statement's columns, and names at the position where the server puts the name of a constraint. */
function namesIn(
  { sqlMessage = '', errno }: ServerError,
  columns: readonly string[],
  first: number | undefined,
): { column?: string; row?: number; constraint?: string } {
  const row = /at row (\d+)$/.exec(sqlMessage)?.[1]
  const column = columnIn(sqlMessage, errno, columns)
  const constraint = constraintIn(sqlMessage, errno)
  return {
    ...(column !== undefined && { column }),
    ...(row !== undefined && first !== undefined && column !== undefined && { row: first + Number(row) - 1 }),
    ...(constraint !== undefined && { constraint }),
  }
}

/** In these two errors the name of the column is at a position where no value can be. */
function columnIn(text: string, number: number, columns: readonly string[]): string | undefined {
  if (number === 1048 || number === 1364) return /^(?:Column|Field) '([^']{1,64})'/.exec(text)?.[1]
  const named = /column ['`](?:[^`]*`\.`)*([^'`]+)['`](?: at row \d+)?$/.exec(text)?.[1]
  return columns.find((name) => name.toLowerCase() === named?.toLowerCase())
}

function constraintIn(text: string, number: number): string | undefined {
  if (number === 1062) return / for key '([A-Za-z0-9_.$-]{1,129})'$/.exec(text)?.[1]
  if (number === 1451 || number === 1452) return /, CONSTRAINT `([^`]{1,64})` FOREIGN KEY/.exec(text)?.[1]
  if (number === 4025) return /^CONSTRAINT `(?:[^`]*`\.`)?([^`]{1,129})` failed for/.exec(text)?.[1]
  if (number === 3819) return /^Check constraint '([^']{1,64})' is violated/.exec(text)?.[1]
  return undefined
}
