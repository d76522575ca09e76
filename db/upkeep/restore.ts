// Restores a backup into a database, in one transaction.
import { pipeline } from 'node:stream/promises'
import type pg from 'pg'
import { from as copyFrom } from 'pg-copy-streams'
import {
  type BackupHeader,
  type BackupTrailer,
  finishStatements,
  HEADER,
  prepareStatements,
  TRAILER,
} from './backup.ts'
import { type BackupTable, backupTables, quoted } from './backup-tables.ts'
import { appliedMigrations, knownMigrations, migrate, whyUnknown } from './migrate.ts'

/** The backup cannot be restored here. The message says why, and what to do. */
export class RestoreRefused extends Error {}

export interface RestoreOptions {
  /** Deletes the rows that the database has. */
  replace: boolean
  /** The protocols of this program; a backup of an older version may lack some. */
  protocols: readonly string[]
  say: (line: string) => void
}

/**
 * Restores from the lines of a backup (without line ends) as the owner of the database; returns the number of rows of
 * each table. First creates the schema that the backup was made with, and migrates it to the newest one at the end.
 */
export async function restoreBackup(
  client: pg.Client,
  adminUrl: string,
  lines: AsyncIterable<string>,
  { replace, protocols, say }: RestoreOptions,
): Promise<Record<string, number>> {
  const reader = lines[Symbol.asyncIterator]()
  const header = readHeader((await reader.next()).value)
  await refuseServedDatabase(client)
  await prepareSchema(client, adminUrl, header, replace)
  await client.query('begin')
  await client.query('set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0')
  const tables = await backupTables(client)
  if (!replace) await refuseRows(client)
  for (const statement of prepareStatements(tables, header.months)) await client.query(statement)
  const { rows, sequences, trailer } = await copyAll(client, reader, tables, say)
  if (!trailer) throw new RestoreRefused('the backup is not complete: its end is missing')
  for (const [table, count] of Object.entries(trailer.rows)) {
    if (rows[table] !== count)
      throw new RestoreRefused(`${table}: only ${rows[table] ?? 0} of ${count} rows could be read`)
  }
  for (const statement of finishStatements(tables, sequences)) await client.query(statement)
  await client.query('commit')
  await client.query('analyze')
  const applied = await migrate(adminUrl, { protocols })
  if (applied.length > 0) say(`${applied.length} newer migrations applied`)
  return rows
}

function readHeader(line: string | undefined): BackupHeader {
  const text = line?.startsWith(HEADER) ? line.slice(HEADER.length) : undefined
  const header = text === undefined ? undefined : (parsed(text) as BackupHeader | undefined)
  if (header?.format !== 1 || !Array.isArray(header.migrations) || !Array.isArray(header.months)) {
    throw new RestoreRefused('the file is not a backup made by npm run backup')
  }
  const unknown = whyUnknown(header.migrations)
  if (unknown) throw new RestoreRefused(`the backup ${unknown}`)
  if (knownMigrations().slice(0, header.migrations.length).join() !== header.migrations.join()) {
    throw new RestoreRefused('the migrations of the backup are not in the order of this version')
  }
  for (const month of header.months) {
    if (!/^\d{4}-\d{2}-01$/.test(month)) throw new RestoreRefused(`the backup has an invalid month: ${month}`)
  }
  return header
}

/** Creates the backup's schema in a database without our schema; refuses a database with a different schema. */
async function prepareSchema(
  client: pg.Client,
  adminUrl: string,
  { migrations }: BackupHeader,
  replace: boolean,
): Promise<void> {
  const applied = await appliedMigrations(client)
  if (applied.length === 0) {
    await migrate(adminUrl, { count: migrations.length })
    return
  }
  if (!replace) await refuseRows(client)
  if (applied.join() !== migrations.join()) {
    throw new RestoreRefused(
      `the schemas of database and backup differ (database: ${applied.at(-1)}, backup: ${migrations.at(-1)}): restore into a new, empty database`,
    )
  }
}

async function refuseRows(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ tenants: string }>('select count(*) as tenants from public.tenants')
  if (rows[0]!.tenants === '0') return
  throw new RestoreRefused(
    `the database is not empty: it has ${rows[0]!.tenants} tenants. With --replace everything in it is deleted first`,
  )
}

/** A service that is connected would write to the tables during the restore. */
async function refuseServedDatabase(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ names: string | null }>(
    `select string_agg(distinct application_name, ', ') as names from pg_stat_activity
      where datname = current_database() and pid <> pg_backend_pid() and application_name like 'distributor-%'`,
  )
  const { names } = rows[0]!
  if (names) throw new RestoreRefused(`the service is connected to this database (${names}): stop it first`)
}

async function copyAll(
  client: pg.Client,
  reader: AsyncIterator<string>,
  tables: BackupTable[],
  say: (line: string) => void,
) {
  const known = new Map(tables.map((table) => [table.name, table]))
  const rows: Record<string, number> = {}
  const sequences: { name: string; last: string }[] = []
  let trailer: BackupTrailer | undefined
  for (let next = await reader.next(); !next.done; next = await reader.next()) {
    const line = next.value
    // Only the COPY blocks are read. The file's other statements are for psql; no SQL from a file is executed here.
    const copy = /^COPY public\."([a-z_]+)" \(([a-z0-9_", ]+)\) FROM stdin;$/.exec(line)
    const sequence = /^select setval\('public\."([a-z_]+)"', (\d+)\);$/.exec(line)
    if (copy) {
      const [, name = '', list = ''] = copy
      const columns = [...list.matchAll(/"([a-z0-9_]+)"/g)].map((found) => found[1]!)
      const table = known.get(name)
      if (!table || columns.some((column) => !table.columns.includes(column))) {
        throw new RestoreRefused(`the backup holds the table ${name}, or columns of it, that this schema does not have`)
      }
      rows[name] = await copyTable(client, reader, name, columns)
      if (rows[name] > 0) say(`${name}: ${rows[name]} rows`)
    } else if (sequence) sequences.push({ name: sequence[1]!, last: sequence[2]! })
    else if (line.startsWith(TRAILER)) trailer = parsed(line.slice(TRAILER.length)) as BackupTrailer
  }
  return { rows, sequences, trailer }
}

async function copyTable(
  client: pg.Client,
  reader: AsyncIterator<string>,
  name: string,
  columns: string[],
): Promise<number> {
  const copy = client.query(copyFrom(`copy public.${quoted(name)} (${columns.map(quoted).join(', ')}) from stdin`))
  let count = 0
  async function* lines() {
    for (;;) {
      const next = await reader.next()
      if (next.done) throw new RestoreRefused('the backup is not complete: it ends in the middle of a table')
      if (next.value === '\\.') return
      count += 1
      yield `${next.value}\n`
    }
  }
  await pipeline(lines, copy)
  return count
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
