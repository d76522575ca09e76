// The stored procedures as an operator calls them with psql: a call that could never be carried out is refused, with the
// reason.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { requestRetry } from '../../db/distributions/commands.ts'
import { distributionMetrics, findJobState, listDeliveryStates } from '../../db/distributions/status.ts'
import { dueJobs } from '../../db/distributions/sweep.ts'
import { createPool, type Db, type Pool, withTenant } from '../../db/pool.ts'
import { queueCallback } from '../../db/webhooks/webhooks.ts'
import { onEachPostgres } from '../support/postgres-versions.ts'
import { aDestination, aTenant } from '../support/rows.ts'

onEachPostgres((database) => {
  let pool: Pool
  let owner: Pool

  beforeAll(async () => {
    pool = createPool({ connectionString: database().url, max: 5, application_name: 'test' })
    owner = createPool({ connectionString: database().adminUrl, max: 2, application_name: 'test' })
    await aTenant(owner, 'demo')
    await aDestination(owner, { name: 'reg' })
    await aDestination(owner, { name: 'off', status: 'inactive' })
  })
  afterAll(async () => {
    await pool.end()
    await owner.end()
  })

  const inTenant = <T>(work: (db: Db) => Promise<T>) => withTenant(pool, 'demo', work)
  const call = (destinations: unknown, more = '', values: unknown[] = []) =>
    inTenant(async (db) => {
      const { rows } = await db.query(`call submit_distribution('demo', null, 'report', '{"a": 1}', $1 ${more})`, [
        destinations === null ? null : JSON.stringify(destinations),
        ...values,
      ])
      return rows[0].p_id as string
    })
  const stored = (id: string) =>
    inTenant(async (db) => (await db.query('select * from distribution_jobs where id = $1', [id])).rows[0])

  describe('submit_distribution', () => {
    const FLAT = { name: 'inl', protocol: 'REST', endpoint: 'https://x.example/' }
    const WHOLE = {
      name: 'inl',
      protocol: 'REST',
      configuration: { endpoint: 'https://x.example/' },
      max_retries: null,
    }

    it.each([
      { form: 'a name', given: ['reg'], kept: [{ name: 'reg' }] },
      { form: 'a disabled one', given: ['off'], kept: [{ name: 'off' }] },
      { form: 'an object with a name alone', given: [{ name: 'reg' }], kept: [{ name: 'reg' }] },
      { form: 'a flat inline one', given: [FLAT], kept: [WHOLE] },
      { form: 'retries of its own', given: [{ ...FLAT, max_retries: 7 }], kept: [{ ...WHOLE, max_retries: 7 }] },
      { form: 'the stored form', given: [WHOLE], kept: [WHOLE] },
      { form: 'none', given: [], kept: [] },
      {
        form: 'several',
        given: ['reg', FLAT, { ...FLAT, name: 'b' }],
        kept: [{ name: 'reg' }, WHOLE, { ...WHOLE, name: 'b' }],
      },
    ])('takes $form, and keeps it as the API does', async ({ given, kept }) => {
      expect((await stored(await call(given))).destinations).toEqual(kept)
    })

    it.each([
      { given: {}, says: 'must be a JSON array, not object' },
      { given: 'reg', says: 'must be a JSON array, not string' },
      { given: 7, says: 'must be a JSON array, not number' },
      { given: null, says: 'must be a JSON array, not null' },
      { given: [null], says: 'destinations[0] must be the name of a registered destination or an object, not null' },
      { given: ['reg', 7], says: 'destinations[1] must be' },
      { given: [['reg']], says: 'destinations[0] must be' },
      { given: [true], says: 'destinations[0] must be' },
      { given: [{}], says: 'destinations[0].name must be' },
      { given: [{ name: 7 }], says: 'destinations[0].name must be' },
      { given: [{ name: null, protocol: 'REST' }], says: 'destinations[0].name must be' },
      { given: [''], says: 'destinations[0].name must be' },
      { given: ['a b'], says: 'destinations[0].name must be' },
      { given: ['a\n'], says: 'destinations[0].name must be' },
      { given: ['x'.repeat(101)], says: 'destinations[0].name must be' },
      { given: ['unknown'], says: 'no destination is registered as unknown' },
      { given: [{ name: 'unknown' }], says: 'no destination is registered as unknown' },
      { given: [{ name: 'x', protocol: 'FTP' }], says: 'protocol must be one of AMQP, EMAIL, JDBC, REST, S3, SFTP' },
      { given: [{ name: 'x', protocol: 'rest' }], says: 'protocol must be one of' },
      { given: [{ name: 'x', protocol: null }], says: 'protocol must be one of' },
      { given: [{ name: 'x', protocol: ['REST'] }], says: 'protocol must be one of' },
      { given: [{ name: 'x', endpoint: 'https://x/' }], says: 'destinations[0].protocol is required' },
      { given: [{ ...FLAT, max_retries: -1 }], says: 'max_retries must be' },
      { given: [{ ...FLAT, max_retries: 51 }], says: 'max_retries must be' },
      { given: [{ ...FLAT, max_retries: '3' }], says: 'max_retries must be' },
      { given: [{ ...FLAT, max_retries: 1.5 }], says: 'max_retries must be' },
      { given: [{ ...WHOLE, configuration: 'x' }], says: 'configuration must be an object' },
      { given: [{ ...WHOLE, endpoint: 'https://x/' }], says: 'configuration must be an object' },
      { given: ['reg', 'reg'], says: 'destinations[1] has the same name' },
      { given: ['reg', { ...FLAT, name: 'reg' }], says: 'destinations[1] has the same name' },
      { given: Array.from({ length: 1001 }, (_, i) => `d${i}`), says: 'at most 1000 entries, not 1001' },
      { given: Array.from({ length: 100_000 }, () => null), says: 'at most 1000 entries, not 100000' },
    ])('refuses $given with a message: $says', async ({ given, says }) => {
      await expect(call(given)).rejects.toMatchObject({ code: '22023', message: expect.stringContaining(says) })
    })

    it.each([
      { more: ", 'urgent'", says: 'priority must be one of low, normal, high, critical' },
      { more: ', p_timeout_seconds => -5', says: 'timeout_seconds must be' },
      { more: ', p_timeout_seconds => 2592001', says: 'timeout_seconds must be' },
      { more: ', p_max_retries => 51', says: 'max_retries must be' },
      { more: ', p_max_retries => -1', says: 'max_retries must be' },
      { more: ", p_callback_url => 'ftp://x'", says: 'callback_url must begin' },
      { more: ", p_callback_url => ''", says: 'callback_url must begin' },
      { more: ", p_metadata => '[]'", says: 'metadata must be a JSON object' },
      { more: ", p_metadata => 'null'", says: 'metadata must be a JSON object' },
      { more: ", p_options => '7'", says: 'options must be a JSON object' },
      { more: `, p_options => '{"compression": "zip"}'`, says: 'compression must be' },
      { more: `, p_options => '{"encryption_required": "maybe"}'`, says: 'encryption_required true or false' },
      { more: ", p_payload_bytes => '\\xff'", says: 'payload_bytes must be JSON text' },
      { more: ", p_payload_bytes => 'no json'", says: 'payload_bytes must be JSON text' },
      { more: ", p_expires_at => 'infinity'", says: 'expires_at must be a time before the year 10000' },
      { more: ", p_deliver_at => 'infinity'", says: 'deliver_at must be at most 90 days ahead' },
      { more: ", p_deliver_at => '-infinity'", says: 'deliver_at must be at most 90 days ahead' },
      { more: ", p_deliver_at => now() + interval '91 days'", says: 'deliver_at must be at most 90 days ahead' },
    ])('refuses $more with a message', async ({ more, says }) => {
      await expect(call([], more)).rejects.toMatchObject({ code: '22023', message: expect.stringContaining(says) })
    })

    it('refuses an expiry in the past with a message', async () => {
      await expect(call([], ", p_expires_at => now() - interval '1 s'")).rejects.toMatchObject({
        code: '23514',
        message: expect.stringContaining('expires_at is in the past'),
      })
    })

    it.each([
      {
        sql: `call submit_distribution(null, null, 'report', '{}', '[]')`,
        code: '42501',
        says: 'not set to the tenant',
      },
      {
        sql: `call submit_distribution('other', null, 'report', '{}', '[]')`,
        code: '42501',
        says: 'not set to the tenant',
      },
      { sql: `call submit_distribution('demo', null, null, '{}', '[]')`, code: '22023', says: 'data_type must have' },
      { sql: `call submit_distribution('demo', null, '', '{}', '[]')`, code: '22023', says: 'data_type must have' },
      {
        sql: `call submit_distribution('demo', null, repeat('x', 1000000), '{}', '[]')`,
        code: '22023',
        says: 'data_type must',
      },
      {
        sql: `call submit_distribution('demo', null, 'report', null, '[]')`,
        code: '22023',
        says: 'payload must not be null',
      },
      {
        sql: `call submit_distribution('demo', 'order-7', 'report', '{}', '[]')`,
        code: '22023',
        says: 'must be dist_',
      },
    ])('refuses $sql with a message', async ({ sql, code, says }) => {
      await expect(inTenant((db) => db.query(sql))).rejects.toMatchObject({
        code,
        message: expect.stringContaining(says),
      })
    })

    it('serves the owner, who needs no tenant set, for a tenant that exists', async () => {
      await owner.query(`call submit_distribution('demo', null, 'report', '{}', '["reg"]')`)
      await expect(owner.query(`call submit_distribution('nobody', null, 'report', '{}', '[]')`)).rejects.toMatchObject(
        {
          message: "there is no tenant 'nobody'",
        },
      )
    })
  })

  it('the sweep reads a row that was inserted without the procedure within a minute', async () => {
    const { id } = await inTenant(async (db) => {
      const { rows } = await db.query(
        `insert into distribution_jobs (id, distribution_id, tenant_id, data_type, payload, destinations, expires_at)
         select id, 'dist_' || id, 'demo', 'report', '{}', '{}', clock_timestamp() + interval '1 hour' from new_uuidv7() as id
         returning id`,
      )
      return rows[0]
    })
    const { rows } = await owner.query(
      "select check_at between clock_timestamp() and clock_timestamp() + interval '1 minute' as soon from distribution_jobs where id = $1",
      [id],
    )
    expect(rows).toEqual([{ soon: true }])
    await owner.query("update distribution_jobs set check_at = clock_timestamp() - interval '1 day' where id = $1", [
      id,
    ])
    expect((await inTenant((db) => dueJobs(db, 1, false, null))).map((job) => job.id)).toEqual([id])
    await owner.query("update distribution_jobs set status = 'failed', check_at = null where id = $1", [id])
  })

  describe('update_distribution_status by hand', () => {
    /** A distribution with one delivery in each state, and a callback. */
    async function open(): Promise<string> {
      const id = await call([], ", p_callback_url => 'https://owner.example/'")
      await inTenant(async (db) => {
        const states = ['pending', 'processing', 'waiting', 'success', 'failed', 'skipped']
        for (const [position, status] of states.entries()) {
          await db.query(
            `insert into distribution_deliveries (distribution_job_id, destination_name, tenant_id, protocol, position, status,
                attempts, next_attempt_at, response_time_ms, response_status, started_at, completed_at, error_code)
             values ($1, $2::text, 'demo', 'REST', $3::int, $2::text, $3::int, case when $2::text = 'waiting' then now() + interval '1 h' end, $3::int * 7 + 3,
                case when $3::int > 2 then 200 + $3::int end, now(), case when $3::int > 2 then now() end, case $2::text when 'failed' then 'TIMEOUT' end)`,
            [id, status, position],
          )
        }
        await db.query(
          `insert into distribution_attempts (distribution_job_id, destination_name, tenant_id, delivery_id, attempt_number, status)
           values ($1, 'processing', 'demo', new_uuidv7(), 1, 'processing')`,
          [id],
        )
        await db.query("update distribution_jobs set status = 'processing', planned_at = now() where id = $1", [id])
      })
      return id
    }
    const move = (id: string, status: string, more: (string | null)[] = []) =>
      inTenant((db) =>
        db.query(`call update_distribution_status($1, $2${more.map((_, i) => `, $${i + 3}`).join('')})`, [
          `dist_${id}`,
          status,
          ...more,
        ]),
      )
    const rows = async (id: string, sql: string) => (await inTenant((db) => db.query(sql, [id]))).rows

    it.each([
      { status: 'cancelled', ends: 'cancelled', code: 'CANCELLED', job: 'CANCELLED', event: 'distribution.cancelled' },
      { status: 'failed', ends: 'failed', code: 'UNEXPECTED', job: 'UNEXPECTED', event: 'distribution.failed' },
      { status: 'completed', ends: 'skipped', code: 'CANCELLED', job: null, event: 'distribution.completed' },
    ])(
      '$status ends what is open, queues the callback, and a retry works',
      async ({ status, ends, code, job, event }) => {
        const id = await open()
        await move(id, status)
        const deliveries = await rows(
          id,
          'select destination_name, status, error_code, next_attempt_at from distribution_deliveries where distribution_job_id = $1 order by position',
        )
        for (const was of ['pending', 'processing', 'waiting']) {
          expect(deliveries.find((one) => one.destination_name === was)).toMatchObject({
            status: ends,
            error_code: code,
            next_attempt_at: null,
          })
        }
        for (const was of ['success', 'failed', 'skipped']) {
          expect(deliveries.find((one) => one.destination_name === was)).toMatchObject({ status: was })
        }
        expect(
          await rows(id, 'select status, metadata from distribution_attempts where distribution_job_id = $1'),
        ).toEqual([{ status: 'cancelled', metadata: { outcome: 'unknown' } }])
        expect(await stored(id)).toMatchObject({ status, error_code: job, check_at: null, retry_count: 10 })
        const [callback] = await rows(
          id,
          'select event_type, url, body, status, round, check_at <= clock_timestamp() as due from webhooks where subject_id = $1',
        )
        expect(callback).toMatchObject({
          event_type: event,
          url: 'https://owner.example/',
          status: 'pending',
          round: 1,
          due: true,
        })
        // To the letter what the service would have written.
        const expected = await inTenant(async (db) => {
          const state = (await findJobState(db, id))!
          const destinations = await listDeliveryStates(db, id)
          const { distribution_id, tenant_id, completed_at } = state
          const metrics = distributionMetrics(state, destinations)
          return JSON.stringify({
            event_type: event,
            distribution_id,
            tenant_id,
            status,
            completed_at,
            destinations,
            metrics,
          })
        })
        expect(JSON.parse(callback.body)).toEqual(JSON.parse(expected))
        const retried = await inTenant((db) => requestRetry(db, id, { force: false }))
        expect(retried).toMatchObject({ outcome: 'reset', round: 2 })
        expect((retried as { destinations: string[] }).destinations.toSorted()).toEqual([
          'failed',
          'pending',
          'processing',
          'waiting',
        ])
        expect(await stored(id)).toMatchObject({ status: 'pending', cancel_requested_at: null })
      },
    )

    it('keeps the given code and message, and reports an expiry as an expiry', async () => {
      const id = await open()
      await move(id, 'failed', ['too late', 'EXPIRED'])
      expect(await stored(id)).toMatchObject({ error_code: 'EXPIRED', error_message: 'too late' })
      const [callback] = await rows(id, 'select event_type from distribution_callbacks where distribution_job_id = $1')
      expect(callback.event_type).toBe('distribution.expired')
    })

    it('before a plan was made the callback names the destinations of the submission', async () => {
      const id = await call(
        ['reg', { name: 'inl', protocol: 'S3', bucket: 'b' }],
        ", p_callback_url => 'https://owner.example/'",
      )
      await move(id, 'cancelled')
      const [{ body }] = await rows(id, 'select body from distribution_callbacks where distribution_job_id = $1')
      const destinations = await inTenant((db) => listDeliveryStates(db, id))
      expect(JSON.parse(body).destinations).toEqual(JSON.parse(JSON.stringify(destinations)))
      expect(JSON.parse(body).metrics).toEqual({
        total_latency_ms: expect.any(Number),
        average_response_time_ms: null,
        success_rate: 0,
        retry_count: 0,
      })
      expect(await inTenant((db) => requestRetry(db, id, { force: false }))).toMatchObject({ outcome: 'reset' })
    })

    it('the service itself ends a distribution as before, and its callback is written once', async () => {
      const id = await open()
      await move(id, 'cancelled', [null, 'CANCELLED', 'distributor'])
      const open_ = await rows(
        id,
        "select from distribution_deliveries where distribution_job_id = $1 and status = 'waiting'",
      )
      expect(open_).toHaveLength(1)
      await inTenant((db) => queueCallback(db, id, 'distribution.cancelled'))
      await inTenant((db) => queueCallback(db, id, 'distribution.cancelled'))
      expect(await rows(id, 'select from distribution_callbacks where distribution_job_id = $1')).toHaveLength(1)
    })

    it('a distribution whose status was changed without the procedure can still be sent again', async () => {
      const id = await open()
      await inTenant((db) =>
        db.query("update distribution_jobs set status = 'cancelled', completed_at = clock_timestamp() where id = $1", [
          id,
        ]),
      )
      expect(await inTenant((db) => requestRetry(db, id, { force: false }))).toMatchObject({ outcome: 'reset' })
      const states = await rows(
        id,
        'select status from distribution_deliveries where distribution_job_id = $1 and round = 2',
      )
      expect(states.map(({ status }) => status)).toEqual(['pending', 'pending', 'pending', 'pending'])
    })
  })
})
