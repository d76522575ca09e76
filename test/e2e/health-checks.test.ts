// Destinations that are tried at intervals, by schedules that the rows can bring back.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { autoDisable } from '../../db/destinations/auto-disable.ts'
import { noteFailure } from '../../db/destinations/circuits.ts'
import { healthCheckSchedules } from '../../db/destinations/health-checks.ts'
import { type Db, withoutTenant } from '../../db/pool.ts'
import { reconcileHealthChecks, setHealthCheck } from '../../temporal-config/client/health-checks.ts'
import { HEALTH_CHECK_PREFIX } from '../../workflows/names.ts'
import { register } from '../support/destinations.ts'
import { receiverPerTest } from '../support/receivers/per-test.ts'
import { createTestSystem, type TestSystem } from '../support/system.ts'
import { NAMESPACE } from '../support/temporal.ts'

let system: TestSystem
let options: { connection: TestSystem['temporal']['connection']; namespace: string; taskQueue: string }
const aReceiver = receiverPerTest()

beforeAll(async () => {
  system = await createTestSystem()
  // A schedule's id holds the tenant's: no other test's.
  for (const tenant of ['checked-1', 'checked-2']) await system.tenant(tenant)
  await system.startWorkers()
  const { connection } = system.temporal
  options = { connection, namespace: NAMESPACE, taskQueue: system.taskQueue }
})
afterAll(async () => {
  await reconcileHealthChecks(options, [])
  await system.close()
})

const reconcile = async () =>
  reconcileHealthChecks(options, await withoutTenant(system.pool, (db) => healthCheckSchedules(db)))

/** How often the schedule of each of our destinations comes, in seconds, by destination. */
async function scheduled(): Promise<Record<string, number>> {
  const found: Record<string, number> = {}
  for await (const { scheduleId, memo, spec } of system.temporal.client.schedule.list()) {
    if (!scheduleId.startsWith(HEALTH_CHECK_PREFIX) || memo?.task_queue !== system.taskQueue) continue
    found[scheduleId.split('/')[2]!] = Number(spec?.intervals?.[0]?.every) / 1000
  }
  return found
}

async function checks(tenant: string, id: string) {
  const { rows } = await system.as(tenant, (db) =>
    db.query('select health_status, error_code from destination_health_checks where destination_id = $1 order by id', [
      id,
    ]),
  )
  return rows
}

