// A suspended or inactive tenant: nothing is sent for it, and its work continues when it is active again.
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { resumeProgress } from '../../db/distributions/resume.ts'
import { updateTenant } from '../../db/tenants/tenants.ts'
import { insertEvent } from '../../db/webhooks/webhooks.ts'
import { register } from '../support/destinations.ts'
import { receiverPerTest } from '../support/receivers/per-test.ts'
import { createTestSystem, restTo, type TestSystem } from '../support/system.ts'

vi.setConfig({ testTimeout: 60_000 })

let system: TestSystem
const aReceiver = receiverPerTest()

beforeAll(async () => {
  system = await createTestSystem()
  await system.startWorkers()
})
afterAll(() => system.close())

/** Each test has a tenant of its own. */
async function aTenant(): Promise<string> {
  const id = `t-${randomUUID().slice(0, 8)}`
  await system.tenant(id)
  return id
}

/** As `PUT /tenants/{id}` does it. */
async function setStatus(tenant: string, status: 'active' | 'suspended' | 'inactive'): Promise<void> {
  await system.as(tenant, (db) => updateTenant(db, tenant, { status }))
  if (status === 'active') await system.runs.resume({ tenant_id: tenant, target: null })
}

type Ref = Awaited<ReturnType<TestSystem['distribute']>>
const delivery = async (ref: Ref) => (await system.deliveries(ref))[0]!
const held = (ref: Ref) =>
  expect
    .poll(() => delivery(ref), { timeout: 15_000 })
    .toMatchObject({ status: 'waiting', error_message: expect.stringContaining('The tenant is') })
const ended = (ref: Ref, status = 'completed') =>
  expect.poll(async () => (await system.job(ref)).status, { timeout: 20_000 }).toBe(status)

