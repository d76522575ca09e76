// Writes rows to PostgreSQL: a batch in one statement, or in several if the server's limits or equal keys require it.
import type postgres from 'postgres'
import type { JdbcConfig } from '../config.ts'
import { refused, verdicts } from '../failure.ts'
import { quoted } from '../identifiers.ts'
import { postgresFailure, stateOf } from './failure.ts'
import { definition, type Part, parts, type ShapedBatch } from './recordset.ts'

/** SQLSTATE: two rows of one statement have keys that are equal in the index. */
const CARDINALITY_VIOLATION = '21000'

interface Writing {
  /** Quoted. */
  table: string
  /** For messages. */
  place: string
  /** Statements to run at the beginning of a transaction. */
  settings: string
}

/** Returns the function that writes the batches of a connection; that function returns the number of rows written. */
export function writer(sql: postgres.Sql, config: JdbcConfig, { table, place, settings }: Writing) {
  function statement(batch: ShapedBatch): string {
    const names = batch.columns.map((column) => quoted(column.name)).join(', ')
    const source = `json_to_recordset($1::text::json) as row_(${batch.columns.map(definition).join(', ')})`
    return `insert into ${table} (${names}) select ${names} from ${source}${onConflict(config, batch)}`
  }

  async function write(part: Part): Promise<number> {
    const insert = sql.unsafe(statement(part), [part.recordset])
    return (await insert).count
  }

  /**
   * Keys that differ as text may be equal for the database: `7` and `"7"`, two letters in a collation, one moment with
   * two offsets. If such rows are in one statement, the database refuses it. The statement is then split in halves, so
   * that the later row replaces the earlier one.
   */
  async function overwrite(part: Part): Promise<number> {
    if (part.rows.length === 1) return write(part)
    try {
      // Sent together, without a round trip between them.
      const [, { count }] = await Promise.all([
        sql.unsafe('savepoint rows_'),
        sql.unsafe(statement(part), [part.recordset]),
      ])
      // Not awaited: if it fails, the commit fails too.
      sql.unsafe('release savepoint rows_').catch(() => {})
      return count
    } catch (error) {
      if (stateOf(error) !== CARDINALITY_VIOLATION) throw error
    }
    await sql.unsafe('rollback to savepoint rows_; release savepoint rows_')
    let written = 0
    const middle = part.rows.length >> 1
    for (const [from, to] of [
      [0, middle],
      [middle, part.rows.length],
    ]) {
      const half = { columns: part.columns, rows: part.rows.slice(from, to), first: part.first + from! }
      for (const smaller of parts(half)) written += await overwrite(smaller)
    }
    return written
  }

  return async (batch: ShapedBatch): Promise<number> => {
    let written = 0
    for (const part of parts(batch)) {
      try {
        written += await (config.mode === 'upsert' ? overwrite(part) : write(part))
      } catch (error) {
        if (!stateOf(error)?.startsWith('22')) throw postgresFailure(error, { place })
        throw await named(sql, part, { place, settings, state: stateOf(error)! })
      }
    }
    return written
  }
}

/**
 * Finds the column and the row of a value that does not fit. The server does not name them, so each column is read by
 * itself in the same way as in the statement, without writing anything.
 */
async function named(
  sql: postgres.Sql,
  batch: ShapedBatch,
  { place, settings, state }: { place: string; settings: string; state: string },
): Promise<unknown> {
  const refusal = { label: `SQLSTATE ${state}`, verdict: verdicts.value, place }
  try {
    await sql.unsafe('rollback')
    const fits = async (at: number, from: number, to: number) => {
      const column = batch.columns[at]!
      const rows = batch.rows.slice(from, to).map((row) => [row[at]])
      const text = `select count(*) from json_to_recordset($1::text::json) as row_(${definition(column)})`
      try {
        await sql.unsafe(`begin read only; ${settings}`)
        for (const part of parts({ columns: [column], rows, first: 1 })) await sql.unsafe(text, [part.recordset])
        return true
      } catch (error) {
        if (stateOf(error)?.startsWith('22')) return false
        throw error
      } finally {
        await sql.unsafe('rollback')
      }
    }
    for (const [at, column] of batch.columns.entries()) {
      if (await fits(at, 0, batch.rows.length)) continue
      let [from, to] = [0, batch.rows.length]
      while (to - from > 1) {
        const middle = (from + to) >> 1
        if (await fits(at, from, middle)) from = middle
        else to = middle
      }
      return refused({ ...refusal, column: column.name, row: batch.first + from })
    }
    return refused(refusal)
  } catch (error) {
    return postgresFailure(error, { place })
  }
}

function onConflict({ mode, key_columns }: JdbcConfig, batch: ShapedBatch): string {
  if (mode === 'insert') return ''
  const target = key_columns === undefined ? '' : ` (${key_columns.map(quoted).join(', ')})`
  const changed = batch.columns.filter(({ name }) => !key_columns?.includes(name))
  if (mode === 'ignore' || changed.length === 0) return ` on conflict${target} do nothing`
  const changes = changed.map(({ name }) => `${quoted(name)} = excluded.${quoted(name)}`)
  return ` on conflict${target} do update set ${changes.join(', ')}`
}
