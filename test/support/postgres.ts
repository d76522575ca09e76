// Real databases for tests, one per test file: clones of a template that was migrated once per server.
import { createHash, randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { migrate } from '../../db/upkeep/migrate.ts'
import { startPostgres } from '../../temporal-config/stack/postgres.ts'
import { removeReachableFolder } from '../../temporal-config/stack/reach.ts'
import { temporaryFolder } from './folders.ts'

const OWNER = 'test_owner'
const LOGIN = 'test_login'
const PASSWORD = 'test'
const MIGRATIONS = fileURLToPath(new URL('../../db/migrations', import.meta.url))

export interface TestServer {
  /** The superuser's connection to the database `postgres`. */
  url: string
  pid: number
  stop(): Promise<void>
}

export interface TestDatabase {
  /** The application's login: bound by row security, owns nothing. */
  url: string
  /** The owner: not a superuser. It sees all tenants' rows and may create partitions. */
  adminUrl: string
  /** Only where a test is about the server itself. */
  superuserUrl: string
  name: string
  /** Drops the database; connections that are still open are ended. */
  close(): Promise<void>
}

export interface EmptyDatabase extends TestDatabase {
  /** Lets the application's login in, once the migrations have made its role. */
  admitLogin(): Promise<void>
}

/** An embedded PostgreSQL of its own that keeps nothing; for several databases, or where the server itself is killed. */
export async function startTestServer(): Promise<TestServer> {
  const dir = temporaryFolder('test-postgres')
  const server = await startPostgres({ dir, durable: false })
  const killAtExit = () => {
    try {
      process.kill(server.process.pid, 'SIGKILL')
    } catch {
      // It has ended.
    }
  }
  process.once('exit', killAtExit)
  return {
    url: server.url,
    pid: server.process.pid,
    async stop() {
      process.off('exit', killAtExit)
      await server.stop()
      removeReachableFolder(dir, 'postgres')
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

/**
 * A migrated database, empty of tenants. Its server is the given one, else the test run's (TEST_POSTGRES_URL, a
 * superuser's URL), else one that is started here and ends with the last database on it.
 */
export async function createTestDatabase(options: { server?: { url: string } } = {}): Promise<TestDatabase> {
  return onServer(options.server, async (serverUrl) => {
    const template = await ensureTemplate(serverUrl)
    return createDatabase(serverUrl, `template ${template}`)
  })
}

/** A database without any schema, for tests of the migrations themselves. */
export async function createEmptyDatabase(options: { server?: { url: string } } = {}): Promise<EmptyDatabase> {
  return onServer(options.server, async (serverUrl) => {
    await withLock(serverUrl, (client) => ensureLogins(client))
    const database = await createDatabase(serverUrl, `owner ${OWNER}`)
    return { ...database, admitLogin: () => withLock(serverUrl, (client) => admitLogin(client)) }
  })
}

let ownServer: Promise<TestServer> | undefined
let openOnOwnServer = 0

async function onServer<T extends TestDatabase>(
  given: { url: string } | undefined,
  create: (serverUrl: string) => Promise<T>,
): Promise<T> {
  const outer = given?.url ?? process.env.TEST_POSTGRES_URL
  if (outer) return create(outer)
  ownServer ??= startTestServer()
  openOnOwnServer++
  const server = await ownServer
  const database = await create(server.url)
  return {
    ...database,
    async close() {
      await database.close()
      openOnOwnServer--
      if (openOnOwnServer === 0) {
        ownServer = undefined
        await server.stop()
      }
    },
  }
}

async function createDatabase(serverUrl: string, source: string): Promise<TestDatabase> {
  const name = `test_${randomBytes(8).toString('hex')}`
  await withClient(serverUrl, (client) => client.query(`create database ${name} ${source}`))
  return {
    name,
    url: urlOf(serverUrl, name, LOGIN, PASSWORD),
    adminUrl: urlOf(serverUrl, name, OWNER, PASSWORD),
    superuserUrl: urlOf(serverUrl, name),
    close: () => withClient(serverUrl, (client) => client.query(`drop database ${name} with (force)`)).then(() => {}),
  }
}

/**
 * The migrated template, named after what the migrations hold, so that a server that outlives a change of them gets a
 * new one. It becomes a template only when it is complete; a half-made one is made anew.
 */
async function ensureTemplate(serverUrl: string): Promise<string> {
  const hash = createHash('sha256')
  for (const file of readdirSync(MIGRATIONS).sort()) hash.update(file).update(readFileSync(join(MIGRATIONS, file)))
  const name = `template_${hash.digest('hex').slice(0, 16)}`
  await withLock(serverUrl, async (client) => {
    const known = await client.query('select datistemplate from pg_database where datname = $1', [name])
    if (known.rows[0]?.datistemplate) return
    await client.query(`drop database if exists ${name} with (force)`)
    await ensureLogins(client)
    await client.query(`create database ${name} owner ${OWNER}`)
    await migrate(urlOf(serverUrl, name, OWNER, PASSWORD))
    await admitLogin(client)
    await client.query(`alter database ${name} with is_template true`)
  })
  return name
}

async function ensureLogins(client: pg.Client): Promise<void> {
  for (const [role, right] of [
    [OWNER, 'createrole'],
    [LOGIN, 'nocreaterole'],
  ] as const) {
    const known = await client.query('select from pg_roles where rolname = $1', [role])
    if (known.rowCount === 0) await client.query(`create role ${role} login ${right} password '${PASSWORD}'`)
  }
}

async function admitLogin(client: pg.Client): Promise<void> {
  await client.query(`grant distributor_app to ${LOGIN}`)
}

/** One at a time on this server: test files run beside each other. */
async function withLock<T>(serverUrl: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  return withClient(serverUrl, async (client) => {
    await client.query("select pg_advisory_lock(hashtext('distributor tests'))")
    return work(client)
  })
}

async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}

function urlOf(serverUrl: string, database: string, user?: string, password?: string): string {
  const url = new URL(serverUrl)
  url.pathname = `/${database}`
  if (user !== undefined) url.username = user
  if (password !== undefined) url.password = password
  return url.href
}
