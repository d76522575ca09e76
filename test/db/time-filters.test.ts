// Under row security a filter by time reads the time that it asks for, and not a tenant's whole history: an operator that could
// leak its arguments (`timestamptz >= timestamp`) is no index condition for a role that policies bind.
import { readFileSync } from 'node:fs'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { countDistributions, countSendable, listDistributions } from '../../db/distributions/list.ts'
import { createPool, type Db, type Pool, withTenant } from '../../db/pool.ts'
import { recentFailures } from '../../db/rules/rule-lookups.ts'
import type { TestDatabase } from '../support/postgres.ts'
import { onEachPostgres } from '../support/postgres-versions.ts'
import { aTenant } from '../support/rows.ts'

vi.setConfig({ hookTimeout: 60_000 })

const ROWS = 12_000
/** Of rows that are two minutes apart, a day has 720. */
const A_DAY = 1_500

/** The SQL blocks of the page for operators. */
const page = readFileSync(new URL('../../docs/operate-sql.md', import.meta.url), 'utf8')
const blocks = [...page.matchAll(/```sql\n([\s\S]*?)```/g)].map(([, sql]) => sql!)
const documented = (begins: string) => {
  const block = blocks.find((sql) => sql.includes(begins))
  if (!block) throw new Error(`the page has no block with ${begins}`)
  return block.trim().replace(/;$/, '').replaceAll("'acme'", "'demo'")
}

onEachPostgres((database: () => TestDatabase) => {
  let pool: Pool
  let owner: pg.Client
  let from: Date

  beforeAll(async () => {
    pool = createPool({ connectionString: database().url, max: 2, application_name: 'test' })
    owner = new pg.Client({ connectionString: database().adminUrl })
    await owner.connect()
    await aTenant(owner, 'demo')
    await owner.query("select make_month((now() - interval '1 month')::date)")
    await owner.query(
      `with made as (
         insert into distribution_jobs (id, tenant_id, distribution_id, status, data_type, payload, payload_bytes, destinations,
                                        expires_at, completed_at, planned_at)
         select id, 'demo', 'dist_' || id, case when n % 10 = 0 then 'failed' else 'completed' end, 'report', '{}', '{}', '[]',
                id_time(id) + interval '5 minutes', id_time(id) + interval '1 s', id_time(id)
           from (select n, (left(id_floor(now() - n * interval '2 minutes')::text, 13) || substr(new_uuidv7()::text, 14))::uuid as id
                   from generate_series(1, $1::int) as n) made
         returning id, status)
       insert into distribution_attempts (distribution_job_id, destination_name, tenant_id, delivery_id, attempt_number, status,
                                          started_at, completed_at)
       select id, 'warehouse', 'demo', new_uuidv7(), 1, case status when 'failed' then 'failed' else 'success' end,
              id_time(id), id_time(id) + interval '1 s'
         from made`,
      [ROWS],
    )
    await owner.query('vacuum analyze distribution_jobs')
    await owner.query('vacuum analyze distribution_attempts')
    const { rows } = await owner.query("select now() - interval '1 day' as from")
    from = rows[0].from
  })
  afterAll(() => Promise.all([pool.end(), owner.end()]))

  interface PlanNode {
    'Relation Name'?: string
    'Actual Loops': number
    'Actual Rows': number
    'Rows Removed by Filter'?: number
    'Rows Removed by Index Recheck'?: number
    Plans?: PlanNode[]
  }

  function rowsOf(node: PlanNode): number {
    const loops = node['Actual Loops']
    const own = node['Relation Name']
      ? (node['Actual Rows'] + (node['Rows Removed by Filter'] ?? 0) + (node['Rows Removed by Index Recheck'] ?? 0)) *
        loops
      : 0
    return own + (node.Plans ?? []).reduce((sum, child) => sum + rowsOf(child), 0)
  }

  /** How many rows of tables are read for the statements that `work` sends, as the tenant. */
  async function rowsRead(work: (db: Db) => Promise<unknown>): Promise<number> {
    let read = 0
    await withTenant(pool, 'demo', async (db) => {
      const explaining = {
        query: async (text: string, values?: unknown[]) => {
          const { rows } = await db.query(`explain (analyze, format json) ${text}`, values)
          read += rowsOf(rows[0]['QUERY PLAN'][0].Plan)
          return db.query(text, values)
        },
      } as Db
      await work(explaining)
    })
    return read
  }

  describe('a query that is served', () => {
    it.each<[string, (db: Db) => Promise<unknown>]>([
      ['the list of a day', (db) => listDistributions(db, { from }, { limit: 50, offset: 0, before: null })],
      ['the counts of a day', (db) => countDistributions(db, { from })],
      ['the counts of a day by status', (db) => countDistributions(db, { from, statuses: ['failed'] })],
      ['what a bulk retry of a day would send', (db) => countSendable(db, { from }, false)],
      ['the recent failures of a destination', (db) => recentFailures(db, 'demo', ['warehouse'])],
    ])('%s reads that day alone', async (_, work) => {
      expect(await rowsRead(work)).toBeLessThan(2 * A_DAY)
    })
  })

  describe('a query of the page for operators', () => {
    it('for a dashboard reads a day alone, as it is written', async () => {
      const sql = documented('as avg_duration')
      const { rows } = await withTenant(pool, 'demo', (db) => db.query(sql))
      expect(rows.length).toBeGreaterThan(20)
      expect(await rowsRead((db) => db.query(sql))).toBeLessThan(A_DAY)
    })

    it('for failed distributions reads a week of the failed ones, as it is written', async () => {
      const sql = documented('as attempt_error')
      expect(await rowsRead((db) => db.query(sql))).toBeLessThan(ROWS)
    })

    it('says rightly that without the cast it reads everything', async () => {
      const slow = documented('as avg_duration')
        .replace(/\n {2}and id >= .*/, '')
        .replace("(current_date - interval '24 hours')::timestamptz", "current_date - interval '24 hours'")
      expect(slow).not.toContain('::timestamptz')
      expect(await rowsRead((db) => db.query(slow))).toBeGreaterThan(ROWS / 2)
    })
  })
})