describe('a health check', () => {
  it('tries the connection at intervals, and the destination shows the result', async () => {
    const receiver = await aReceiver()
    const id = await register(system, 'up-and-down', receiver.url, { tenant: 'checked-1' })
    const check = { tenant_id: 'checked-1', destination_id: id }
    await setHealthCheck(options, { ...check, interval_seconds: 1 })
    const shown = async () => {
      const { rows } = await system.as('checked-1', (db) =>
        db.query('select health_status, last_health_check from destinations where id = $1', [id]),
      )
      return rows[0]
    }
    await expect.poll(async () => (await checks('checked-1', id)).length, { timeout: 25_000 }).toBeGreaterThan(1)
    expect(await shown()).toMatchObject({ health_status: 'healthy', last_health_check: expect.any(Date) })
    await receiver.close()
    await expect.poll(async () => (await shown()).health_status, { timeout: 25_000 }).toBe('unhealthy')
    expect((await checks('checked-1', id)).at(-1)).toEqual({
      health_status: 'unhealthy',
      error_code: 'DESTINATION_UNAVAILABLE',
    })
    await setHealthCheck(options, { ...check, interval_seconds: null })
    // Again changes nothing.
    await setHealthCheck(options, { ...check, interval_seconds: null })
    await expect.poll(scheduled).not.toHaveProperty(id)
  })

  it('that succeeds during a failing attempt waits for it, and neither is discarded', async () => {
    const receiver = await aReceiver()
    const id = await register(system, 'both', receiver.url, { tenant: 'checked-2' })
    const failure = { counted: true, settings: { failures: 1, open_seconds: 600 } }
    const circuit = { tenant_id: 'checked-2', target: id, delivery_id: 'x' }
    const fail = (db: Db) => noteFailure(db, circuit, { ...failure, attempt_id: crypto.randomUUID() })
    await system.as('checked-2', fail)
    let probed: Promise<unknown> | undefined
    const disabled = await system.as('checked-2', async (db) => {
      const noted = await fail(db)
      probed = system.runs.probe({ tenant_id: 'checked-2', destination_id: id })
      await expect
        .poll(async () => {
          const { rows } = await system.pool.query(
            `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
          )
          return rows.length
        })
        .toBe(1)
      return await autoDisable(db, id, noted)
    })
    expect(disabled).toBe(true)
    expect(await probed).toMatchObject({ healthy: true })
    expect(await checks('checked-2', id)).toMatchObject([{ health_status: 'healthy' }])
  })

  it('of a tenant with hanging destinations leaves slots for other tenants', async () => {
    const hanging = await aReceiver({ stall: 'headers' })
    const ids: string[] = []
    for (let i = 0; i < 25; i++)
      ids.push(
        await register(system, `hangs-${i}`, hanging.url, {
          tenant: 'checked-1',
          configuration: { timeout_seconds: 8 },
        }),
      )
    const well = await aReceiver()
    const id = await register(system, 'well', well.url, { tenant: 'checked-2' })
    const probe = (tenant_id: string, destination_id: string) => system.runs.probe({ tenant_id, destination_id })
    let timedOut = 0
    const all = ids.map(async (one) => {
      const probed = await probe('checked-1', one)
      if (probed.busy_ms === undefined) timedOut += 1
      return probed
    })
    await hanging.received(5)
    expect(await probe('checked-2', id)).toMatchObject({ healthy: true })
    // It came before any of those that hang had given its place back.
    expect(timedOut).toBe(0)
    const found = await Promise.all(all)
    const tried = found.filter(({ busy_ms }) => busy_ms === undefined)
    expect(tried.length).toBeLessThanOrEqual(8)
    for (const { code } of tried) expect(code).toBe('TIMEOUT')
    // Who was not tried is not unhealthy.
    const { rows } = await system.as('checked-1', (db) =>
      db.query(`select from destinations where name like 'hangs-%' and health_status = 'unhealthy'`),
    )
    expect(rows).toHaveLength(tried.length)
  })

  it('is recreated after Temporal lost it, changes with its row, and is removed with its destination', async () => {
    const receiver = await aReceiver()
    const enabled = (interval_seconds: number) => ({ enabled: true, interval_seconds })
    const one = await register(system, 'same', receiver.url, { tenant: 'checked-1', health_check_config: enabled(600) })
    const two = await register(system, 'same', receiver.url, { tenant: 'checked-2', health_check_config: enabled(60) })
    await register(system, 'off', receiver.url, {
      tenant: 'checked-2',
      health_check_config: { enabled: false, interval_seconds: 60 },
    })
    await reconcile()
    await expect.poll(scheduled).toEqual({ [one]: 600, [two]: 60 })
    // Another process of this deployment does the same at the same time.
    await Promise.all([reconcile(), reconcile()])

    await setHealthCheck(options, { tenant_id: 'checked-1', destination_id: one, interval_seconds: null })
    await expect.poll(scheduled).toEqual({ [two]: 60 })
    await system.as('checked-2', (db) =>
      db.query('update destinations set health_check_config = $2 where id = $1', [two, JSON.stringify(enabled(120))]),
    )
    await reconcile()
    await expect.poll(scheduled).toEqual({ [one]: 600, [two]: 120 })

    await system.as('checked-1', (db) => db.query('update destinations set deleted_at = now() where id = $1', [one]))
    await reconcile()
    await expect.poll(scheduled).toEqual({ [two]: 120 })
    await system.as('checked-2', (db) => db.query(`update tenants set status = 'suspended'`))
    await reconcile()
    await expect.poll(scheduled).toEqual({})
  })
})
