import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { createPool, type Pool, withoutTenant, withTenant } from '../../db/pool.ts'
import { countEvent, countFailedDeliveries, notifyEventWindows } from '../../db/webhooks/event-windows.ts'
import { onEachPostgres } from '../support/postgres-versions.ts'
import { aDestination, aJob, aTenant } from '../support/rows.ts'

onEachPostgres((database) => {
  let pool: Pool
  let owner: Pool

  beforeAll(async () => {
    pool = createPool({ connectionString: database().url, max: 5, application_name: 'test' })
    owner = createPool({ connectionString: database().adminUrl, max: 2, application_name: 'test' })
    for (const tenant of ['acme', 'globex', 'silent']) await aTenant(owner, tenant)
    await owner.query("update tenants set event_url = 'https://events.example/' || id where id <> 'silent'")
  })
  afterAll(async () => {
    await pool.end()
    await owner.end()
  })
  beforeEach(async () => {
    await owner.query('delete from webhooks')
    await owner.query('delete from event_windows')
    await owner.query("update event_marks set seen_until = clock_timestamp() - interval '1 hour'")
    await owner.query("update distribution_deliveries set completed_at = '2020-01-01'")
  })

  const NOW = { gather_seconds: 0, window_seconds: 900 }
  const count = () => withoutTenant(pool, (db) => countFailedDeliveries(db))
  const tell = (times = NOW) => withoutTenant(pool, (db) => notifyEventWindows(db, 500, times))
  const events = async () =>
    (
      await owner.query(
        'select tenant_id, event_type, url as event_url, body from webhooks order by tenant_id, subject_id',
      )
    ).rows.map(({ body, ...row }) => ({ ...row, body: JSON.parse(body) }))

  /** Failed deliveries of one destination, half a minute ago. */
  async function failed(tenant_id: string, name: string, codes: string[], destination_id: string | null = null) {
    for (const code of codes) {
      const id = await aJob(owner, { tenant_id })
      await owner.query(
        `insert into distribution_deliveries (distribution_job_id, destination_name, tenant_id, protocol, position, status,
                                              error_code, destination_id, completed_at)
         values ($1, $2, $3, 'REST', 1, 'failed', $4, $5, clock_timestamp() - interval '30 seconds')`,
        [id, name, tenant_id, code, destination_id],
      )
    }
  }

  it('one event tells of all deliveries to a destination that have failed, with their codes', async () => {
    const id = await aDestination(owner, { tenant_id: 'acme', name: 'warehouse' })
    await failed('acme', 'warehouse', ['TIMEOUT', 'EXPIRED', 'TIMEOUT', 'TIMEOUT'], id)
    await failed('globex', 'x1', ['REJECTED'])
    await failed('globex', 'x2', ['REJECTED'])
    expect(await count()).toBe(6)
    expect(await tell()).toHaveLength(2)
    const told = await events()
    expect(told).toEqual([
      {
        tenant_id: 'acme',
        event_type: 'deliveries.failed',
        event_url: 'https://events.example/acme',
        body: expect.objectContaining({
          event_type: 'deliveries.failed',
          tenant_id: 'acme',
          destination: 'warehouse',
          destination_id: id,
          count: 4,
          codes: { TIMEOUT: 3, EXPIRED: 1 },
          distribution_id: expect.stringMatching(/^dist_/),
          since: expect.stringMatching(/Z$/),
          occurred_at: expect.stringMatching(/Z$/),
        }),
      },
      expect.objectContaining({
        tenant_id: 'globex',
        body: expect.objectContaining({ destination: 'ad-hoc', count: 2, codes: { REJECTED: 2 } }),
      }),
    ])
  })

  it('no failure is counted twice, and a second event waits for the end of the window', async () => {
    await failed('acme', 'a', ['TIMEOUT'])
    expect(await count()).toBe(1)
    expect(await count()).toBe(0)
    expect(await tell()).toHaveLength(1)
    expect(await tell()).toHaveLength(0)
    await owner.query("update event_marks set seen_until = clock_timestamp() - interval '1 hour'")
    expect(await count()).toBe(1)
    expect(await tell()).toHaveLength(0)
    await owner.query("update event_windows set notified_at = clock_timestamp() - interval '16 minutes'")
    expect(await tell()).toMatchObject([{ count: 1 }])
    expect(await events()).toHaveLength(2)
  })

  it('the first event waits until others that fail with it are counted', async () => {
    await failed('acme', 'a', ['TIMEOUT'])
    await count()
    expect(await tell({ gather_seconds: 60, window_seconds: 900 })).toHaveLength(0)
    await owner.query("update event_windows set first_at = first_at - interval '1 minute'")
    expect(await tell({ gather_seconds: 60, window_seconds: 900 })).toHaveLength(1)
  })

  it('a tenant without an event_url gets no event, but the failure is still returned for the log', async () => {
    await failed('silent', 'a', ['TIMEOUT'])
    await count()
    expect(await tell()).toMatchObject([{ tenant_id: 'silent', subject: '(ad-hoc)', count: 1 }])
    expect(await events()).toHaveLength(0)
  })

  it('failures counted by `countEvent` give one event, even when several callers create events at once', async () => {
    await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        withTenant(pool, 'acme', (db) => countEvent(db, 'acme', 'distributions.failed', 'MISCONFIGURED', { n })),
      ),
    )
    const told = await Promise.all([tell(), tell(), tell()])
    expect(told.flat()).toMatchObject([{ count: 20, codes: { MISCONFIGURED: 20 } }])
    expect(await events()).toHaveLength(1)
  })

  it('finds failed deliveries by an index that a delivery which succeeds never changes', async () => {
    const { rows } = await owner.query(
      `explain (costs off) select * from distribution_deliveries where failed_at > now() - interval '1 minute' and failed_at <= now()`,
    )
    expect(rows.map((row) => row['QUERY PLAN']).join('\n')).toContain('failed_at')
    const { rows: indexes } = await owner.query<{ indexdef: string }>(
      "select indexdef from pg_indexes where tablename = 'distribution_deliveries'",
    )
    // An index over the status, or with it in its predicate, makes every change of a delivery write all its indexes anew.
    for (const { indexdef } of indexes) expect(indexdef).not.toMatch(/[( ]"?status\b/)
  })
})
