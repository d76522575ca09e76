// The content of a backup: all our tables, in an order in which their rows can be restored, and the state of the
// sequences.
import type { Db } from '../pool.ts'

export interface BackupTable {
  name: string
  /** Without generated columns, which PostgreSQL computes again. */
  columns: string[]
  /** Row security applies to the owner too. PostgreSQL refuses COPY FROM until that is turned off. */
  forced: boolean
}

/** The list of applied migrations: the restore runs the migrations, which write it. */
const NOT_COPIED = ['schema_migrations']

/** A table comes after all tables that it refers to. */
export async function backupTables(db: Db): Promise<BackupTable[]> {
  const { rows } = await db.query<BackupTable & { parents: string[] }>(
    `select c.relname as name, c.relforcerowsecurity as forced,
            array(select a.attname::text from pg_attribute a
                   where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
                   order by a.attnum) as columns,
            array(select distinct p.relname::text from pg_constraint k join pg_class p on p.oid = k.confrelid
                   where k.conrelid = c.oid and k.contype = 'f' and k.confrelid <> c.oid and not p.relispartition) as parents
       from pg_class c
      where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
        and c.relname <> all ($1)
      order by c.relname`,
    [NOT_COPIED],
  )
  const left = new Map(rows.map((row) => [row.name, row]))
  const ordered: BackupTable[] = []
  while (left.size > 0) {
    const ready = [...left.values()].filter(({ parents }) => !parents.some((parent) => left.has(parent)))
    if (ready.length === 0) throw new Error(`tables refer to each other in a circle: ${[...left.keys()].join(', ')}`)
    for (const { parents: _, ...table } of ready) {
      left.delete(table.name)
      ordered.push(table)
    }
  }
  return ordered
}

/** The first day of every month that has partitions. */
export async function backupMonths(db: Db): Promise<string[]> {
  const { rows } = await db.query<{ month: string }>(
    `select to_char(to_date(substring(c.relname from 'y(\\d{4}m\\d{2})$'), 'YYYY"m"MM'), 'YYYY-MM-DD') as month
       from pg_inherits i join pg_class c on c.oid = i.inhrelid
      where i.inhparent = 'distribution_jobs'::regclass order by 1`,
  )
  return rows.map(({ month }) => month)
}

/** Our sequences with the last number that each returned; null when it has returned none. */
export async function backupSequences(db: Db): Promise<{ name: string; last: string | null }[]> {
  const { rows } = await db.query<{ name: string; last: string | null }>(
    `select sequencename as name, last_value::text as last from pg_sequences where schemaname = 'public' order by 1`,
  )
  return rows
}

export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}
