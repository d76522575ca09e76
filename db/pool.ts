// Connections to our own database. Work for a tenant goes through `withTenant`, which sets the tenant for row security
// inside the transaction, so that nothing stays behind on a pooled connection.
import pg from 'pg'
import { isReadOnly, isStalePlan, PoolTimeout, TenantBusy } from './availability.ts'
import { BoundedClient, type BoundedConfig, BoundedPool, createServerCheck } from './client.ts'
import { LIMITS } from './limits.ts'
import { type Claim, createSlots, type Slots } from './slots.ts'
import { planOnce } from './statements.ts'

export type Pool = pg.Pool
/** The first argument of every statement function: a pooled client inside a transaction, or the pool itself. */
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

/** The server of a connection string, as the driver reads it; for a Unix socket, `host` is its folder. */
export function serverOf(connectionString: string): { host: string; port: number } {
  const { host, port } = new pg.Client({ connectionString })
  return { host, port }
}

/** For statements that need no work of the server, in milliseconds: without an answer, its host is unreachable. */
const ANSWER_WITHIN_MS = 3000
/** A commit waits for the disks of the server and of its standby. After a timeout its outcome is unknown. */
const COMMIT_WITHIN_MS = LIMITS.databaseCommit.value
/** A process that was lost during a transaction holds its locks no longer than this, in milliseconds. */
const IDLE_IN_TRANSACTION_MS = 60_000

export interface TransactionOptions {
  /** `statement_timeout` of the transaction, in milliseconds. */
  statementTimeoutMs?: number
  /**
   * The server plans each statement of the transaction once per connection. Use it when the best plan is the same for all
   * values: for statements that find their rows by an id. Behind a pooler they are planned at every use.
   */
  planOnce?: boolean
}

/**
 * Runs `work` in one transaction that sees and writes the rows of `tenantId` alone (row-level security).
 * Rolls back and rethrows every error of `work`; a client whose rollback fails is closed, not pooled again.
 */
export function withTenant<T>(
  pool: Pool,
  tenantId: string,
  work: (db: Db) => Promise<T>,
  options: TransactionOptions = {},
): Promise<T> {
  return transaction(pool, work, tenantId, options)
}

/** Runs `work` in one transaction without a tenant: it sees only shared tables and the results of definer functions. */
export function withoutTenant<T>(
  pool: Pool,
  work: (db: Db) => Promise<T>,
  options: TransactionOptions = {},
): Promise<T> {
  return transact(pool, work, '', options)
}

const connections = new WeakMap<Pool, Slots>()

/**
 * A tenant never has more than four fifths of the connections, so that its transactions that wait for each other (for
 * example for one idempotency key) do not block other tenants.
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
 * Waits as long as for a connection of the pool. The tenant's transactions may also be slow because the database does not
 * answer, which is not the tenant's fault; so this is checked.
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
  // The server ends a statement that takes too long. If the server does not answer, the client ends it.
  if (client instanceof BoundedClient) client.statementMs = statementMs
  let broken: Error | undefined
  // The pool has no listener on a client that is checked out: its end between two statements would be an uncaught error.
  const onLost = (error: Error) => {
    broken = error
  }
  client.on('error', onLost)
  try {
    const pid = await begin(client, tenantId, {
      statement_timeout: statementMs,
      idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_MS,
      plan_cache_mode: once ? 'force_generic_plan' : 'auto',
    })
    const stale = isOlderThan(client, stalePlans.get(pool))
    const result = await work(once && !stale && isOwnSession(client, pid) ? planOnce(client) : client)
    await client.query(atOnce('commit', [], COMMIT_WITHIN_MS))
    if (stale) broken = new Error('its statements were planned before a change of the schema')
    return result
  } catch (error) {
    await client.query(atOnce('rollback')).catch((rollbackError: Error) => {
      broken = rollbackError
    })
    if (isReadOnly(error)) broken = error as Error
    if (isStalePlan(error)) {
      broken = error as Error
      stalePlans.set(pool, performance.now())
    }
    throw error
  } finally {
    if (client instanceof BoundedClient) client.statementMs = STATEMENT_MS
    client.off('error', onLost)
    client.release(broken)
  }
}

/**
 * When a statement was last found to be planned for an older schema. The connections that were open then are used without
 * names once more and closed, so that one transaction fails and not one for each connection.
 */
const stalePlans = new WeakMap<Pool, number>()

function isOlderThan(client: pg.ClientBase, time: number | undefined): boolean {
  return time !== undefined && client instanceof BoundedClient && client.made_at < time
}

/** Whether there is no pooler in between: a pooler reports its own process number at the login. */
export function isOwnSession(client: pg.ClientBase, pid: number): boolean {
  return pid === (client as unknown as { processID: number | null }).processID
}

/** Begins a transaction with its settings in one message. Returns the number of the server's process. */
async function begin(client: pg.ClientBase, tenantId: string, settings: Record<string, string | number>) {
  const set = Object.entries({ 'app.tenant_id': tenantId, ...settings }).map(
    ([name, value]) => `set_config('${name}', ${pg.escapeLiteral(String(value))}, true)`,
  )
  const answers = await client.query(atOnce(`begin; select ${set.join(', ')}, pg_backend_pid() as pid`))
  const [, { rows }] = answers as unknown as [unknown, pg.QueryResult<{ pid: number }>]
  return rows[0]!.pid
}

/** A statement that fails without an answer in this time. The setting is BoundedClient's; pg's types do not have it. */
function atOnce(text: string, values: string[] = [], answer_within_ms = ANSWER_WITHIN_MS) {
  return { text, values, answer_within_ms }
}
