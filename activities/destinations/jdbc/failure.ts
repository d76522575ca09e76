// Classifies errors of databases by SQLSTATE (ISO 9075, and each server's own), never by their text, which contains
// values.
import { LIMITS } from '../../../db/limits.ts'
import type { DeliveryCode } from '../../../db/states.ts'
import { DeliveryError } from '../errors.ts'
import { storable } from '../storable.ts'

export interface Verdict {
  code: DeliveryCode
  says: string
}

/** The contents of an error message besides the code: names from the database's schema, never a value. */
export interface Refusal {
  /** `SQLSTATE 23505`, `error 1062`. */
  label: string
  verdict: Verdict
  /** What the statement was about: `the table "orders"`. */
  place?: string | undefined
  constraint?: string | undefined
  column?: string | undefined
  /** The number of the row in the delivery, from 1. */
  row?: number | undefined
}

export const verdicts = {
  conflict: { code: 'DESTINATION_UNAVAILABLE', says: 'another transaction is in conflict with it' },
  constraint: { code: 'REJECTED', says: 'it violates a constraint' },
  value: { code: 'REJECTED', says: 'a value does not fit' },
  twice: { code: 'REJECTED', says: 'two rows of one statement have the same key' },
  tooLarge: { code: 'REJECTED', says: 'it is larger than the server accepts' },
  raised: { code: 'REJECTED', says: 'the database raised an error of its own' },
  credentials: { code: 'UNAUTHORIZED', says: 'the server refused the user name or the password' },
  privilege: { code: 'UNAUTHORIZED', says: 'the user has no right to do this' },
  unknownName: { code: 'MISCONFIGURED', says: 'a database, schema, table or column does not exist' },
  noSuchKey: { code: 'MISCONFIGURED', says: 'the table has no unique key with these key_columns' },
  statement: { code: 'MISCONFIGURED', says: 'the table does not support this way of writing' },
  full: { code: 'THROTTLED', says: 'the server has too many connections' },
  readOnly: { code: 'DESTINATION_UNAVAILABLE', says: 'the database is read-only now' },
  slow: { code: 'TIMEOUT', says: 'the server cancelled the statement' },
  trouble: { code: 'DESTINATION_UNAVAILABLE', says: 'the server has a problem of its own' },
} as const satisfies Record<string, Verdict>

/** SQLSTATEs that mean the same in all servers. The longest matching prefix counts. */
const BY_STATE: Record<string, Verdict> = {
  '08': verdicts.trouble,
  '21000': verdicts.twice,
  '21': verdicts.statement,
  '22': verdicts.value,
  '23': verdicts.constraint,
  '25006': verdicts.readOnly,
  '28': verdicts.credentials,
  '40': verdicts.conflict,
  '42': verdicts.statement,
  '42000': verdicts.statement,
  '44': verdicts.constraint,
  '45': verdicts.raised,
}

/** `own` takes precedence over the shared SQLSTATEs; an unknown error is retried. */
export function verdictOf(state: string, own: Record<string, Verdict> = {}): Verdict {
  return own[state] ?? BY_STATE[state] ?? own[state.slice(0, 2)] ?? BY_STATE[state.slice(0, 2)] ?? verdicts.trouble
}

export function refused({ label, verdict, place, constraint, column, row }: Refusal): DeliveryError {
  const details = [
    column === undefined ? undefined : `column "${column.slice(0, 100)}"`,
    row === undefined ? undefined : `row ${row}`,
    constraint === undefined ? undefined : `constraint "${constraint.slice(0, 100)}"`,
    label,
  ].filter((detail) => detail !== undefined)
  const message = storable(`${place === undefined ? '' : `${place}: `}${verdict.says} (${details.join(', ')})`)
  const cause = Object.assign(new Error(message), { code: label })
  return new DeliveryError(verdict.code, message, { cause, answered: verdict === verdicts.conflict })
}

const ENDLESS_ANSWER = 'ENDLESS_ANSWER'

/** Counts the bytes that the server sends, because the client buffers a message until it is complete. */
export function createAnswerCounter() {
  let bytes = 0
  return {
    /** Call when the client sends something: a new answer begins. */
    asked(): void {
      bytes = 0
    },
    /** @returns the error that must end the connection when the answer is larger than any expected one */
    add(chunk: Buffer): Error | undefined {
      bytes += chunk.length
      if (bytes <= LIMITS.databaseAnswer.value) return undefined
      return Object.assign(new Error('the answer is too large'), { code: ENDLESS_ANSWER })
    },
  }
}

/** The connection to the database broke, or the server broke the protocol. */
export function broken(code: string): DeliveryError {
  const message =
    code === ENDLESS_ANSWER
      ? `the database sent more than ${LIMITS.databaseAnswer.value} bytes in one answer`
      : `the connection to the database broke (${code})`
  return new DeliveryError('DESTINATION_UNAVAILABLE', message, { cause: Object.assign(new Error(message), { code }) })
}
