// What looks across tenants, called by the application's login without any tenant.
import { createHash } from 'node:crypto'
import pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createPool, type Pool } from '../../db/pool.ts'
import { createSealer } from '../../db/secrets.ts'
import { missingSealingKeys } from '../../db/upkeep/sealed-keys.ts'
import { onEachPostgres } from '../support/postgres-versions.ts'
import { aDelivery, aJob, aTenant } from '../support/rows.ts'

const sha256 = (text: string) => createHash('sha256').update(text).digest()
const secondsAgo = (seconds: number) => new Date(Date.now() - seconds * 1000)

onEachPostgres((database) => {
  let pool: Pool
  let owner: pg.Client

  beforeAll(async () => {
    pool = createPool({ connectionString: database().url, max: 2, application_name: 'test' })
    owner = new pg.Client({ connectionString: database().adminUrl })
    await owner.connect()
    for (const tenant of ['acme', 'globex']) await aTenant(owner, tenant)
  })
  afterAll(() => Promise.all([pool.end(), owner.end()]))
  beforeEach(() => owner.query("update distribution_jobs set status = 'completed'"))

  const ask = async (sql: string, values: unknown[] = []) => (await pool.query(sql, values)).rows

  it('finds an API key by its hash, with tenant and role, and no revoked, expired or unknown one', async () => {
    const insert = (key: string, more: { revoked_at?: Date; expires_at?: Date } = {}) =>
      owner.query(
        `insert into api_keys (tenant_id, name, key_sha256, prefix, role, revoked_at, expires_at)
         values ('globex', $1, $2, 'x', 'operator', $3, $4)`,
        [key, sha256(key), more.revoked_at ?? null, more.expires_at ?? null],
      )
    await insert('good', { expires_at: secondsAgo(-60) })
    await insert('revoked', { revoked_at: secondsAgo(1) })
    await insert('expired', { expires_at: secondsAgo(1) })
    expect(await ask('select * from find_api_key($1)', [sha256('good')])).toEqual([
      { id: expect.any(String), tenant_id: 'globex', role: 'operator', tenant_status: 'active' },
    ])
    for (const key of ['revoked', 'expired', 'unknown']) {
      expect(await ask('select * from find_api_key($1)', [sha256(key)]), key).toEqual([])
    }
    await owner.query("update tenants set status = 'suspended' where id = 'globex'")
    expect(await ask('select * from find_api_key($1)', [sha256('good')])).toMatchObject([
      { tenant_status: 'suspended' },
    ])
    await owner.query("update tenants set status = 'active' where id = 'globex'")
  })

  it('lists all tenants without their secrets', async () => {
    await owner.query("update tenants set callback_secret = 'v1.k.secret' where id = 'acme'")
    const rows = await ask('select * from list_tenants() order by id')
    expect(rows.map((row) => row.id)).toEqual(['acme', 'globex'])
    expect(JSON.stringify(rows)).not.toContain('secret')
    await owner.query("update tenants set callback_secret = null where id = 'acme'")
  })

  it('deletes old health checks and old events that were sent, and nothing else', async () => {
    const at = (days: number, kind: number) => [`${days} days`, kind]
    const id = `overlay(id_floor(now() - $1::interval)::text placing lpad($2::int::text, 12, '0') from 25)::uuid`
    const { rows } = await owner.query(
      `insert into destinations (tenant_id, name, protocol, configuration) values ('acme', 'checked', 'REST', '{}') returning id`,
    )
    for (const days of [29, 31]) {
      await owner.query(
        `insert into destination_health_checks (id, tenant_id, destination_id, health_status)
         values (${id}, 'acme', $3, 'healthy')`,
        [...at(days, 1), rows[0].id],
      )
    }
    const events: [number, string][] = [
      [89, 'success'],
      [91, 'success'],
      [92, 'pending'],
    ]
    for (const [days, status] of events) {
      await owner.query(`select make_month((now() - $1::interval)::date)`, [`${days} days`])
      await owner.query(
        `insert into webhooks (subject_id, kind, tenant_id, event_type, url, body, status, check_at)
         values (${id}, 'event', 'acme', 'destination.disabled', 'https://example.org', '{}', $3, null)`,
        [...at(days, 2), status],
      )
    }
    const left = async (table: string, id = 'id') =>
      (
        await owner.query(
          `select extract(day from now() - id_time(${id}))::int as days from ${table} where tenant_id = 'acme' order by ${id} desc`,
        )
      ).rows.map(({ days }) => days)
    await ask('select forget_limits()')
    expect(await left('destination_health_checks')).toEqual([29])
    expect(await left('webhooks', 'subject_id')).toEqual([89, 92])
  })

  describe('due_jobs', () => {
    it('gives the open jobs of all tenants whose time has come, the longest waiting first', async () => {
      const later = await aJob(owner, { tenant_id: 'acme', check_at: secondsAgo(10) })
      const first = await aJob(owner, {
        tenant_id: 'globex',
        check_at: secondsAgo(20),
        status: 'processing',
        priority: 'high',
        data_type: 'invoice',
        cancel_requested_at: new Date(),
      })
      await aJob(owner, { tenant_id: 'acme', check_at: secondsAgo(-60) })
      await aJob(owner, { tenant_id: 'acme', check_at: secondsAgo(30), status: 'failed' })
      await aJob(owner, { tenant_id: 'acme' })
      const rows = await ask('select * from due_jobs(10)')
      expect(rows).toEqual([
        {
          tenant_id: 'globex',
          distribution_id: `dist_${first}`,
          id: first,
          data_type: 'invoice',
          priority: 'high',
          status: 'processing',
          cancel_requested: true,
          round: 1,
          sweep_starts: 0,
        },
        expect.objectContaining({ tenant_id: 'acme', id: later, cancel_requested: false }),
      ])
      expect(await ask('select id from due_jobs(1)')).toEqual([{ id: first }])
    })

    it('gives every open job in pages by id, due or not', async () => {
      const ids: string[] = []
      for (let n = 0; n < 7; n++) {
        ids.push(await aJob(owner, { tenant_id: n % 2 ? 'acme' : 'globex', check_at: secondsAgo(n - 3) }))
      }
      await aJob(owner, { status: 'cancelled' })
      const found: string[] = []
      let after: string | null = null
      for (;;) {
        const page: { id: string }[] = await ask('select id from due_jobs(3, true, $1)', [after])
        if (page.length === 0) break
        found.push(...page.map((row) => row.id))
        after = page.at(-1)!.id
      }
      expect(found).toEqual(ids.sort())
    })
  })

  it('gives the pending webhooks whose time has come, the longest waiting first', async () => {
    const id = await aJob(owner, { tenant_id: 'acme', status: 'completed' })
    for (const [round, status, check_at] of [
      [1, 'pending', secondsAgo(10)],
      [2, 'pending', secondsAgo(20)],
      [3, 'pending', secondsAgo(-60)],
      [4, 'success', secondsAgo(30)],
    ]) {
      await owner.query(
        `insert into webhooks (subject_id, kind, round, tenant_id, event_type, url, body, status, check_at)
         values ($1, 'distribution', $2, 'acme', 'distribution.completed', 'https://caller.example', '{}', $3, $4)`,
        [id, round, status, check_at],
      )
    }
    expect(await ask('select * from due_webhooks(10)')).toEqual([
      { tenant_id: 'acme', kind: 'distribution', subject_id: id, round: 2 },
      { tenant_id: 'acme', kind: 'distribution', subject_id: id, round: 1 },
    ])
  })

  it('counts the open deliveries of all tenants by state, and every state even without one', async () => {
    const open = await aJob(owner, { tenant_id: 'acme' })
    const other = await aJob(owner, { tenant_id: 'globex', status: 'processing' })
    await aDelivery(owner, { distribution_job_id: open, tenant_id: 'acme', destination_name: 'a', status: 'waiting' })
    await aDelivery(owner, { distribution_job_id: open, tenant_id: 'acme', destination_name: 'b', status: 'success' })
    await aDelivery(owner, {
      distribution_job_id: other,
      tenant_id: 'globex',
      destination_name: 'a',
      status: 'waiting',
    })
    await aDelivery(owner, { distribution_job_id: other, tenant_id: 'globex', destination_name: 'b' })
    expect(await ask('select queue_name, depth from queue_depths() order by 1')).toEqual([
      { queue_name: 'pending', depth: '1' },
      { queue_name: 'processing', depth: '0' },
      // Those two have deliveries, but no plan.
      { queue_name: 'unplanned', depth: '2' },
      { queue_name: 'waiting', depth: '2' },
    ])
  })

  it('names the sealing keys that stored secrets still need', async () => {
    const keyOf = (id: string) => `${id}:${Buffer.alloc(32, id).toString('base64')}`
    const seal = (id: string) => createSealer(keyOf(id)).seal('hunter2', ['x'])
    await owner.query("insert into credentials (tenant_id, name, sealed) values ('acme', 'erp', $1)", [seal('first')])
    await owner.query("update tenants set callback_secret = $1 where id = 'globex'", [seal('second')])
    expect(await missingSealingKeys(pool, createSealer(keyOf('third')))).toEqual(['first', 'second'])
    expect(await missingSealingKeys(pool, createSealer([keyOf('third'), keyOf('first')].join(',')))).toEqual(['second'])
    expect(await missingSealingKeys(pool, createSealer([keyOf('first'), keyOf('second')].join(',')))).toEqual([])
  })
})
