// Deliveries that wait for a destination which has recovered go on soon, also when they were told to come much later.

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { nextWindow, resumeStep } from '../../activities/distribution/resume.ts'
import { circuitStates, noteFailure, resetCircuit } from '../../db/destinations/circuits.ts'
import { jobId, refOf } from '../../db/distributions/job-id.ts'
import { resumeDeliveries } from '../../db/distributions/resume.ts'
import type { DistributionRef } from '../../workflows/messages.ts'
import { register } from '../support/destinations.ts'
import { receiverPerTest } from '../support/receivers/per-test.ts'
import { createTestSystem, restTo, type TestSystem } from '../support/system.ts'

let system: TestSystem
const aReceiver = receiverPerTest()

beforeAll(async () => {
  system = await createTestSystem()
  await system.tenant('acme')
  await system.startWorkers()
})
afterAll(() => system.close())

const circuitOf = (id: string) => system.as('acme', async (db) => (await circuitStates(db, [id]))(id))

/** Opens the circuit for an hour, as if it had been tried in vain several times. */
const open = (target: string) =>
  system.as('acme', async (db) => {
    const settings = { failures: 1, open_seconds: 3600 }
    const circuit = { tenant_id: 'acme', target, delivery_id: 'x' }
    await noteFailure(db, circuit, { attempt_id: crypto.randomUUID(), counted: true, settings })
  })

const distribute = (name: string, job = {}) => system.distribute({ ...job, destinations: [{ name }] })

async function waiting(ref: DistributionRef, code = 'DESTINATION_UNAVAILABLE') {
  await expect
    .poll(async () => (await system.deliveries(ref))[0], { timeout: 10_000 })
    .toMatchObject({ status: 'waiting', error_code: code })
  return (await system.deliveries(ref))[0]!
}

const completed = async (ref: DistributionRef, timeout = 15_000) =>
  await expect.poll(async () => (await system.job(ref)).status, { timeout }).toBe('completed')

/** As a worker does it for a health check, and for `POST /destinations/{id}/test`. */
const probe = (id: string) => system.runs.probe({ tenant_id: 'acme', destination_id: id })

describe('a delivery that waits for an open circuit', () => {
  it('continues after a successful probe: one delivery first, then the others', async () => {
    const receiver = await aReceiver()
    const id = await register(system, 'recovers', receiver.url)
    await open(id)
    const refs = await Promise.all(Array.from({ length: 30 }, () => distribute('recovers')))
    for (const ref of refs) {
      const { next_attempt_at } = await waiting(ref)
      expect(next_attempt_at!.getTime()).toBeGreaterThan(Date.now() + 60_000)
    }
    expect(await probe(id)).toMatchObject({ healthy: true })
    for (const ref of refs) await completed(ref)
    expect(await circuitOf(id)).toMatchObject({ state: 'closed' })
    const tried = receiver.requests.filter(({ method }) => method === 'POST')
    expect(tried).toHaveLength(30)
    for (const ref of refs) expect(await system.attempts(ref)).toMatchObject([{ status: 'success' }])
  })

  it('keeps waiting when the probe cannot connect, and the circuit stays open', async () => {
    const receiver = await aReceiver({ status: 503 })
    const id = await register(system, 'dead', receiver.url)
    await open(id)
    const ref = await distribute('dead')
    await waiting(ref)
    expect(await probe(id)).toMatchObject({ healthy: false })
    expect(await circuitOf(id)).toMatchObject({ state: 'open' })
    expect(await system.attempts(ref)).toEqual([])
  })

  it('keeps waiting when the trial delivery fails after a successful connection', async () => {
    const receiver = await aReceiver(({ method }) => ({ status: method === 'HEAD' ? 200 : 503 }))
    const id = await register(system, 'half-well', receiver.url, {
      circuit_breaker: { failures: 1, open_seconds: 600 },
    })
    await open(id)
    const refs = await Promise.all(Array.from({ length: 5 }, () => distribute('half-well')))
    for (const ref of refs) await waiting(ref)
    await probe(id)
    await receiver.until(({ requests }) => requests.some(({ method }) => method === 'POST'))
    await expect.poll(async () => (await circuitOf(id)).state).toBe('open')
    const attempts = await Promise.all(refs.map((ref) => system.attempts(ref)))
    expect(attempts.flat()).toHaveLength(1)
  })

  it('of an inline destination continues when another delivery has closed the circuit', async () => {
    const receiver = await aReceiver()
    const target = `REST://127.0.0.1:${receiver.port}`
    await open(target)
    const refs = await Promise.all(
      Array.from({ length: 3 }, () => system.distribute({ destinations: [restTo('one', receiver.url)] })),
    )
    for (const ref of refs) await waiting(ref)
    // The hour is over; the next one that comes may try.
    await system.as('acme', (db) => db.query('update destination_circuits set open_until = clock_timestamp()'))
    await completed(await system.distribute({ destinations: [restTo('two', receiver.url)] }))
    for (const ref of refs) await completed(ref)
  })
})

