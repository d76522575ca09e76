// Limits of deliveries, counted at the receiver, with two independent workers.
import type { TestWorkflowEnvironment } from '@temporalio/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createWorkerSlots } from '../../activities/delivery/worker-slots.ts'
import { startWorkers, type Workers } from '../../temporal-config/worker/worker.ts'
import type { DistributionRef } from '../../workflows/messages.ts'
import { register } from '../support/destinations.ts'
import { receiverPerTest } from '../support/receivers/per-test.ts'
import { createTestSystem, restTo, type TestSystem } from '../support/system.ts'
import { connectTemporal, NAMESPACE } from '../support/temporal.ts'
import { workflowBundle } from '../support/workflow-bundle.ts'

let system: TestSystem
let temporal: TestWorkflowEnvironment
let second: Workers
const aReceiver = receiverPerTest()

beforeAll(async () => {
  system = await createTestSystem()
  for (const tenant of ['acme', 'globex', 'bounded']) await system.tenant(tenant)
  await system.startWorkers()
  const { taskQueue, deps } = system
  // One connection takes one worker per queue.
  temporal = await connectTemporal()
  second = await startWorkers({
    connection: temporal.nativeConnection,
    namespace: NAMESPACE,
    taskQueue,
    workflows: await workflowBundle(),
    deps: { ...deps, worker: 'second', slots: createWorkerSlots() },
    shutdownGraceTime: '2 s',
  })
})
afterAll(async () => {
  await second.shutdown()
  await temporal.teardown()
  await system.close()
})

/** The most that any window of this length saw, wherever it began. */
function mostIn(windowMs: number, times: number[]): number {
  const sorted = [...times].sort((a, b) => a - b)
  let from = 0
  let most = 0
  for (const [index, time] of sorted.entries()) {
    while (time - sorted[from]! >= windowMs) from += 1
    most = Math.max(most, index - from + 1)
  }
  return most
}

/** A few at a time: a busy machine has its limits too. */
async function many(count: number, one: () => Promise<DistributionRef>): Promise<DistributionRef[]> {
  const refs: DistributionRef[] = []
  while (refs.length < count) {
    const next = Math.min(5, count - refs.length)
    refs.push(...(await Promise.all(Array.from({ length: next }, one))))
  }
  return refs
}

async function completed(refs: DistributionRef[]): Promise<void> {
  for (const ref of refs) {
    await expect.poll(async () => (await system.job(ref)).status, { timeout: 60_000 }).toBe('completed')
  }
}

async function byBothWorkers(refs: DistributionRef[]): Promise<void> {
  const { rows } = await system.as(refs[0]!.tenant_id, (db) =>
    db.query('select distinct worker from distribution_attempts where distribution_job_id = any ($1)', [
      refs.map((ref) => ref.distribution_id.slice(5)),
    ]),
  )
  expect(rows.map((row) => row.worker).sort()).toEqual(['second', 'test'])
}

describe('a rate limit', () => {
  it('allows at most the limit plus the burst in any window, across two workers', async () => {
    const receiver = await aReceiver()
    const limit = { requests: 10, per_seconds: 2, burst: 5 }
    await register(system, 'limited', receiver.url, { rate_limit: limit })
    const refs = await many(60, () => system.distribute({ max_retries: 0, destinations: [{ name: 'limited' }] }))
    await completed(refs)
    const times = receiver.requests.map(({ at }) => at)
    expect(times).toHaveLength(60)
    expect(mostIn(2000, times)).toBeLessThanOrEqual(15)
    await byBothWorkers(refs)
  })

  it('makes deliveries wait without using retries, and the wait still ends at the expiry', async () => {
    const receiver = await aReceiver()
    await register(system, 'slow-limit', receiver.url, { rate_limit: { requests: 1, per_seconds: 3600 } })
    const one = await system.distribute({ max_retries: 0, destinations: [{ name: 'slow-limit' }] })
    await completed([one])
    const two = await system.distribute({ max_retries: 0, timeout_seconds: 2, destinations: [{ name: 'slow-limit' }] })
    await expect
      .poll(async () => (await system.deliveries(two))[0])
      .toMatchObject({ status: 'waiting', attempts: 0, error_code: 'THROTTLED' })
    await expect.poll(async () => await system.job(two)).toMatchObject({ status: 'failed', error_code: 'EXPIRED' })
    expect(await system.attempts(two)).toEqual([])
    expect(receiver.requests).toHaveLength(1)
  })

  it('of a tenant applies to all its destinations, also inline ones, and to no other tenant', async () => {
    await system.as('bounded', (db) =>
      db.query(`update tenants set delivery_rate_limit = '{"requests": 5, "per_seconds": 1}'`),
    )
    const receiver = await aReceiver()
    await register(system, 'one', `${receiver.url}/bounded`, { tenant: 'bounded' })
    const destinations = () => [{ name: 'one' }, restTo('two', `${receiver.url}/bounded`)]
    const refs = await many(10, () => system.distribute({ tenant_id: 'bounded', destinations: destinations() }))
    const free = await many(10, () =>
      system.distribute({ tenant_id: 'globex', destinations: [restTo('two', `${receiver.url}/globex`)] }),
    )
    await completed([...refs, ...free])
    const times = receiver.requests.filter(({ path }) => path === '/bounded').map(({ at }) => at)
    expect(times).toHaveLength(20)
    expect(mostIn(1000, times)).toBeLessThanOrEqual(5)
    const theirs = await Promise.all(free.map((ref) => system.deliveries(ref)))
    for (const [delivery] of theirs) expect(delivery).toMatchObject({ status: 'success', attempts: 1 })
  })
})

