import pg from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createPool, type Db, type Pool, withoutTenant, withTenant } from '../../db/pool.ts'
import { refreshView, VIEWS } from '../../db/upkeep/views.ts'
import { onEachPostgres } from '../support/postgres-versions.ts'
import { aDestination, aJob, anAttempt, aTenant } from '../support/rows.ts'

/** Both, one after another. */
const refreshViews = async (db: Db) => {
  for (const view of VIEWS) await refreshView(db, view)
}

onEachPostgres((database) => {
  let pool: Pool
  let owner: pg.Client

  beforeAll(async () => {
    pool = createPool({ connectionString: database().url, max: 4, application_name: 'test' })
    owner = new pg.Client({ connectionString: database().adminUrl })
    await owner.connect()
    for (const tenant of ['acme', 'globex']) {
      await aTenant(owner, tenant)
      await aDestination(owner, { tenant_id: tenant })
    }
    const job = await aJob(owner, { tenant_id: 'acme' })
    const now = new Date()
    await anAttempt(owner, {
      distribution_job_id: job,
      tenant_id: 'acme',
      status: 'success',
      started_at: now,
      completed_at: now,
    })
    await aJob(owner, { tenant_id: 'globex' })
  })
  afterAll(() => Promise.all([pool.end(), owner.end()]))

  const inTenant = (tenant: string, sql: string) => withTenant(pool, tenant, async (db) => (await db.query(sql)).rows)

  it('are refreshed for all tenants by the application, which sees none of them, and show each its own', async () => {
    await withoutTenant(pool, (db) => refreshViews(db))
    for (const tenant of ['acme', 'globex']) {
      expect(await inTenant(tenant, 'select tenant_id, total_distributions from distribution_summary')).toEqual([
        { tenant_id: tenant, total_distributions: '1' },
      ])
    }
    const health = 'select tenant_id, name, total_attempts_last_24h as attempts from destination_health'
    expect(await inTenant('acme', health)).toEqual([{ tenant_id: 'acme', name: 'warehouse', attempts: '1' }])
    expect(await inTenant('globex', health)).toEqual([{ tenant_id: 'globex', name: 'warehouse', attempts: '0' }])
    expect(await inTenant('', health)).toEqual([])
  })

  it('are refreshed concurrently: a reader in an open transaction does not block it', async () => {
    const reader = new pg.Client({ connectionString: database().url })
    await reader.connect()
    try {
      await reader.query("begin; select set_config('app.tenant_id', 'acme', true)")
      await reader.query('select from distribution_summary')
      await reader.query('select from destination_health')
      await aJob(owner, { tenant_id: 'acme', data_type: 'late' })
      await withoutTenant(pool, (db) => refreshViews(db), { statementTimeoutMs: 5000 })
      await reader.query('commit')
    } finally {
      await reader.end()
    }
    expect(await inTenant('acme', "select data_type from distribution_summary where data_type = 'late'")).toHaveLength(
      1,
    )
  })

  it('may be refreshed by several callers at once', async () => {
    await Promise.all(Array.from({ length: 4 }, () => withoutTenant(pool, (db) => refreshViews(db))))
  })

  it('refuse to be read past the tenant', async () => {
    await expect(inTenant('acme', 'select from distribution_summary_mv')).rejects.toMatchObject({ code: '42501' })
    await expect(inTenant('acme', 'select from destination_health_mv')).rejects.toMatchObject({ code: '42501' })
  })

  it('leave out a destination that was deleted', async () => {
    await owner.query("update destinations set deleted_at = now() where tenant_id = 'globex'")
    await aDestination(owner, { tenant_id: 'globex', health_status: 'healthy' })
    await withoutTenant(pool, (db) => refreshViews(db))
    expect(await inTenant('globex', 'select health_status from destination_health')).toEqual([
      { health_status: 'healthy' },
    ])
  })

  it.each(VIEWS)('%s is filled plainly while it holds nothing, as after a restore', async (view) => {
    await owner.query(`refresh materialized view ${view} with no data`)
    const named = view.replace('_mv', '')
    await expect(inTenant('acme', `select from ${named}`)).rejects.toMatchObject({ code: '55000' })
    await withoutTenant(pool, (db) => refreshView(db, view))
    expect((await inTenant('acme', `select from ${named}`)).length).toBeGreaterThan(0)
    await withoutTenant(pool, (db) => refreshView(db, view))
  })

  it('by hand both are refreshed at once, whatever they hold', async () => {
    await owner.query('refresh materialized view distribution_summary_mv with no data')
    await pool.query('select refresh_views()')
    expect((await inTenant('acme', 'select from distribution_summary')).length).toBeGreaterThan(0)
  })
})
