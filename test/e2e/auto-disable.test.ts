// A destination that only fails is taken out of service, once, and its tenant's event_url hears of it.
import { Webhook } from 'standardwebhooks'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loadCallbackSecret } from '../../db/tenants/tenants.ts'
import type { DistributionRef } from '../../workflows/messages.ts'
import { register } from '../support/destinations.ts'
import { receiverPerTest } from '../support/receivers/per-test.ts'
import { createTestSystem, type TestSystem } from '../support/system.ts'

let system: TestSystem
const aReceiver = receiverPerTest()

beforeAll(async () => {
  system = await createTestSystem()
  await system.tenant('acme')
  await system.startWorkers()
})
afterAll(() => system.close())

const statusOf = async (id: string) => {
  const { rows } = await system.as('acme', (db) =>
    db.query('select status, status_reason from destinations where id = $1', [id]),
  )
  return rows[0]
}
const logged = (name: string) =>
  system.log.filter(({ destination, msg }) => destination === name && /^destination disabled/.test(String(msg)))
/** The failing began this long ago. */
const age = (id: string, seconds: number) =>
  system.as('acme', (db) =>
    db.query(
      `update destination_circuits set failing_since = failing_since - $2 * interval '1 second' where target = $1`,
      [id, seconds],
    ),
  )
const fail = async (name: string, times: number) => {
  for (let i = 0; i < times; i++) {
    const ref = await system.distribute({ max_retries: 0, destinations: [{ name }] })
    await expect.poll(async () => (await system.job(ref)).completed_at, { timeout: 20_000 }).not.toBeNull()
  }
}
const sweep = () =>
  system.temporal.client.workflow.execute('sweep', {
    taskQueue: system.taskQueue,
    workflowId: `sweep-${crypto.randomUUID()}`,
    args: [{ all: false }],
  })
// The circuit would keep the failures away.
const circuit_breaker = { failures: 1000, open_seconds: 60 }

