// Whether the database is usable. Load balancers ask, so the answer comes in time even if the database hangs.
import { type Db, type Pool, withoutTenant } from './pool.ts'

/** The database answers but is read-only: a standby after a failover, or set so by an operator. */
export class ReadOnlyDatabase extends Error {
  override name = 'ReadOnlyDatabase'
}

/** The database's time of day, in milliseconds since 1970. */
export async function databaseTime(pool: Pool): Promise<number> {
  const { rows } = await pool.query<{ now: number }>(
    'select (extract(epoch from clock_timestamp()) * 1000)::float8 as now',
  )
  return rows[0]!.now
}

const STATEMENT_MS = 2000
const ANSWER_MS = STATEMENT_MS + 500

/**
 * Returns the result of `ask`.
 * @throws ReadOnlyDatabase if nothing can be written, another error if `ask` fails or takes longer than some seconds
 */
export async function askDatabase<T>(pool: Pool, ask: (db: Db) => Promise<T>): Promise<T> {
  const asked = withoutTenant(
    pool,
    async (db) => {
      const { rows } = await db.query<{ read_only: boolean }>(
        "select pg_is_in_recovery() or current_setting('transaction_read_only')::boolean as read_only",
      )
      if (rows[0]!.read_only) throw new ReadOnlyDatabase('the database is read-only')
      return await ask(db)
    },
    { statementTimeoutMs: STATEMENT_MS },
  )
  // A frozen server accepts connections and never answers; then the statement's own limit does not apply.
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ANSWER_MS} ms`)), ANSWER_MS)
  })
  asked.catch(() => {})
  return await Promise.race([asked, late]).finally(() => clearTimeout(timer))
}
