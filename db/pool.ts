// Connections to our own database. Work for a tenant goes through `withTenant`, which sets the tenant for row security
// inside the transaction, so that nothing stays behind on a pooled connection.
import pg from 'pg'

export type Pool = pg.Pool
/** What a statement function needs: a pooled client inside a transaction, or the pool itself. */
export type Db = Pick<pg.ClientBase, 'query'>

export interface PoolOptions {
  connectionString: string
  /** At most this many connections: 10 per API, 20 per worker. */
  max: number
  application_name: string
}

/** A pool whose waiting checkouts fail after 3 s, and whose idle clients never end the process by an error. */
export function createPool(options: PoolOptions, onError: (error: Error) => void = () => {}): Pool {
  const pool = new pg.Pool({
    ...options,
    connectionTimeoutMillis: 3000,
    idleTimeoutMillis: 30_000,
    keepAlive: true,
  })
  pool.on('error', onError)
  return pool
}

/** What needs no work of the server is answered at once, or its host is gone without a word, in milliseconds. */
const ANSWER_WITHIN_MS = 3000
/** A process that vanished in the middle of a transaction holds its locks no longer than this, in milliseconds. */
const IDLE_IN_TRANSACTION_MS = 60_000

export interface TransactionOptions {
  /** `statement_timeout` of the transaction, in milliseconds; none by default. */
  statementTimeoutMs?: number
}

/**
 * Runs `work` in one transaction that sees and writes the rows of `tenantId` alone (row-level security).
 * Rolls back and rethrows whatever `work` throws; a client whose rollback fails is thrown away, not pooled again.
 */
export function withTenant<T>(
  pool: Pool,
  tenantId: string,
  work: (db: Db) => Promise<T>,
  options: TransactionOptions = {},
): Promise<T> {
  return transaction(pool, work, [tenantId, String(options.statementTimeoutMs ?? 0)])
}

/** Runs `work` in one transaction without a tenant: only definer functions and shared tables answer in there. */
export function withoutTenant<T>(
  pool: Pool,
  work: (db: Db) => Promise<T>,
  options: TransactionOptions = {},
): Promise<T> {
  return transaction(pool, work, ['', String(options.statementTimeoutMs ?? 0)])
}

async function transaction<T>(
  pool: Pool,
  work: (db: Db) => Promise<T>,
  settings: [tenantId: string, statementTimeout: string],
): Promise<T> {
  const client = await pool.connect()
  let broken: Error | undefined
  // Nobody listens to a client that is checked out: its end between two statements would be an uncaught error.
  const onLost = (error: Error) => {
    broken = error
  }
  client.on('error', onLost)
  try {
    await client.query(atOnce('begin'))
    await client.query(
      atOnce(
        `select set_config('app.tenant_id', $1, true), set_config('statement_timeout', $2, true),
                set_config('idle_in_transaction_session_timeout', $3, true)`,
        [...settings, String(IDLE_IN_TRANSACTION_MS)],
      ),
    )
    const result = await work(client)
    await client.query('commit')
    return result
  } catch (error) {
    await client.query(atOnce('rollback')).catch((rollbackError: Error) => {
      broken = rollbackError
    })
    throw error
  } finally {
    client.off('error', onLost)
    client.release(broken)
  }
}

/** A statement that fails when nothing is heard of it; pg knows the setting, its types do not. */
function atOnce(text: string, values: string[] = []): { text: string; values: string[]; query_timeout: number } {
  return { text, values, query_timeout: ANSWER_WITHIN_MS }
}