describe('a destination that only fails', () => {
  it('is disabled after exactly the set number of failures, with one event; waiting deliveries are parked', async () => {
    const events = await aReceiver({ status: 200 })
    await system.as('acme', (db) => db.query('update tenants set event_url = $1', [`${events.url}/events`]))
    const receiver = await aReceiver({ status: 503 })
    const id = await register(system, 'dying', receiver.url, {
      circuit_breaker,
      auto_disable: { failures: 4, over_seconds: 600 },
    })
    // Begins to fail, and waits for its next attempt until after the end.
    const parked = await system.distribute({ max_retries: 50, destinations: [{ name: 'dying' }] })
    await expect.poll(async () => (await system.deliveries(parked))[0]?.status).toBe('waiting')
    await age(id, 3600)
    await expect.poll(async () => (await statusOf(id)).status, { timeout: 20_000 }).toBe('inactive')
    expect(receiver.requests).toHaveLength(4)
    expect((await statusOf(id)).status_reason).toMatch(/^Disabled after 4 failures in a row over 3\d\d\d s$/)
    await expect
      .poll(async () => (await system.deliveries(parked))[0])
      .toMatchObject({ status: 'waiting', attempts: 4, error_code: 'DESTINATION_DISABLED' })
    await Promise.all([sweep(), sweep()])
    const [event] = await events.received(1)
    await sweep()
    expect(events.requests).toHaveLength(1)
    const secret = await system.as('acme', (db) => loadCallbackSecret(db, system.sealer, 'acme'))
    expect(new Webhook(secret!).verify(event!.body.toString(), event!.headers as Record<string, string>)).toMatchObject(
      {
        event_type: 'destination.disabled',
        tenant_id: 'acme',
        destination_id: id,
        destination: 'dying',
        consecutive_failures: 4,
      },
    )
    const { rows } = await system.as('acme', (db) =>
      db.query(`select details from audit_log where action = 'disable' and resource_id = $1`, [id]),
    )
    expect(rows).toMatchObject([{ details: { name: 'dying', reason: 'failing', consecutive_failures: 4 } }])
    expect(logged('dying')).toMatchObject([
      { level: 40, tenant_id: 'acme', target: id, msg: 'destination disabled by its failures', response_status: 503 },
    ])
    // Enabled again, it goes on where it stopped.
    receiver.reply({ status: 200 })
    await system.as('acme', (db) => db.query(`update destinations set status = 'active' where id = $1`, [id]))
    await expect.poll(async () => (await system.job(parked)).status, { timeout: 25_000 }).toBe('completed')
  })

  it('is reported by one event when it answers 410 to several deliveries at once', async () => {
    const events = await aReceiver()
    await system.as('acme', (db) => db.query('update tenants set event_url = $1', [`${events.url}/events`]))
    const receiver = await aReceiver({ status: 410, after_ms: 300 })
    const id = await register(system, 'gone', receiver.url)
    const refs = await Promise.all(
      Array.from({ length: 5 }, () => system.distribute({ destinations: [{ name: 'gone' }] })),
    )
    await receiver.received(5)
    for (const ref of refs) await expect.poll(async () => (await system.job(ref)).status).toBe('failed')
    expect(await statusOf(id)).toEqual({ status: 'inactive', status_reason: 'The destination answered 410 Gone' })
    await Promise.all([sweep(), sweep()])
    const [event] = await events.received(1)
    await sweep()
    expect(events.requests).toHaveLength(1)
    expect(JSON.parse(event!.body.toString())).toMatchObject({
      event_type: 'destination.disabled',
      destination_id: id,
      destination: 'gone',
      reason: 'The destination answered 410 Gone',
      distribution_id: expect.stringMatching(/^dist_/),
    })
    const { rows } = await system.as('acme', (db) =>
      db.query(`select details from audit_log where action = 'disable' and resource_id = $1`, [id]),
    )
    expect(rows).toMatchObject([{ details: { name: 'gone', reason: 'gone' } }])
    expect(logged('gone')).toMatchObject([
      { level: 40, tenant_id: 'acme', target: id, msg: 'destination disabled: it answered 410 Gone' },
    ])
  })

  it('is disabled only when both the number of failures and their duration since the last success are reached', async () => {
    const receiver = await aReceiver([{ status: 503 }, { status: 503 }, { status: 200 }, { status: 503 }])
    const id = await register(system, 'rare', receiver.url, {
      circuit_breaker,
      auto_disable: { failures: 3, over_seconds: 60 },
    })
    await fail('rare', 1)
    await age(id, 7 * 86_400)
    await fail('rare', 1)
    // A week old, but two failures are not three.
    expect((await statusOf(id)).status).toBe('active')
    await fail('rare', 1)
    await fail('rare', 5)
    // Five in a row, but they are some seconds old.
    expect((await statusOf(id)).status).toBe('active')
    await age(id, 61)
    await fail('rare', 1)
    expect((await statusOf(id)).status).toBe('inactive')
  })

  it('a hanging event_url delays no delivery and no attempt row', async () => {
    const events = await aReceiver({ stall: 'headers' })
    await system.as('acme', (db) => db.query('update tenants set event_url = $1', [events.url]))
    const bad = await aReceiver({ status: 503 })
    const id = await register(system, 'dying-too', bad.url, {
      circuit_breaker,
      auto_disable: { failures: 2, over_seconds: 1 },
    })
    await fail('dying-too', 1)
    await age(id, 60)
    await fail('dying-too', 1)
    expect((await statusOf(id)).status).toBe('inactive')
    await sweep()
    await events.received(1)
    const good = await aReceiver()
    await register(system, 'well', good.url)
    const refs: DistributionRef[] = []
    for (let i = 0; i < 20; i++) refs.push(await system.distribute({ destinations: [{ name: 'well' }] }))
    for (const ref of refs) {
      await expect.poll(async () => (await system.job(ref)).status, { timeout: 20_000 }).toBe('completed')
      expect(await system.attempts(ref)).toMatchObject([{ status: 'success' }])
    }
    expect(events.connections.open).toBe(1)
  })
})
