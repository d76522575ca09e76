// What the order under a key costs: the same with two thousand behind it as with two, and nothing where there is no key.
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { dueTurns, findAhead, findNext, holdDelivery } from '../../db/distributions/ordering.ts'
import { createPool, type Db, type Pool, withoutTenant, withTenant } from '../../db/pool.ts'
import { onEachPostgres } from '../support/postgres-versions.ts'
import { aDelivery, aJob, aTenant } from '../support/rows.ts'

const HELD = 2000
const KEY = { tenant_id: 'demo', destination: 'warehouse', ordering_key: 'long' }

onEachPostgres((database) => {
  let pool: Pool
  let owner: pg.Client
  let ids: string[]
  const as = <T>(work: (db: Db) => Promise<T>) => withTenant(pool, 'demo', work)

  beforeAll(async () => {
    pool = createPool({ connectionString: database().url, max: 2, application_name: 'test' })
    owner = new pg.Client({ connectionString: database().adminUrl })
    await owner.connect()
    await aTenant(owner, 'demo')
    ids = await keyed('long', HELD)
  })
  afterAll(() => Promise.all([pool.end(), owner.end()]))

  /** So many distributions of one key, all but the first of which are held. */
  async function keyed(key: string, count: number): Promise<string[]> {
    const { rows } = await owner.query<{ id: string }>(
      `with j as (
         insert into distribution_jobs (id, tenant_id, distribution_id, status, data_type, payload, destinations, expires_at,
                                        planned_at, ordering_key, ordering_seq)
         select i.id, 'demo', 'dist_' || i.id, 'processing', 'report', '{}', '[]', now() + interval '1 day', now(), $1, i.n
           from (select new_uuidv7() as id, n from generate_series(1, $2::int) as n) i
         returning id, ordering_key, ordering_seq)
       insert into distribution_deliveries (distribution_job_id, destination_name, tenant_id, protocol, position, status,
                                            updated_at, ordering_key, ordering_seq)
       select id, 'warehouse', 'demo', 'REST', 0, case ordering_seq when 1 then 'pending' else 'waiting' end,
              now() - interval '1 minute', ordering_key, ordering_seq
         from j
       returning distribution_job_id as id`,
      [key, count],
    )
    await owner.query('analyze distribution_deliveries')
    return rows.map(({ id }) => id)
  }

  /** How many delivery rows `work` has read. */
  async function readBy(work: (db: Db) => Promise<unknown>): Promise<number> {
    return await as(async (db) => {
      await work(db)
      const { rows } = await db.query<{ n: number }>(
        `select sum(seq_tup_read + idx_tup_fetch)::int as n from pg_stat_xact_user_tables
          where relname like 'distribution_deliveries%'`,
      )
      return rows[0]!.n
    })
  }

  it('the first delivery of a long key may go without reading the deliveries behind it', async () => {
    expect(await as((db) => findAhead(db, { ...KEY, ordering_seq: '1' }))).toBeNull()
    expect(await readBy((db) => findAhead(db, { ...KEY, ordering_seq: '1' }))).toBeLessThan(20)
    expect(await readBy((db) => findAhead(db, { ...KEY, ordering_seq: String(HELD) }))).toBeLessThan(20)
  })

  it('a delivery that must wait learns it at once, also while another one of the key is being opened', async () => {
    await as(async (db) => {
      expect(await findAhead(db, { ...KEY, ordering_seq: '1' })).toBeNull()
      const behind = as((other) => findAhead(other, { ...KEY, ordering_seq: '2' }))
      expect(await Promise.race([behind, sleep(5000, 'waits for the lock')])).toMatchObject({
        distribution_id: `dist_${ids[0]}`,
      })
    })
  })

  it('a distribution that ends notifies one waiting distribution, and reads few rows', async () => {
    const next = { id: ids[1], destinations: ['warehouse'] }
    const ended = (db: Db) =>
      db.query(`update distribution_deliveries set status = 'success' where distribution_job_id = $1`, [ids[0]])
    await as(async (db) => {
      await ended(db)
      expect(await findNext(db, 'demo', ids[0]!, 'warehouse')).toEqual([next])
      expect(await findNext(db, 'demo', ids[0]!, null)).toEqual([next])
      await db.query(`update distribution_deliveries set status = 'pending' where distribution_job_id = $1`, [ids[0]])
    })
    expect(await readBy((db) => findNext(db, 'demo', ids[0]!, 'warehouse'))).toBeLessThan(20)
    expect(await readBy((db) => findNext(db, 'demo', ids[0]!, null))).toBeLessThan(20)
  })

  it('the sweep finds, for each key, the delivery that may go next', async () => {
    const due = (limit: number, after: Awaited<ReturnType<typeof dueTurns>>[number] | null = null) =>
      withoutTenant(pool, (db) => dueTurns(db, limit, after))
    expect(await due(10)).toEqual([])
    const others = [await keyed('other', 3), await keyed('third', 3)]
    for (const [first] of others) {
      await owner.query(`update distribution_deliveries set status = 'failed' where distribution_job_id = $1`, [first])
    }
    const [one] = await due(1)
    expect(one).toMatchObject({ ordering_key: 'other', distribution_job_id: others[0]![1] })
    expect(await due(10, one!)).toMatchObject([{ ordering_key: 'third', distribution_job_id: others[1]![1] }])
    // One that has reread its row just now will be notified soon.
    await as((db) => holdDelivery(db, others[0]![1]!, 'warehouse', 'waits'))
    expect((await due(10)).map(({ ordering_key }) => ordering_key)).toEqual(['third'])
    // A failure that blocks stands in the way, and so does an earlier one without a plan, and a later one in flight.
    const [failed, , last] = others[1]!
    const and = (sql: string) => owner.query(sql, [failed])
    await and('update distribution_deliveries set ordering_blocks = true where distribution_job_id = $1')
    expect(await due(10)).toEqual([])
    await and('update distribution_deliveries set ordering_blocks = false where distribution_job_id = $1')
    await and('update distribution_jobs set planned_at = null where id = $1')
    expect(await due(10)).toEqual([])
    await and('update distribution_jobs set planned_at = now() where id = $1')
    await owner.query(`update distribution_deliveries set status = 'processing' where distribution_job_id = $1`, [last])
    expect(await due(10)).toEqual([])
  })

  it('a delivery without a key changes no indexed column', async () => {
    const updates = async () => {
      await owner.query('select pg_stat_force_next_flush()')
      const { rows } = await owner.query<{ all: number; hot: number }>(
        `select sum(n_tup_upd)::int as all, sum(n_tup_hot_upd)::int as hot from pg_stat_user_tables
          where relname like 'distribution_deliveries%'`,
      )
      return rows[0]!
    }
    const before = await updates()
    for (let i = 0; i < 10; i += 1) {
      const id = await aJob(owner, { status: 'processing' })
      await aDelivery(owner, { distribution_job_id: id })
      for (const change of [`'processing', attempts = 1`, `'waiting', next_attempt_at = now()`, `'success'`]) {
        await owner.query(`update distribution_deliveries set status = ${change} where distribution_job_id = $1`, [id])
      }
    }
    await expect.poll(async () => (await updates()).all - before.all).toBe(30)
    // A page that is full takes a few to another one.
    expect((await updates()).hot - before.hot).toBeGreaterThanOrEqual(24)
  })
})
