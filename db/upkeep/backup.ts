// Writes a backup: one snapshot of all rows, as an SQL script with the data in COPY blocks. `npm run restore` reads it.
// `psql` can read it too, into an empty database with the same schema.
import { once } from 'node:events'
import type { Writable } from 'node:stream'
import type pg from 'pg'
import { to as copyTo } from 'pg-copy-streams'
import { type BackupTable, backupMonths, backupSequences, backupTables, quoted } from './backup-tables.ts'
import { appliedMigrations } from './migrate.ts'

export const HEADER = '-- distributor backup: '
export const TRAILER = '-- distributor backup ends: '

export interface BackupHeader {
  format: 1
  taken_at: string
  server_version: string
  migrations: string[]
  months: string[]
}

export interface BackupTrailer {
  rows: Record<string, number>
}

/** The database cannot be backed up; the message says why. */
export class BackupRefused extends Error {}

/**
 * Writes the backup to `out`, which stays open. Returns the number of rows of each table and the time of the snapshot.
 * The service can keep running: the backup blocks none of its work. `client` is the owner of the tables, or a
 * superuser.
 */
export async function writeBackup(
  client: pg.Client,
  out: Writable,
): Promise<{ rows: Record<string, number>; taken_at: string }> {
  await client.query('begin transaction isolation level repeatable read read only')
  await client.query('set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0')
  // The format of times and numbers in the file must not depend on the settings of the role.
  await client.query(
    "set local datestyle = 'ISO, YMD'; set local intervalstyle = 'postgres'; set local extra_float_digits = 3",
  )
  const migrations = await appliedMigrations(client)
  if (migrations.length === 0) throw new BackupRefused('the database has no schema of the Distributor')
  await refuseRoleWithoutAllRows(client)
  const tables = await backupTables(client)
  await client.query(`lock table ${tables.map(({ name }) => `public.${quoted(name)}`).join(', ')} in access share mode`)
  const months = await backupMonths(client)
  const { rows: facts } = await client.query<{ now: Date; version: string }>(
    "select clock_timestamp() as now, current_setting('server_version') as version",
  )
  const header: BackupHeader = {
    format: 1,
    taken_at: facts[0]!.now.toISOString(),
    server_version: facts[0]!.version,
    migrations,
    months,
  }
  await write(out, `${HEADER}${JSON.stringify(header)}\n${prelude(tables, months)}`)
  const rows: Record<string, number> = {}
  for (const table of tables) rows[table.name] = await writeTable(client, table, out)
  if (rows.tenants === 0) throw new BackupRefused('the database has no tenants: there is nothing to back up')
  await write(out, `${await epilogue(client, tables)}${TRAILER}${JSON.stringify({ rows })}\n`)
  await client.query('commit')
  return { rows, taken_at: header.taken_at }
}

/** A role that is subject to row security would copy no rows, and get no error. */
async function refuseRoleWithoutAllRows(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ whole: boolean; name: string }>(
    `select r.rolname as name, r.rolsuper or r.rolbypassrls or pg_has_role(r.oid, s.oid, 'usage') as whole
       from pg_roles r, pg_roles s where r.rolname = current_user and s.rolname = 'distributor_system'`,
  )
  if (rows[0]?.whole) return
  throw new BackupRefused(
    `the role ${rows[0]?.name ?? ''} does not see all tenants' rows: use the role that owns the tables (DATABASE_ADMIN_URL)`,
  )
}

async function writeTable(client: pg.Client, { name, columns }: BackupTable, out: Writable): Promise<number> {
  const list = columns.map(quoted).join(', ')
  const from = `public.${quoted(name)}`
  const { rows } = await client.query<{ count: string }>(`select count(*) as count from ${from}`)
  const expected = Number(rows[0]!.count)
  await write(out, `COPY ${from} (${list}) FROM stdin;\n`)
  const copy = client.query(copyTo(`copy (select ${list} from ${from}) to stdout`))
  let lines = 0
  for await (const chunk of copy as AsyncIterable<Buffer>) {
    for (const byte of chunk) if (byte === 0x0a) lines += 1
    await write(out, chunk)
  }
  if (lines !== expected) throw new Error(`${name}: only ${lines} of ${expected} rows were copied`)
  await write(out, '\\.\n\n')
  return lines
}

/** The statements before the data, for `psql`. */
function prelude(tables: BackupTable[], months: string[]): string {
  const lines = [
    '\\set ON_ERROR_STOP on',
    'begin;',
    'do $$ begin',
    "  if exists (select from public.tenants) then raise exception 'the database is not empty'; end if;",
    'end $$;',
    ...prepareStatements(tables, months).map((statement) => `${statement};`),
  ]
  return `${lines.join('\n')}\n\n`
}

/**
 * Run before the data: creates the partitions of each month, allows COPY, and empties the tables that migrations
 * filled.
 */
export function prepareStatements(tables: BackupTable[], months: string[]): string[] {
  return [
    "set local client_encoding = 'UTF8'",
    ...months.map((month) => `select public.make_month('${month}')`),
    ...tables
      .filter(({ forced }) => forced)
      .map(({ name }) => `alter table public.${quoted(name)} no force row level security`),
    `truncate ${tables.map(({ name }) => `public.${quoted(name)}`).join(', ')}`,
  ]
}

/** Run after the data. */
export function finishStatements(tables: BackupTable[], sequences: { name: string; last: string | null }[]): string[] {
  return [
    ...tables
      .filter(({ forced }) => forced)
      .map(({ name }) => `alter table public.${quoted(name)} force row level security`),
    ...sequences.flatMap(({ name, last }) =>
      last === null ? [] : [`select setval('public.${quoted(name)}', ${BigInt(last)})`],
    ),
    'refresh materialized view public.distribution_summary_mv',
    'refresh materialized view public.destination_health_mv',
  ]
}

async function epilogue(client: pg.Client, tables: BackupTable[]): Promise<string> {
  const statements = finishStatements(tables, await backupSequences(client))
  return `${[...statements, 'commit'].map((statement) => `${statement};`).join('\n')}\n`
}

async function write(out: Writable, chunk: string | Buffer): Promise<void> {
  if (out.errored) throw out.errored
  if (!out.write(chunk)) await once(out, 'drain')
}
