// Whether the database can be worked with just now: asked by load balancers, so answered in time whatever hangs.
import { type Db, type Pool, withoutTenant } from './pool.ts'

/** The database answers, and only reads: a standby after a failover, or one that was set so. */
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
 * What `ask` finds.
 * @throws ReadOnlyDatabase where nothing can be written, an error where it fails or takes longer than some seconds
 */
export async function askDatabase<T>(pool: Pool, ask: (db: Db) => Promise<T>): Promise<T> {
  const asked = withoutTenant(
    pool,
    async (db) => {
      const { rows } = await db.query<{ read_only: boolean }>(
        "select pg_is_in_recovery() or current_setting('transaction_read_only')::boolean as read_only",
      )
      if (rows[0]!.read_only) throw new ReadOnlyDatabase('the database takes no writes')
      return await ask(db)
    },
    { statementTimeoutMs: STATEMENT_MS },
  )
  // A server that was stopped in its tracks accepts connections and says nothing: the statement's own limit is no help.
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ANSWER_MS} ms`)), ANSWER_MS)
  })
  asked.catch(() => {})
  return await Promise.race([asked, late]).finally(() => clearTimeout(timer))
}
