// By the planner's own word: which partitions a statement reads. The statements are those of db/, caught on their way.
import pg from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { listAttempts } from '../../db/distributions/attempt-history.ts'
import { jobId } from '../../db/distributions/job-id.ts'
import { listDistributions } from '../../db/distributions/list.ts'
import { findJobState, listDeliveryStates } from '../../db/distributions/status.ts'
import { createPool, type Db, type Pool, withTenant } from '../../db/pool.ts'
import type { TestDatabase } from '../support/postgres.ts'
import { onEachPostgres } from '../support/postgres-versions.ts'
import { aDelivery, aJob, anAttempt, aTenant, idOf } from '../support/rows.ts'

onEachPostgres((database: () => TestDatabase) => {
  let pool: Pool
  let owner: pg.Client
  let id: string
  /** The month of `id`, two before the current one, as in the names of partitions. */
  let suffix: string
  let month: { from: Date; until: Date }

  beforeAll(async () => {
    pool = createPool({ connectionString: database().url, max: 2, application_name: 'test' })
    owner = new pg.Client({ connectionString: database().adminUrl })
    await owner.connect()
    await owner.query(
      'select make_month((this_month() - make_interval(months => m))::date) from generate_series(1, 6) as m',
    )
    await aTenant(owner, 'demo')
    const { rows } = await owner.query(
      `select (this_month() - interval '2 months') at time zone 'UTC' as from,
              (this_month() - interval '1 month') at time zone 'UTC' as until,
              to_char(this_month() - interval '2 months', '"y"YYYY"m"MM') as suffix`,
    )
    month = rows[0]
    suffix = rows[0].suffix
    id = await aJob(owner, { id: await idOf(owner, new Date(month.from.getTime() + 3_600_000)) })
    await aDelivery(owner, { distribution_job_id: id })
    await anAttempt(owner, { distribution_job_id: id })
    await owner.query('analyze')
  })
  afterAll(() => Promise.all([pool.end(), owner.end()]))

  /** The tables that the statements sent by `work` read, under row security. */
  async function tablesRead(work: (db: Db) => Promise<unknown>): Promise<string[]> {
    const tables = new Set<string>()
    await withTenant(pool, 'demo', async (db) => {
      const explaining = {
        query: async (text: string, values?: unknown[]) => {
          const { rows } = await db.query(`explain (analyze, format json) ${text}`, values)
          collect(rows[0]['QUERY PLAN'][0].Plan, tables)
          return db.query(text, values)
        },
      } as Db
      await work(explaining)
    })
    return [...tables].sort()
  }

  interface PlanNode {
    'Relation Name'?: string
    'Actual Loops': number
    Plans?: PlanNode[]
  }

  /** Without the partitions that were left out only while running. */
  function collect(node: PlanNode, into: Set<string>): void {
    if (node['Relation Name'] && node['Actual Loops'] > 0) into.add(node['Relation Name'])
    for (const child of node.Plans ?? []) collect(child, into)
  }

  it('finds every partition where nothing bounds the id, so that the other cases could fail', async () => {
    const read = await tablesRead((db) => db.query('select count(*) from distribution_jobs'))
    // Six months before the current one, itself, three after it.
    expect(read).toHaveLength(10)
  })

  it('an id lookup touches one partition', async () => {
    expect(await tablesRead((db) => findJobState(db, id))).toEqual([`distribution_jobs_${suffix}`])
  })

  it('a distribution_id lookup touches one partition', async () => {
    const read = await tablesRead((db) => findJobState(db, jobId(`dist_${id}`)))
    expect(read).toEqual([`distribution_jobs_${suffix}`])
    // As the stored procedure and an operator do it in SQL.
    expect(
      await tablesRead((db) =>
        db.query('select from distribution_jobs where id = substr($1, 6)::uuid', [`dist_${id}`]),
      ),
    ).toEqual([`distribution_jobs_${suffix}`])
  })

  it('the deliveries and the attempts of a job touch one partition', async () => {
    expect(await tablesRead((db) => listDeliveryStates(db, id))).toEqual([`distribution_deliveries_${suffix}`])
    expect(await tablesRead((db) => listAttempts(db, id, { after: null, limit: 50 }))).toEqual([
      `distribution_attempts_${suffix}`,
    ])
  })

  it('a month’s list touches the partitions of that month alone', async () => {
    let found = 0
    const read = await tablesRead(async (db) => {
      found = (await listDistributions(db, month, { limit: 50, offset: 0, before: null })).length
    })
    expect(found).toBe(1)
    expect(read).toEqual([`distribution_deliveries_${suffix}`, `distribution_jobs_${suffix}`])
  })

  it('a month’s list by destination looks into deliveries by the job’s id', async () => {
    const read = await tablesRead(async (db) => {
      const filter = { ...month, destination: 'warehouse' }
      expect(await listDistributions(db, filter, { limit: 50, offset: 0, before: null })).toHaveLength(1)
    })
    expect(read).toEqual([`distribution_deliveries_${suffix}`, `distribution_jobs_${suffix}`])
  })
})