describe('an inline destination', () => {
  it('has the limit of its tenant, however its URL is spelled', async () => {
    await system.tenant('spelling')
    await system.as('spelling', (db) =>
      db.query(`update tenants set delivery_rate_limit = '{"requests": 1, "per_seconds": 3600}'`),
    )
    const receiver = await aReceiver()
    const { port } = new URL(receiver.url)
    const urls = [
      `http:127.0.0.1:${port}/a`,
      `http:///127.0.0.1:${port}/b`,
      `http:/0x7f.1:${port}/c`,
      `${receiver.url}/d`,
    ]
    const refs = await Promise.all(
      urls.map((url) =>
        system.distribute({ tenant_id: 'spelling', timeout_seconds: 3, destinations: [restTo('one', url)] }),
      ),
    )
    for (const ref of refs) {
      await expect.poll(async () => (await system.job(ref)).status, { timeout: 20_000 }).toMatch(/completed|failed/)
    }
    expect(receiver.requests).toHaveLength(1)
    const { rows } = await system.as('spelling', (db) =>
      db.query('select distinct target from distribution_deliveries'),
    )
    expect(rows).toEqual([{ target: `REST://127.0.0.1:${port}` }])
  })

  it('has a limit also in a row that has no target, as an older worker may have written it', async () => {
    await system.tenant('older')
    await system.as('older', (db) =>
      db.query(`update tenants set delivery_rate_limit = '{"requests": 1, "per_seconds": 3600}'`),
    )
    const receiver = await aReceiver()
    const deliver_at = new Date(Date.now() + 2_000)
    const refs = await Promise.all(
      ['one', 'two'].map((name) =>
        system.distribute({
          tenant_id: 'older',
          timeout_seconds: 3,
          deliver_at,
          destinations: [restTo(name, receiver.url)],
        }),
      ),
    )
    for (const ref of refs) await expect.poll(() => system.deliveries(ref)).toHaveLength(1)
    await system.as('older', (db) => db.query('update distribution_deliveries set target = null'))
    for (const ref of refs) {
      await expect.poll(async () => (await system.job(ref)).status, { timeout: 20_000 }).toMatch(/completed|failed/)
    }
    expect(receiver.requests).toHaveLength(1)
  })
})

describe('max_concurrency', () => {
  it('is never exceeded, across two workers, and all deliveries are sent', async () => {
    let under_way = 0
    let most = 0
    const receiver = await aReceiver(async () => {
      under_way += 1
      most = Math.max(most, under_way)
      await new Promise((resolve) => setTimeout(resolve, 150))
      under_way -= 1
      return { status: 200 }
    })
    await register(system, 'narrow', receiver.url, { max_concurrency: 3 })
    const refs = await many(40, () => system.distribute({ max_retries: 0, destinations: [{ name: 'narrow' }] }))
    await completed(refs)
    expect(most).toBeLessThanOrEqual(3)
    expect(most).toBeGreaterThan(1)
    expect(receiver.requests).toHaveLength(40)
    await byBothWorkers(refs)
    const { rows } = await system.as('acme', (db) =>
      db.query('select holder from destination_slots where holder is not null'),
    )
    expect(rows).toEqual([])
  })

  it('frees the slot of a killed worker when its lease expires, and of a failed attempt at once', async () => {
    const receiver = await aReceiver([{ status: 503 }, { status: 200 }])
    const id = await register(system, 'single', receiver.url, { max_concurrency: 1 })
    await system.as('acme', (db) =>
      db.query(
        `insert into destination_slots (tenant_id, target, slot, holder, held_until)
         values ('acme', $1, 1, 'killed', clock_timestamp() + interval '1500 milliseconds')`,
        [id],
      ),
    )
    const ref = await system.distribute({ destinations: [{ name: 'single' }] })
    await expect
      .poll(async () => (await system.deliveries(ref))[0])
      .toMatchObject({ status: 'waiting', attempts: 0, error_code: 'THROTTLED' })
    await completed([ref])
    expect((await system.attempts(ref)).map(({ status }) => status)).toEqual(['retry', 'success'])
  })
})
