import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createPool, type Db, type Pool, withTenant } from '../../db/pool.ts'
import { onEachPostgres } from '../support/postgres-versions.ts'

onEachPostgres((database) => {
  let pool: Pool

  beforeAll(async () => {
    // Less than 50, as in production: the others wait for a connection.
    pool = createPool({ connectionString: database().url, max: 10, application_name: 'test' })
    await inTenant((db) => db.query("insert into tenants (id, name) values ('demo', 'Demo')"))
  })
  afterAll(() => pool.end())

  const inTenant = <T>(work: (db: Db) => Promise<T>) => withTenant(pool, 'demo', work)

  /** Submits with named parameters beyond the required ones; returns the id. */
  async function submit(db: Db, more: Record<string, unknown> = {}): Promise<string> {
    const names = Object.keys(more)
    const { rows } = await db.query(
      `call submit_distribution(
         p_tenant_id => 'demo', p_distribution_id => ${names.includes('p_distribution_id') ? `$1` : 'null'},
         p_data_type => 'report', p_payload => '{}', p_destinations => '[]'
         ${names.map((name, at) => (name === 'p_distribution_id' ? '' : `, ${name} => $${at + 1}`)).join('')})`,
      Object.values(more),
    )
    return rows[0].p_id
  }

  async function job(id: string): Promise<Record<string, unknown>> {
    return inTenant(async (db) => (await db.query('select * from distribution_jobs where id = $1', [id])).rows[0])
  }

  describe('submit_distribution', () => {
    it('makes the id, names the distribution after it and takes created_at from it', async () => {
      const id = await inTenant((db) => submit(db))
      const row = await job(id)
      expect(row).toMatchObject({ distribution_id: `dist_${id}`, status: 'pending', timeout_seconds: 300, round: 1 })
      const created = (row.created_at as Date).getTime()
      expect(created).toBe(Number.parseInt(id.replace('-', '').slice(0, 12), 16))
      expect((row.expires_at as Date).getTime() - created).toBeGreaterThanOrEqual(300_000)
      expect((row.expires_at as Date).getTime() - created).toBeLessThan(305_000)
      expect((row.check_at as Date).getTime() - created).toBeGreaterThanOrEqual(60_000)
      expect(row.max_retries).toBeNull()
    })

    it('takes the id out of a given distribution_id, and refuses what holds none', async () => {
      const { rows } = await pool.query("select 'dist_' || new_uuidv7() as distribution_id")
      const { distribution_id } = rows[0]
      expect(await inTenant((db) => submit(db, { p_distribution_id: distribution_id }))).toBe(distribution_id.slice(5))
      for (const bad of ['order-7', 'dist_order-7', `dist_${'0'.repeat(8)}-0000-4000-8000-${'0'.repeat(12)}`]) {
        await expect(inTenant((db) => submit(db, { p_distribution_id: bad }))).rejects.toMatchObject({ code: '22023' })
      }
    })

    it('keeps the exact bytes that were accepted', async () => {
      const bytes = Buffer.from('{"b": 1.0, "a": 12345678901234567890, "a": "\\u0041"}')
      const id = await inTenant((db) => submit(db, { p_payload_bytes: bytes }))
      expect((await job(id)).payload_bytes).toEqual(bytes)
    })

    const HOUR = 3_600_000
    it.each([
      { name: 'the timeout alone', p_timeout_seconds: 60, life: 60_000 },
      { name: 'the timeout from deliver_at on', p_timeout_seconds: 60, deliver: HOUR, life: HOUR + 60_000 },
      { name: 'a deliver_at that has passed: from now on', p_timeout_seconds: 60, deliver: -HOUR, life: 60_000 },
      { name: 'expires_at alone', expires: 2 * HOUR, life: 2 * HOUR },
      { name: 'the earlier of both: expires_at', p_timeout_seconds: 7200, expires: HOUR, life: HOUR },
      { name: 'the earlier of both: the timeout', p_timeout_seconds: 60, expires: HOUR, life: 60_000 },
    ])('ends the life by $name', async ({ p_timeout_seconds, deliver, expires, life }) => {
      const now = Date.now()
      const id = await inTenant((db) =>
        submit(db, {
          ...(p_timeout_seconds === undefined ? {} : { p_timeout_seconds }),
          ...(deliver === undefined ? {} : { p_deliver_at: new Date(now + deliver) }),
          ...(expires === undefined ? {} : { p_expires_at: new Date(now + expires) }),
        }),
      )
      const end = ((await job(id)).expires_at as Date).getTime()
      expect(end - now).toBeGreaterThanOrEqual(life)
      expect(end - now).toBeLessThan(life + 10_000)
    })

    it('refuses an expiry in the past', async () => {
      await expect(inTenant((db) => submit(db, { p_expires_at: new Date(0) }))).rejects.toMatchObject({ code: '23514' })
    })

    it('is committed or rolled back with the transaction that calls it', async () => {
      let id = ''
      const call = inTenant(async (db) => {
        id = await submit(db)
        throw new Error('changed my mind')
      })
      await expect(call).rejects.toThrow('changed my mind')
      expect(await job(id)).toBeUndefined()
    })

    it('accepts 1 MB strings in every indexed field that can hold one', async () => {
      const long = 'ä'.repeat(1_000_000)
      // Hard to compress, too: an index that compresses its entries must not get away with it.
      const noise = Array.from({ length: 62_500 }, () => Math.random().toString(36).padEnd(18, '0').slice(2, 18)).join(
        '',
      )
      for (const text of [long, noise]) {
        const id = await inTenant(async (db) => {
          const { rows } = await db.query(
            `call submit_distribution(
               p_tenant_id => 'demo', p_distribution_id => null, p_data_type => 'report',
               p_payload => $1, p_destinations => $2, p_callback_url => $3, p_metadata => $1, p_options => $1)`,
            [
              JSON.stringify({ report_id: text, [text]: text, list: [text], deep: { [text]: [text] } }),
              JSON.stringify([{ name: 'inline', protocol: 'REST', endpoint: text }]),
              `https://x/${text}`,
            ],
          )
          const { p_id } = rows[0]
          await db.query('update distribution_jobs set error_message = $2 where id = $1', [p_id, text])
          await db.query(
            `insert into distribution_attempts
               (distribution_job_id, tenant_id, destination_name, attempt_number, delivery_id, response_body,
                error_message, metadata)
             values ($1, 'demo', 'x', 1, new_uuidv7(), $2, $2, $3)`,
            [p_id, text, JSON.stringify({ [text]: text })],
          )
          return p_id
        })
        const { rows } = await inTenant((db) =>
          db.query(`select id from distribution_jobs where payload ->> 'report_id' = $1 and payload ? 'report_id'`, [
            text,
          ]),
        )
        expect(rows).toEqual([{ id }])
      }
      const { rowCount } = await inTenant((db) =>
        db.query(
          `with registered as (
             insert into destinations (tenant_id, name, protocol, configuration, description)
             values ('demo', 'long', 'REST', $1, $2) returning id)
           insert into distribution_rules (tenant_id, name, rule_type, conditions, actions)
           select 'demo', 'long', 'routing', $1, $1 from registered`,
          [JSON.stringify({ [noise]: noise }), noise],
        ),
      )
      expect(rowCount).toBe(1)
    })

    it('does not index a large payload, which every change of status would index anew', async () => {
      const indexSize = async () => {
        const { rows } = await pool.query(
          `select sum(pg_relation_size(relid))::int as size from pg_partition_tree('idx_distribution_jobs_payload_gin')`,
        )
        return rows[0].size as number
      }
      const submitted = (entries: number) =>
        inTenant((db) =>
          db.query("call submit_distribution('demo', null, 'report', $1, '[]')", [
            JSON.stringify(Array.from({ length: entries }, () => ({ [Math.random()]: Math.random() }))),
          ]),
        )
      const before = await indexSize()
      await submitted(50_000)
      expect(await indexSize()).toBe(before)
      for (let small = 0; small < 20; small++) await submitted(500)
      expect(await indexSize()).toBeGreaterThan(before)
    })

    it('accepts the longest value of every bounded indexed field, in four-byte letters', async () => {
      const letters = (count: number) => '\u{1f600}'.repeat(count)
      await inTenant(async (db) => {
        await db.query('update tenants set name = $1', [letters(100)])
        const id = await submit(db, { p_request_id: letters(255) })
        await db.query('update distribution_jobs set data_type = $2, ordering_key = $3 where id = $1', [
          id,
          letters(50),
          letters(255),
        ])
        await db.query(
          `insert into idempotency_keys (tenant_id, key, request_sha256, job_id) values ('demo', $1, '\\x00', $2)`,
          [letters(255), id],
        )
        await db.query(
          `insert into distribution_deliveries (distribution_job_id, tenant_id, destination_name, protocol, position)
           values ($1, 'demo', $2, 'REST', 1)`,
          [id, letters(100)],
        )
        await db.query(
          `insert into destinations (tenant_id, name, protocol, tags) values ('demo', 'tagged', 'REST', array[$1])`,
          [letters(100)],
        )
      })
    })

    it('refuses a tag that no index could hold, by the name of the rule', async () => {
      const insert = inTenant((db) =>
        db.query(`insert into destinations (tenant_id, name, protocol, tags) values ('demo', 'x', 'REST', array[$1])`, [
          'x'.repeat(101),
        ]),
      )
      await expect(insert).rejects.toMatchObject({ constraint: 'chk_destinations_tag_length' })
    })
  })

  it('of 50 parallel transactions with one idempotency key, one creates the distribution and the others find it', async () => {
    const answers = await Promise.all(
      Array.from({ length: 50 }, () =>
        inTenant(async (db) => {
          const { rows } = await db.query(
            `insert into idempotency_keys (tenant_id, key, request_sha256, job_id)
             values ('demo', 'order-7', '\\x07', new_uuidv7())
             on conflict (tenant_id, key) do nothing returning job_id`,
          )
          if (rows.length > 0) return { id: await submit(db, { p_id: rows[0].job_id }), made: true }
          const known = await db.query("select job_id from idempotency_keys where key = 'order-7'")
          return { id: known.rows[0].job_id as string, made: false }
        }),
      ),
    )
    expect(answers.filter((answer) => answer.made)).toHaveLength(1)
    expect(new Set(answers.map((answer) => answer.id)).size).toBe(1)
    expect(await job(answers[0]!.id)).toMatchObject({ status: 'pending' })
  })

  describe('update_distribution_status', () => {
    async function move(id: string, status: string, message: string | null = null, code: string | null = null) {
      return inTenant(async (db) => {
        const { rows } = await db.query('call update_distribution_status($1, $2, $3, $4, $5)', [
          `dist_${id}`,
          status,
          message,
          code,
          'tester',
        ])
        return rows[0].p_changed as boolean
      })
    }

    async function audited(id: string): Promise<string[]> {
      const { rows } = await inTenant((db) =>
        db.query(
          `select details ->> 'new_status' as status from audit_log
           where resource_id = $1 and action = 'status_update' order by id`,
          [id],
        ),
      )
      return rows.map((row) => row.status)
    }

    it.each([
      { moves: ['processing', 'completed'], changed: [true, true], ends: 'completed' },
      { moves: ['completed'], changed: [true], ends: 'completed' },
      { moves: ['processing', 'processing'], changed: [true, false], ends: 'processing' },
      { moves: ['failed', 'failed'], changed: [true, false], ends: 'failed' },
      { moves: ['cancelled', 'cancelled'], changed: [true, false], ends: 'cancelled' },
    ])('moves forward alone: $moves ends $ends', async ({ moves, changed, ends }) => {
      const id = await inTenant((db) => submit(db))
      const results: boolean[] = []
      for (const status of moves) results.push(await move(id, status))
      expect(results).toEqual(changed)
      expect((await job(id)).status).toBe(ends)
      expect(await audited(id)).toEqual(moves.filter((_, at) => changed[at]))
    })

    it.each([
      ['processing', 'pending'],
      ['completed', 'pending'],
      ['completed', 'processing'],
      ['completed', 'failed'],
      ['completed', 'cancelled'],
      ['failed', 'completed'],
      ['failed', 'pending'],
      ['cancelled', 'processing'],
      ['cancelled', 'completed'],
    ])('refuses to move back or aside, from %s to %s', async (from, to) => {
      const id = await inTenant((db) => submit(db))
      await move(id, from)
      await expect(move(id, to)).rejects.toMatchObject({
        code: '55000',
        message: `a distribution that is ${from} cannot become ${to}`,
      })
      expect((await job(id)).status).toBe(from)
      expect(await audited(id)).toEqual([from])
    })

    it.each(['bogus', 'done', 'COMPLETED', '', null])(
      'refuses the unknown status %s and names the valid ones',
      async (status) => {
        const id = await inTenant((db) => submit(db))
        await move(id, 'processing')
        await expect(move(id, status as string)).rejects.toMatchObject({
          code: '23514',
          message: expect.stringContaining('pending, processing, completed, failed, cancelled'),
        })
      },
    )

    it('writes the times, the code and the message of the end, and takes the row off the sweep', async () => {
      const id = await inTenant((db) => submit(db))
      await move(id, 'processing')
      expect(await job(id)).toMatchObject({
        completed_at: null,
        started_at: expect.any(Date),
        check_at: expect.any(Date),
      })
      await move(id, 'failed', 'nobody answered', 'EXPIRED')
      const row = await job(id)
      expect(row).toMatchObject({ error_code: 'EXPIRED', error_message: 'nobody answered', check_at: null })
      expect((row.completed_at as Date).getTime()).toBeGreaterThanOrEqual((row.created_at as Date).getTime())
    })

    it('ends a job whose id was made by a clock ahead of this one', async () => {
      const { rows } = await pool.query(
        "select (left(id_floor(now() + interval '1 hour')::text, 13) || substr(new_uuidv7()::text, 14))::uuid as id",
      )
      const id = await inTenant((db) => submit(db, { p_id: rows[0].id, p_timeout_seconds: 7200 }))
      expect(await move(id, 'completed')).toBe(true)
      const row = await job(id)
      expect(row.completed_at).toEqual(row.created_at)
    })

    it('refuses a state that does not exist', async () => {
      const id = await inTenant((db) => submit(db))
      await expect(move(id, 'done')).rejects.toMatchObject({ code: '23514' })
    })

    it('does not find another tenant’s distribution', async () => {
      const id = await inTenant((db) => submit(db))
      const call = withTenant(pool, 'globex', (db) =>
        db.query("call update_distribution_status($1, 'cancelled')", [`dist_${id}`]),
      )
      await expect(call).rejects.toMatchObject({ code: 'P0002' })
    })

    it('of ten at once changes the row once', async () => {
      const id = await inTenant((db) => submit(db))
      const changed = await Promise.all(Array.from({ length: 10 }, () => move(id, 'completed')))
      expect(changed.filter(Boolean)).toHaveLength(1)
      expect(await audited(id)).toEqual(['completed'])
    })
  })
})
