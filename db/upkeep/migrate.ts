// Brings a database to the newest schema. Migrations are numbered SQL files; all that are missing run in one
// transaction.
import { readdirSync } from 'node:fs'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import { runner } from 'node-pg-migrate'
import pg from 'pg'
import { connectError } from '../availability.ts'
import type { WithSocket } from '../client.ts'
import { type Db, isOwnSession } from '../pool.ts'

const MIGRATIONS_DIR = fileURLToPath(new URL('../migrations', import.meta.url))
const CONNECT_WITHIN_MS = 10_000
const MIGRATIONS_TABLE = 'schema_migrations'

/** The first migration of the versions before 0.2.0, whose files were all replaced. */
const FIRST_BEFORE_0_2_0 = '0001_extensions'

/** The database has migrations that this program does not have. */
export class SchemaRefused extends Error {
  override name = 'SchemaRefused'
}

/** The connection goes through a pooler. There a session lock does not keep a second migration out. */
export class PoolerError extends Error {
  override name = 'PoolerError'
}

export interface MigrateOptions {
  /** Names of protocols: those that are not in `destination_types` are added. */
  protocols?: readonly string[]
  /** Applies only so many of the missing migrations, oldest first; all by default. */
  count?: number
}

/**
 * Applies all missing migrations or none; returns their names, oldest first. Safe to run twice, also at the same time:
 * the second run waits, then finds nothing to do. Throws `SchemaRefused` and changes nothing when the database has
 * migrations that this program does not have. The role of `adminUrl` will own the tables. It must own the database; it
 * need not be a superuser.
 */
export async function migrate(adminUrl: string, { protocols = [], count }: MigrateOptions = {}): Promise<string[]> {
  const client = new pg.Client({
    connectionString: adminUrl,
    application_name: 'distributor-migrate',
    connectionTimeoutMillis: CONNECT_WITHIN_MS,
  })
  // When the server stops, the statement fails. Without a listener the event would also end the process.
  client.on('error', () => {})
  await client.connect().catch((error: Error) => {
    const { stream } = (client as unknown as WithSocket).connection
    const known = connectError(error, stream.destroyed)
    stream.destroy()
    throw known
  })
  try {
    await refusePooler(client)
    await refuseUnknownMigrations(client)
    const applied = await runner({
      dbClient: client,
      dir: MIGRATIONS_DIR,
      migrationsTable: MIGRATIONS_TABLE,
      direction: 'up',
      count: count ?? Number.POSITIVE_INFINITY,
      // The documentation calls this the default; without it each file is a transaction of its own.
      singleTransaction: true,
      // By default a second migration at the same time fails.
      advisoryLockMode: 'wait',
      // The runner would print the whole file of a migration that fails; the error says enough.
      logger: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
    })
    // Checked again, because a newer version may have migrated while this one waited for the lock.
    await refuseUnknownMigrations(client)
    await addProtocols(client, protocols)
    return applied.map((migration) => migration.name)
  } finally {
    await client.end()
  }
}

/** The migrations that this program has, oldest first. */
export function knownMigrations(): string[] {
  return readdirSync(MIGRATIONS_DIR)
    .filter((file) => file.endsWith('.sql'))
    .map((file) => basename(file, '.sql'))
    .sort()
}

/** Says which version has the migrations that this program does not have; undefined when it has them all. */
export function whyUnknown(applied: string[]): string | undefined {
  const known = new Set(knownMigrations())
  const unknown = applied.filter((name) => !known.has(name))
  if (unknown.length === 0) return undefined
  if (unknown.includes(FIRST_BEFORE_0_2_0)) {
    return `was made by a version before 0.2.0 (its migrations are ${unknown[0]} to ${unknown.at(-1)}) and cannot be upgraded: use that version, or start with a new, empty database`
  }
  return `has migrations of a newer version than this one: ${unknown.join(', ')}`
}

/** The applied migrations, oldest first; none when the database does not have our schema. */
export async function appliedMigrations(db: Db): Promise<string[]> {
  const { rows } = await db.query<{ there: boolean }>('select to_regclass($1) is not null as there', [
    `public.${MIGRATIONS_TABLE}`,
  ])
  if (!rows[0]!.there) return []
  const applied = await db.query<{ name: string }>(`select name from public.${MIGRATIONS_TABLE} order by name`)
  return applied.rows.map(({ name }) => name)
}

/** The migrations that were not applied yet. The application's login may read the list. */
export async function missingMigrations(db: Db): Promise<string[]> {
  const applied = new Set(await appliedMigrations(db))
  return knownMigrations().filter((name) => !applied.has(name))
}

/** Those of the given protocols that are not in `destination_types` yet; `migrate` adds them. */
export async function missingProtocols(db: Db, protocols: readonly string[]): Promise<string[]> {
  const { rows } = await db.query<{ id: string }>(
    'select id from unnest($1::text[]) as id where id not in (select t.id from destination_types t)',
    [protocols],
  )
  return rows.map(({ id }) => id)
}

async function addProtocols(db: Db, protocols: readonly string[]): Promise<void> {
  await db.query(
    `insert into destination_types (id, name, protocol) select id, id, id from unnest($1::text[]) as id
     on conflict do nothing`,
    [protocols],
  )
}

async function refusePooler(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid')
  if (isOwnSession(client, rows[0]!.pid)) return
  throw new PoolerError(
    'the connection goes through a connection pooler such as PgBouncer; migrations hold a session lock and need a direct connection to PostgreSQL',
  )
}

async function refuseUnknownMigrations(client: pg.Client): Promise<void> {
  const unknown = whyUnknown(await appliedMigrations(client))
  if (unknown) throw new SchemaRefused(`the database ${unknown}`)
}