describe('resuming', () => {
  it('never shortens the wait after a failure, nor one that the destination has asked for', async () => {
    const receiver = await aReceiver([{ status: 503, headers: { 'retry-after': '5' } }, {}])
    const id = await register(system, 'asks', receiver.url)
    const ref = await distribute('asks')
    const { next_attempt_at } = await waiting(ref)
    await system.as('acme', (db) => resetCircuit(db, 'acme', id))
    expect(await system.as('acme', (db) => resumeDeliveries(db, { tenant_id: 'acme', target: id }, 10))).toEqual([])
    expect((await waiting(ref)).next_attempt_at).toEqual(next_attempt_at)
    await system.runs.resume({ tenant_id: 'acme', target: id })
    await completed(ref)
    const [first, second] = receiver.requests
    expect(second!.at - first!.at).toBeGreaterThanOrEqual(5000)
    expect((await system.deliveries(ref))[0]!.attempts).toBe(2)
  })

  it('continues deliveries that waited for a disabled destination, and does not affect siblings being sent', async () => {
    const quick = await aReceiver()
    const slow = await aReceiver({ after_ms: 4000 })
    const id = await register(system, 'off', quick.url)
    await register(system, 'slow', slow.url)
    const set = (status: string) =>
      system.as('acme', (db) => db.query('update destinations set status = $2 where id = $1', [id, status]))
    await set('inactive')
    const ref = await system.distribute({ destinations: [{ name: 'off' }, { name: 'slow' }] })
    await waiting(ref, 'DESTINATION_DISABLED')
    await slow.received(1)
    // As if it had been asked for a long time already.
    await system.as('acme', (db) =>
      db.query(
        `update distribution_deliveries set next_attempt_at = clock_timestamp() + interval '1 minute'
          where destination_name = 'off'`,
      ),
    )
    await set('active')
    await system.runs.resume({ tenant_id: 'acme', target: id })
    await quick.received(1, 3000)
    await completed(ref)
    expect(slow.requests).toHaveLength(1)
    expect((await system.attempts(ref)).map(({ status }) => status)).toEqual(['success', 'success'])
  })

  it('lets what an old rate limit had put off ask the new one, once', async () => {
    const receiver = await aReceiver()
    const id = await register(system, 'narrow', receiver.url, { rate_limit: { requests: 1, per_seconds: 3600 } })
    await completed(await distribute('narrow'))
    const refs = await Promise.all(Array.from({ length: 12 }, () => distribute('narrow')))
    for (const ref of refs) await waiting(ref, 'THROTTLED')
    const change = async (limit: object | null) => {
      const { rows } = await system.as('acme', (db) =>
        db.query<{ updated_at: Date }>(
          `update destinations set rate_limit = $2, updated_at = clock_timestamp() where id = $1 returning updated_at`,
          [id, limit && JSON.stringify(limit)],
        ),
      )
      return { tenant_id: 'acme', target: id, changed_at: rows[0]!.updated_at.toISOString() }
    }
    // Lower still: they ask, and are put off again; nobody is resumed a second time.
    const ref = await change({ requests: 1, per_seconds: 86_400 })
    await system.runs.resume(ref)
    const count = async (where: string) => {
      const { rows } = await system.as('acme', (db) =>
        db.query(`select from distribution_deliveries where destination_name = 'narrow' and ${where}`),
      )
      return rows.length
    }
    await expect.poll(() => count(`resumes = 1 and deferred_by = 'rate_limit'`), { timeout: 10_000 }).toBe(12)
    expect(await system.as('acme', (db) => resumeDeliveries(db, ref, 50))).toEqual([])
    expect(receiver.requests).toHaveLength(1)
    await system.runs.resume(await change(null))
    for (const each of refs) await completed(each)
  })

  it('lets what its tenant’s rate limit had put off ask the new one, at every destination', async () => {
    const receiver = await aReceiver()
    await system.tenant('bounded')
    const limit = async (value: object | null) => {
      const { rows } = await system.as('bounded', (db) =>
        db.query<{ updated_at: Date }>(
          `update tenants set delivery_rate_limit = $1, updated_at = clock_timestamp() returning updated_at`,
          [value && JSON.stringify(value)],
        ),
      )
      return { tenant_id: 'bounded', target: null, changed_at: rows[0]!.updated_at.toISOString() }
    }
    await limit({ requests: 1, per_seconds: 3600 })
    await register(system, 'one', receiver.url, { tenant: 'bounded' })
    const destinations = [{ name: 'one' }, restTo('two', receiver.url)]
    const refs = await Promise.all([1, 2, 3].map(() => system.distribute({ tenant_id: 'bounded', destinations })))
    const put_off = async () => {
      const { rows } = await system.as('bounded', (db) =>
        db.query(`select from distribution_deliveries where deferred_by = 'rate_limit'`),
      )
      return rows.length
    }
    await expect.poll(put_off, { timeout: 10_000 }).toBe(5)
    await system.runs.resume(await limit(null))
    for (const ref of refs) await completed(ref)
    expect(receiver.requests).toHaveLength(6)
  })

  it('adapts to the pace of the deliveries: hundreds need a few steps, with at most one window in progress', async () => {
    const receiver = await aReceiver()
    const id = await register(system, 'many', receiver.url)
    await open(id)
    const refs = await Promise.all(Array.from({ length: 160 }, () => distribute('many')))
    const count = async (where: string) => {
      const { rows } = await system.as('acme', (db) =>
        db.query(`select from distribution_deliveries where destination_name = 'many' and ${where}`),
      )
      return rows.length
    }
    await expect.poll(() => count(`deferred_by = 'circuit'`), { timeout: 60_000 }).toBe(refs.length)
    await system.as('acme', (db) => resetCircuit(db, 'acme', id))
    await system.runs.resume({ tenant_id: 'acme', target: id })
    await receiver.received(refs.length, 60_000)
    const handle = system.temporal.client.workflow.getHandle(`resume/acme/${id}`)
    await handle.result()
    const { events } = await handle.fetchHistory()
    const steps = (events ?? []).filter(({ activityTaskScheduledEventAttributes: step }) => step).length
    // 10, 20, 40, 80, 10 and the last, which finds nothing, and some while none is taken up. Ten at a time would be 17 and more.
    expect(steps).toBeLessThanOrEqual(14)
  }, 120_000)

  it('doubles while they are taken up, stays while they are not, and halves when the destination fails or puts them off', () => {
    const taken = { readiness: 'ready' as const, failing: false, untaken: 0, put_off: 0 }
    expect(nextWindow(10, taken)).toBe(20)
    expect(nextWindow(400, taken)).toBe(500)
    expect(nextWindow(80, { ...taken, untaken: 60 })).toBe(80)
    expect(nextWindow(80, { ...taken, failing: true })).toBe(40)
    expect(nextWindow(80, { ...taken, put_off: 3 })).toBe(40)
    expect(nextWindow(10, { ...taken, put_off: 3 })).toBe(10)
  })

  it('waits until resumed deliveries start, but not for deliveries that were never notified', async () => {
    const receiver = await aReceiver()
    const id = await register(system, 'lame', receiver.url)
    await open(id)
    const refs = await Promise.all(Array.from({ length: 15 }, () => distribute('lame')))
    for (const ref of refs) await waiting(ref)
    await system.as('acme', (db) => resetCircuit(db, 'acme', id))
    const ref = { tenant_id: 'acme', target: id }
    // Nobody is told of these ten.
    const unheard = await system.as('acme', (db) => resumeDeliveries(db, ref, 10))
    expect(unheard).toHaveLength(10)
    expect(await resumeStep(system.deps, ref, 0)).toEqual({ more: true, window: 10 })
    expect(receiver.requests).toEqual([])
    await system.as('acme', (db) =>
      db.query(
        `update distribution_deliveries set updated_at = clock_timestamp() - interval '11 seconds' where deferred_by = 'resumed'`,
      ),
    )
    expect(await resumeStep(system.deps, ref, 0)).toEqual({ more: true, window: 10 })
    await receiver.received(5)
    for (const id of unheard) await system.runs.signalReread(refOf({ tenant_id: 'acme', id }))
    for (const each of refs) await completed(each)
  })

  it('a delivery whose signal was lost only takes longer: it rereads its row', async () => {
    const receiver = await aReceiver()
    const id = await register(system, 'unheard', receiver.url, { circuit_breaker: { failures: 1, open_seconds: 1 } })
    await system.as('acme', async (db) => {
      const circuit = { tenant_id: 'acme', target: id, delivery_id: 'x' }
      const settings = { failures: 1, open_seconds: 3 }
      await noteFailure(db, circuit, { attempt_id: crypto.randomUUID(), counted: true, settings })
    })
    const ref = await distribute('unheard')
    await waiting(ref)
    expect(await system.as('acme', (db) => resumeDeliveries(db, { tenant_id: 'acme', target: id }, 10))).toEqual([
      jobId(ref.distribution_id),
    ])
    await completed(ref)
    expect(await system.attempts(ref)).toMatchObject([{ status: 'success' }])
  })
})
