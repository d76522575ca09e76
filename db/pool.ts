// Connections to our own database. Work for a tenant goes through `withTenant`, which sets the tenant for row security
// inside the transaction, so that nothing stays behind on a pooled connection.
import pg from 'pg'
import { isReadOnly, PoolTimeout, TenantBusy } from './availability.ts'
import { BoundedClient, type BoundedConfig, BoundedPool, createServerCheck } from './client.ts'
import { LIMITS } from './limits.ts'
import { type Claim, createSlots, type Slots } from './slots.ts'
import { planOnce } from './statements.ts'

export type Pool = pg.Pool
/** What a statement function needs: a pooled client inside a transaction, or the pool itself. */
export type Db = Pick<pg.ClientBase, 'query'>

export interface PoolOptions {
  connectionString: string
  /** At most this many connections: 10 per API, 20 per worker. */
  max: number
  application_name: string
}

const STATEMENT_MS = LIMITS.databaseStatement.value
/** A waiting checkout fails after this time, in milliseconds. */
const CHECKOUT_WITHIN_MS = 3000

/** A pool whose waiting checkouts fail after 3 s, and whose idle clients never end the process by an error. */
export function createPool(options: PoolOptions, onError: (error: Error) => void = () => {}): Pool {
  const { max, ...connection } = options
  const pool = new BoundedPool({
    ...connection,
    max,
    connectionTimeoutMillis: CHECKOUT_WITHIN_MS,
    idleTimeoutMillis: 30_000,
    keepAlive: true,
    Client: BoundedClient,
    serverAnswers: createServerCheck(connection),
  } as unknown as pg.PoolConfig)
  pool.on('error', onError)
  return pool
}

/** The server that a connection string leads to, as the driver reads it; a Unix socket is the folder it is in. */
export function serverOf(connectionString: string): { host: string; port: number } {
  const { host, port } = new pg.Client({ connectionString })
  return { host, port }
}

/** What needs no work of the server is answered at once, or its host is gone without a word, in milliseconds. */
const ANSWER_WITHIN_MS = 3000
/** A commit waits for the disks of the server, and of its standby; what became of it is not known afterwards. */
const COMMIT_WITHIN_MS = LIMITS.databaseCommit.value
/** A process that vanished in the middle of a transaction holds its locks no longer than this, in milliseconds. */
const IDLE_IN_TRANSACTION_MS = 60_000

export interface TransactionOptions {
  /** `statement_timeout` of the transaction, in milliseconds. */
  statementTimeoutMs?: number
  /**
   * The server plans each statement of the transaction once per connection. For statements whose best plan is the same for
   * all values: those that find their rows by an id. Behind a pooler they are planned at every use.
   */
  planOnce?: boolean
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
  return transaction(pool, work, tenantId, options)
}

/** Runs `work` in one transaction without a tenant: only definer functions and shared tables answer in there. */
export function withoutTenant<T>(
  pool: Pool,
  work: (db: Db) => Promise<T>,
  options: TransactionOptions = {},
): Promise<T> {
  return transact(pool, work, '', options)
}

/** Connections that the transactions of tenants hold. */
const connections = new WeakMap<Pool, Slots>()

/**
 * A tenant never has more than four fifths of the connections, so that its transactions which wait for each other (for one
 * idempotency key, say) shut nobody else out.
 */
function connectionsOf(pool: Pool): Slots {
  const present = connections.get(pool)
  if (present) return present
  const most = Math.ceil(pool.options.max * 0.8)
  const made = createSlots((_, { tenant }) => tenant.claims.size >= most || undefined)
  connections.set(pool, made)
  return made
}

/**
 * Waits for as long as for a connection of the pool. The tenant's transactions may also last because the database is away,
 * which is not the tenant's fault: hence the check.
 * @throws TenantBusy, or PoolTimeout if the database does not answer
 */
async function waitIn(pool: Pool, slots: Slots, claim: Claim): Promise<void> {
  const controller = new AbortController()
  const timer = setTimeout(() => controller.abort(), CHECKOUT_WITHIN_MS)
  try {
    await slots.wait(claim, controller.signal)
  } catch {
    const { serverAnswers } = pool.options as Partial<BoundedConfig>
    throw (await serverAnswers?.()) === false
      ? new PoolTimeout('timeout exceeded when trying to connect')
      : new TenantBusy('too many transactions of this tenant at once')
  } finally {
    clearTimeout(timer)
  }
}

async function transaction<T>(
  pool: Pool,
  work: (db: Db) => Promise<T>,
  tenantId: string,
  options: TransactionOptions,
): Promise<T> {
  const slots = connectionsOf(pool)
  const claim = { tenant: tenantId }
  if (slots.take(claim)) await waitIn(pool, slots, claim)
  try {
    return await transact(pool, work, tenantId, options)
  } finally {
    slots.release(claim)
  }
}

async function transact<T>(
  pool: Pool,
  work: (db: Db) => Promise<T>,
  tenantId: string,
  { statementTimeoutMs: statementMs = STATEMENT_MS, planOnce: once = false }: TransactionOptions,
): Promise<T> {
  const client = await pool.connect()
  // The server ends a statement that takes too long; one whose server is silent, the client does.
  if (client instanceof BoundedClient) client.statementMs = statementMs
  let broken: Error | undefined
  // Nobody listens to a client that is checked out: its end between two statements would be an uncaught error.
  const onLost = (error: Error) => {
    broken = error
  }
  client.on('error', onLost)
  try {
    await client.query(atOnce('begin'))
    const { rows } = await client.query<{ pid: number }>(
      atOnce(
        `select set_config('app.tenant_id', $1, true), set_config('statement_timeout', $2, true),
                set_config('idle_in_transaction_session_timeout', $3, true),
                set_config('plan_cache_mode', $4, true), pg_backend_pid() as pid`,
        [tenantId, String(statementMs), String(IDLE_IN_TRANSACTION_MS), once ? 'force_generic_plan' : 'auto'],
      ),
    )
    const result = await work(once && isOwnSession(client, rows[0]!.pid) ? planOnce(client) : client)
    await client.query(atOnce('commit', [], COMMIT_WITHIN_MS))
    return result
  } catch (error) {
    await client.query(atOnce('rollback')).catch((rollbackError: Error) => {
      broken = rollbackError
    })
    if (isReadOnly(error)) broken = error as Error
    throw error
  } finally {
    if (client instanceof BoundedClient) client.statementMs = STATEMENT_MS
    client.off('error', onLost)
    client.release(broken)
  }
}

/** A pooler reports a process number of its own at the login, not that of the server's process. */
export function isOwnSession(client: pg.ClientBase, pid: number): boolean {
  return pid === (client as unknown as { processID: number | null }).processID
}

/** A statement that fails when nothing is heard of it; pg's types do not know the setting, which is our client's. */
function atOnce(text: string, values: string[] = [], answer_within_ms = ANSWER_WITHIN_MS) {
  return { text, values, answer_within_ms }
}
