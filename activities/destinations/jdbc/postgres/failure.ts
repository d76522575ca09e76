// PostgreSQL's errors. `message`, `detail` and `where` contain values of the rows and are never read.
import postgres from 'postgres'
import { DeliveryError } from '../../errors.ts'
import { codeOf, networkFailure } from '../../network/failures.ts'
import { broken, refused, type Verdict, verdictOf, verdicts } from '../failure.ts'

/** https://www.postgresql.org/docs/current/errcodes-appendix.html */
const OWN: Record<string, Verdict> = {
  '0A': verdicts.statement,
  // Mistakes in triggers and functions of the database.
  '20': verdicts.raised,
  '27': verdicts.raised,
  '2F': verdicts.raised,
  '39': verdicts.raised,
  '0L': verdicts.privilege,
  '0P': verdicts.privilege,
  '3D': verdicts.unknownName,
  '3F': verdicts.unknownName,
  '42501': verdicts.privilege,
  '42P01': verdicts.unknownName,
  '42703': verdicts.unknownName,
  '42704': verdicts.unknownName,
  '42P10': verdicts.noSuchKey,
  // A view that cannot be written through.
  '55000': verdicts.statement,
  // Out of memory or disk: this may be temporary.
  '53': verdicts.trouble,
  '53300': verdicts.full,
  '53400': verdicts.tooLarge,
  '54': verdicts.tooLarge,
  '55P03': verdicts.conflict,
  '57014': verdicts.slow,
  P0: verdicts.raised,
}

export interface Place {
  /** The object of the statement: `the table "orders"`. */
  place?: string
}

/** Converts an error of the client to a DeliveryError; a bug is returned unchanged. */
export function postgresFailure(error: unknown, { place }: Place = {}): unknown {
  if (error instanceof DeliveryError) return error
  if (error instanceof postgres.PostgresError) {
    // An untrusted server may send any value here, or none.
    const state = /^[0-9A-Z]{5}$/.test(error.code ?? '') ? error.code : 'none'
    return refused({
      label: `SQLSTATE ${state}`,
      verdict: verdictOf(state, OWN),
      place,
      constraint: error.constraint_name,
      column: error.column_name,
    })
  }
  const code = codeOf(error)
  // Codes of the client. Its errors contain the parameters of the statement, so only the code is used.
  if (code !== undefined && /^(CONNECTION_|SASL_|MESSAGE_NOT_SUPPORTED|PROTOCOL_VIOLATION|ENDLESS_ANSWER)/.test(code))
    return broken(code)
  if (code === undefined) return error
  const bare = Object.assign(new Error(`the connection failed (${code})`), { code })
  const failure = networkFailure(bare)
  return failure === bare ? error : failure
}

/** The SQLSTATE of a server's error; undefined for any other error. */
export function stateOf(error: unknown): string | undefined {
  return error instanceof postgres.PostgresError ? error.code : undefined
}
