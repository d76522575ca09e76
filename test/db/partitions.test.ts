import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createPool, type Db, type Pool, withTenant } from '../../db/pool.ts'
import { dropMonth, ensurePartitions, partitionsAhead } from '../../db/upkeep/partitions.ts'
import { onEachPostgres } from '../support/postgres-versions.ts'
import { aDelivery, aJob, anAttempt, aTenant, idOf } from '../support/rows.ts'

onEachPostgres((database) => {
  let pool: Pool
  let owner: pg.Client

  beforeAll(async () => {
    pool = createPool({ connectionString: database().url, max: 10, application_name: 'test' })
    owner = new pg.Client({ connectionString: database().adminUrl })
    await owner.connect()
    await aTenant(owner, 'demo')
  })
  afterAll(() => Promise.all([pool.end(), owner.end()]))

  /** The first day of the month `ago` months before the current one, `2026-01-01`. */
  async function month(ago: number): Promise<string> {
    const { rows } = await owner.query('select (this_month() - make_interval(months => $1))::date::text as month', [
      ago,
    ])
    return rows[0].month
  }

  async function tablesOf(day: string): Promise<number> {
    const { rows } = await owner.query(
      `select count(*)::int as n from pg_class where relname like '%' || to_char($1::date, '"_y"YYYY"m"MM') and relkind = 'r'`,
      [day],
    )
    return rows[0].n
  }

  /** A job of that month with a row in every table that hangs on it, and an idempotency key. */
  async function aWholeJob(day: string, status: string): Promise<string> {
    const made = new Date(`${day}T12:00:00Z`)
    const id = await aJob(owner, {
      id: await idOf(owner, made),
      status,
      completed_at: status === 'pending' ? null : made,
    })
    await aDelivery(owner, { distribution_job_id: id })
    const attempt_id = await anAttempt(owner, { distribution_job_id: id })
    await owner.query(
      `insert into attempt_logs (distribution_job_id, attempt_id, tenant_id, message) values ($1, $2, 'demo', 'hello')`,
      [id, attempt_id],
    )
    await owner.query(
      `insert into webhooks (tenant_id, kind, subject_id, event_type, url, body)
       values ('demo', 'distribution', $1, 'distribution.completed', 'https://caller.example', '{}')`,
      [id],
    )
    await owner.query(
      `insert into idempotency_keys (tenant_id, key, request_sha256, job_id) values ('demo', $1::text, '\\x00', $1::uuid)`,
      [id],
    )
    return id
  }

  /** What a submission and its first attempt insert; fails where it would wait for a lock for more than 1 s. */
  async function insertImpatiently(db: Db): Promise<void> {
    await db.query("set local lock_timeout = '1s'")
    const { rows } = await db.query("call submit_distribution('demo', null, 'report', '{}', '[]')")
    await db.query(
      `insert into distribution_deliveries (distribution_job_id, tenant_id, destination_name, protocol, position)
       values ($1, 'demo', 'warehouse', 'REST', 1)`,
      [rows[0].p_id],
    )
    await db.query(
      `insert into distribution_attempts (distribution_job_id, tenant_id, destination_name, attempt_number, delivery_id)
       values ($1, 'demo', 'warehouse', 1, new_uuidv7())`,
      [rows[0].p_id],
    )
  }

  async function keyExists(id: string): Promise<boolean> {
    return (await owner.query('select from idempotency_keys where job_id = $1', [id])).rowCount === 1
  }

  describe('months ahead', () => {
    it('exist after the migration, three of them, and are counted', async () => {
      expect(await partitionsAhead(pool)).toBe(3)
      expect(await ensurePartitions(pool)).toBe(0)
    })

    it('are created once by the application, which owns no table, even when several callers ask at once', async () => {
      const made = await Promise.all(Array.from({ length: 8 }, () => ensurePartitions(pool, 6)))
      expect(made.reduce((sum, months) => sum + months, 0)).toBe(3)
      expect(await partitionsAhead(pool)).toBe(6)
      const { rows } = await owner.query(
        `select distinct pg_get_userbyid(relowner) as owner from pg_class where relispartition and relkind = 'r'`,
      )
      expect(rows).toEqual([{ owner: 'test_owner' }])
    })

    it('are counted up to the first gap', async () => {
      const gap = await month(-5)
      await owner.query('begin')
      await owner.query(
        `drop table ${(await owner.query("select month_partition('attempt_logs', $1) as t", [gap])).rows[0].t}`,
      )
      expect(await partitionsAhead(owner)).toBe(4)
      await owner.query('rollback')
    })

    it('hold the ids of their month in UTC, to the millisecond', async () => {
      const [first, second] = [await month(0), await month(-1)]
      const last = new Date(new Date(`${second}T00:00:00Z`).getTime() - 1)
      const of = async (time: Date) => {
        const id = await aJob(owner, { id: await idOf(owner, time) })
        const { rows } = await owner.query(
          'select tableoid::regclass::text as name from distribution_jobs where id = $1',
          [id],
        )
        return rows[0].name
      }
      const name = (day: string) => `distribution_jobs_y${day.slice(0, 4)}m${day.slice(5, 7)}`
      expect(await of(new Date(`${first}T00:00:00Z`))).toBe(name(first))
      expect(await of(last)).toBe(name(first))
      expect(await of(new Date(`${second}T00:00:00Z`))).toBe(name(second))
    })

    it('without one, an insert fails instead of landing in a default partition', async () => {
      await expect(aJob(owner, { id: await idOf(owner, new Date('2020-05-05')) })).rejects.toMatchObject({
        code: '23514',
      })
    })
  })

  describe('a month that leaves', () => {
    it('goes whole: five tables, and the idempotency keys of its jobs', async () => {
      const [leaving, staying] = [await month(8), await month(7)]
      await owner.query('select make_month($1), make_month($2)', [leaving, staying])
      const gone = await aWholeJob(leaving, 'completed')
      const kept = await aWholeJob(staying, 'completed')
      expect(await tablesOf(leaving)).toBe(5)
      expect(await dropMonth(pool, leaving)).toBe(true)
      expect(await tablesOf(leaving)).toBe(0)
      expect(await keyExists(gone)).toBe(false)
      expect(await keyExists(kept)).toBe(true)
      for (const table of [
        'distribution_deliveries',
        'distribution_attempts',
        'attempt_logs',
        'distribution_callbacks',
      ]) {
        expect((await owner.query(`select from ${table} where distribution_job_id = $1`, [kept])).rowCount).toBe(1)
      }
      expect(await dropMonth(pool, leaving)).toBe(false)
    })

    it('takes its batches along, except those with something left to do', async () => {
      const [leaving, staying] = [await month(8), await month(7)]
      await owner.query('select make_month($1), make_month($2)', [leaving, staying])
      const job = await aWholeJob(staying, 'completed')
      const made: string[] = []
      for (const [day, check_at] of [
        [leaving, null],
        [leaving, 'now'],
        [staying, null],
      ]) {
        const { rows } = await owner.query(
          `with b as (insert into batches (id, tenant_id, kind, check_at) values ($1, 'demo', 'retry', $2) returning id)
           insert into batch_items (batch_id, position, tenant_id, distribution_job_id) select id, 1, 'demo', $3 from b
           returning batch_id`,
          [await idOf(owner, new Date(`${day}T12:00:00Z`)), check_at, job],
        )
        made.push(rows[0].batch_id)
      }
      expect(await dropMonth(pool, leaving)).toBe(true)
      for (const [table, column] of [
        ['batches', 'id'],
        ['batch_items', 'batch_id'],
      ]) {
        const { rows } = await owner.query(`select ${column} as id from ${table} where ${column} = any ($1)`, [made])
        expect(rows.map(({ id }) => id).sort()).toEqual(made.slice(1).sort())
      }
    })

    it('stays while a distribution of it is open, with all its keys', async () => {
      const day = await month(9)
      await owner.query('select make_month($1)', [day])
      const id = await aWholeJob(day, 'pending')
      await expect(dropMonth(pool, day)).rejects.toMatchObject({ code: '55006' })
      expect(await tablesOf(day)).toBe(5)
      expect(await keyExists(id)).toBe(true)
      await owner.query("update distribution_jobs set status = 'failed' where id = $1", [id])
      expect(await dropMonth(pool, day)).toBe(true)
    })

    it.each([0, -1])('is over: month %i before the current one is refused', async (ago) => {
      await expect(dropMonth(pool, await month(ago))).rejects.toMatchObject({ code: '55006' })
    })

    it('can be made again', async () => {
      const day = await month(8)
      await owner.query('select make_month($1)', [day])
      await aWholeJob(day, 'completed')
      expect(await dropMonth(pool, day)).toBe(true)
    })

    it('is dropped while inserts continue, and no insert waits over 1 s', async () => {
      const months = [await month(6), await month(5), await month(4)]
      for (const day of months) {
        await owner.query('select make_month($1)', [day])
        await aWholeJob(day, 'completed')
      }
      let dropping = true
      let inserted = 0
      const inserters = Array.from({ length: 4 }, async () => {
        while (dropping || inserted < 20) {
          await withTenant(pool, 'demo', insertImpatiently)
          inserted++
        }
      })
      for (const day of months) expect(await dropMonth(pool, day)).toBe(true)
      dropping = false
      await Promise.all(inserters)
      expect(inserted).toBeGreaterThanOrEqual(20)
    })

    it('waits for a transaction that is in the way without making others wait for long', async () => {
      const day = await month(3)
      await owner.query('select make_month($1)', [day])
      const slow = new pg.Client({ connectionString: database().url })
      await slow.connect()
      try {
        await slow.query("begin; select set_config('app.tenant_id', 'demo', true)")
        await slow.query("call submit_distribution('demo', null, 'report', '{}', '[]')")
        let dropped = false
        const drop = dropMonth(pool, day).then((result) => {
          dropped = true
          return result
        })
        for (let insert = 0; insert < 20; insert++) await withTenant(pool, 'demo', insertImpatiently)
        expect(dropped).toBe(false)
        await slow.query('commit')
        expect(await drop).toBe(true)
      } finally {
        await slow.end()
      }
    })
  })
})