describe.each(['suspended', 'inactive'] as const)('of a tenant that is %s', (status) => {
  it('an open retry waits without an attempt, and goes on at once when the tenant is active again', async () => {
    const tenant_id = await aTenant()
    const receiver = await aReceiver({ status: 503 })
    const ref = await system.distribute({ tenant_id, max_retries: 50, destinations: [restTo('a', receiver.url)] })
    await receiver.until(({ requests }) => requests.length >= 2)
    await setStatus(tenant_id, status)
    await held(ref)
    const { attempts } = await delivery(ref)
    const requests = receiver.requests.length
    await sleep(1500)
    expect(receiver.requests).toHaveLength(requests)
    expect((await delivery(ref)).attempts).toBe(attempts)
    receiver.reply({})
    // As if it had waited for long.
    await system.as(tenant_id, (db) =>
      db.query(`update distribution_deliveries set next_attempt_at = clock_timestamp() + interval '10 minutes'`),
    )
    await setStatus(tenant_id, 'active')
    await ended(ref)
    expect((await delivery(ref)).attempts).toBe(attempts + 1)
  })

  it('a first attempt and a deliver_at wait', async () => {
    const tenant_id = await aTenant()
    const receiver = await aReceiver()
    await setStatus(tenant_id, status)
    const destinations = [restTo('a', receiver.url)]
    const refs = [
      await system.distribute({ tenant_id, destinations }),
      await system.distribute({ tenant_id, destinations, deliver_at: new Date(Date.now() + 1000) }),
    ]
    for (const ref of refs) await held(ref)
    expect(receiver.requests).toEqual([])
    await setStatus(tenant_id, 'active')
    for (const ref of refs) await ended(ref)
    expect(receiver.requests).toHaveLength(2)
  })

  it('a delivery expires when the tenant is not active again in time', async () => {
    const tenant_id = await aTenant()
    const receiver = await aReceiver()
    await setStatus(tenant_id, status)
    const ref = await system.distribute({ tenant_id, timeout_seconds: 2, destinations: [restTo('a', receiver.url)] })
    await ended(ref, 'failed')
    expect(await delivery(ref)).toMatchObject({ status: 'failed', error_code: 'EXPIRED', attempts: 0 })
    expect(receiver.requests).toEqual([])
  })

  it('an attempt in progress ends normally, and no other follows', async () => {
    const tenant_id = await aTenant()
    const receiver = await aReceiver({ after_ms: 1000 })
    const ref = await system.distribute({ tenant_id, destinations: [restTo('a', receiver.url)] })
    await receiver.until(({ requests }) => requests.length === 1)
    await setStatus(tenant_id, status)
    await ended(ref)
    expect(receiver.requests).toHaveLength(1)
  })

  it('waiting deliveries are not resumed until it is active again', async () => {
    const tenant_id = await aTenant()
    await setStatus(tenant_id, status)
    expect(await system.as(tenant_id, (db) => resumeProgress(db, tenant_id, null))).toMatchObject({ readiness: 'away' })
    await setStatus(tenant_id, 'active')
    expect(await system.as(tenant_id, (db) => resumeProgress(db, tenant_id, null))).toMatchObject({
      readiness: 'ready',
    })
  })

  it('callbacks and events wait without a try, and go out when it is active again', async () => {
    const tenant_id = await aTenant()
    const receiver = await aReceiver()
    const callbacks = await aReceiver()
    await system.as(tenant_id, (db) => updateTenant(db, tenant_id, { event_url: `${callbacks.url}/event` }))
    await setStatus(tenant_id, status)
    const ref = await system.distribute({
      tenant_id,
      timeout_seconds: 1,
      destinations: [restTo('a', receiver.url)],
      callback_url: `${callbacks.url}/callback`,
    })
    await system.as(tenant_id, (db) => insertEvent(db, tenant_id, 'destination.disabled', {}))
    const { rows } = await system.as(tenant_id, (db) =>
      db.query<{ id: string }>(`select subject_id as id from webhooks where kind = 'event'`),
    )
    await system.runs.startWebhook({ tenant_id, webhook_id: `event_${rows[0]!.id}` })
    await ended(ref, 'failed')
    await sleep(2000)
    expect(callbacks.requests).toEqual([])
    const tries = () => system.as(tenant_id, (db) => db.query('select attempts from webhooks'))
    expect((await tries()).rows).toEqual([{ attempts: 0 }, { attempts: 0 }])
    await setStatus(tenant_id, 'active')
    await expect
      .poll(() => callbacks.requests.map(({ path }) => path).sort(), { timeout: 30_000 })
      .toEqual(['/callback', '/event'])
  })

  it('a callback that has waited for a day is given up', async () => {
    const tenant_id = await aTenant()
    const callbacks = await aReceiver()
    await setStatus(tenant_id, status)
    const ref = await system.distribute({
      tenant_id,
      timeout_seconds: 1,
      destinations: [restTo('a', callbacks.url)],
      callback_url: `${callbacks.url}/callback`,
    })
    await ended(ref, 'failed')
    await system.as(tenant_id, (db) => db.query(`update webhooks set expires_at = expires_at - interval '2 days'`))
    const row = async () =>
      (await system.as(tenant_id, (db) => db.query('select status, error_message from webhooks'))).rows[0]
    await expect.poll(row, { timeout: 30_000 }).toEqual({ status: 'failed', error_message: `The tenant is ${status}` })
    expect(callbacks.requests).toEqual([])
  })

  it('no health check connects, and nothing is noted of the destination', async () => {
    const tenant_id = await aTenant()
    const receiver = await aReceiver()
    const id = await register(system, 'watched', receiver.url, { tenant: tenant_id })
    await setStatus(tenant_id, status)
    const result = await system.runs.probe({ tenant_id, destination_id: id })
    expect(result).toMatchObject({ healthy: false, code: 'DESTINATION_DISABLED', message: `The tenant is ${status}` })
    expect(receiver.requests).toEqual([])
    const { rows } = await system.as(tenant_id, (db) => db.query('select health_status from destinations'))
    expect(rows).toEqual([{ health_status: 'unknown' }])
  })
})

it('of another tenant all goes on meanwhile', async () => {
  const [suspended, active] = [await aTenant(), await aTenant()]
  const receiver = await aReceiver()
  await setStatus(suspended, 'suspended')
  const destinations = [restTo('a', receiver.url)]
  const [waits, goes] = [
    await system.distribute({ tenant_id: suspended, destinations }),
    await system.distribute({ tenant_id: active, destinations }),
  ]
  await ended(goes)
  await held(waits)
})
