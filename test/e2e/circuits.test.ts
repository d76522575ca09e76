// The circuit of a destination, over real workers: it opens, lets one delivery try, and closes.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { circuitStates } from '../../db/destinations/circuits.ts'
import { register } from '../support/destinations.ts'
import { receiverPerTest } from '../support/receivers/per-test.ts'
import { createTestSystem, restTo, type TestSystem } from '../support/system.ts'

let system: TestSystem
const aReceiver = receiverPerTest()

beforeAll(async () => {
  system = await createTestSystem()
  await system.tenant('acme')
  await system.tenant('globex')
  await system.startWorkers()
})
afterAll(() => system.close())

const circuitOf = (id: string, tenant = 'acme') => system.as(tenant, async (db) => (await circuitStates(db, [id]))(id))
const audited = async (action: string, id: string, tenant = 'acme') => {
  const { rows } = await system.as(tenant, (db) =>
    db.query('select details from audit_log where action = $1 and resource_id = $2', [action, id]),
  )
  return rows.map((row) => row.details)
}

describe('a circuit', () => {
  it('opens after so many failures in a row, lets one delivery try, and closes by its success', async () => {
    let broken = true
    const receiver = await aReceiver(() => ({ status: broken ? 503 : 200 }))
    const id = await register(system, 'flaky', receiver.url, { circuit_breaker: { failures: 3, open_seconds: 8 } })
    const first = await system.distribute({ max_retries: 10, destinations: [{ name: 'flaky' }] })
    await expect.poll(async () => (await circuitOf(id)).state).toBe('open')
    expect(receiver.requests).toHaveLength(3)
    expect(await audited('circuit.opened', id)).toEqual([
      { name: 'flaky', code: 'DESTINATION_UNAVAILABLE', failures: 3 },
    ])
    const others = await Promise.all(
      Array.from({ length: 10 }, () => system.distribute({ destinations: [{ name: 'flaky' }] })),
    )
    for (const ref of others) {
      await expect
        .poll(async () => (await system.deliveries(ref))[0])
        .toMatchObject({ status: 'waiting', attempts: 0, error_code: 'DESTINATION_UNAVAILABLE' })
    }
    expect(receiver.requests).toHaveLength(3)
    broken = false
    for (const ref of [first, ...others]) expect(await system.ended(ref)).toMatchObject({ status: 'completed' })
    expect(await circuitOf(id)).toMatchObject({ state: 'closed', consecutive_failures: 0, opened_at: null })
    expect(await audited('circuit.closed', id)).toEqual([{ name: 'flaky' }])
    const facts = { tenant_id: 'acme', destination: 'flaky', target: id }
    expect(system.log.filter(({ target, msg }) => target === id && /circuit/.test(String(msg)))).toMatchObject([
      { ...facts, level: 40, msg: 'circuit opened', code: 'DESTINATION_UNAVAILABLE', response_status: 503 },
      { ...facts, level: 30, msg: 'circuit closed' },
    ])
    expect(receiver.requests).toHaveLength(14)
  })

  it('waiting for an open circuit costs no attempt, and still obeys expiry', async () => {
    const receiver = await aReceiver({ status: 503 })
    const id = await register(system, 'dead', receiver.url, { circuit_breaker: { failures: 1, open_seconds: 60 } })
    await system.distribute({ max_retries: 0, destinations: [{ name: 'dead' }] })
    await expect.poll(async () => (await circuitOf(id)).state).toBe('open')
    const waiting = await system.distribute({ max_retries: 0, timeout_seconds: 3, destinations: [{ name: 'dead' }] })
    await expect.poll(async () => (await system.deliveries(waiting))[0]?.status).toBe('waiting')
    const [delivery] = await system.deliveries(waiting)
    expect(delivery!.next_attempt_at!.getTime()).toBeGreaterThan(Date.now() + 10_000)
    expect(await system.ended(waiting)).toMatchObject({ status: 'failed', error_code: 'EXPIRED' })
    expect(await system.attempts(waiting)).toEqual([])
    expect(receiver.requests).toHaveLength(1)
    expect(await system.metrics.registry.metrics()).toMatch(/deferrals_total\{reason="circuit"\} [1-9]/)
  })

  it('lets exactly one delivery try at a time, and opens again when that one fails', async () => {
    const open: number[] = []
    let under_way = 0
    const receiver = await aReceiver(async () => {
      under_way += 1
      open.push(under_way)
      await new Promise((resolve) => setTimeout(resolve, 700))
      under_way -= 1
      return { status: 503 }
    })
    const id = await register(system, 'slow-dead', receiver.url, { circuit_breaker: { failures: 1, open_seconds: 1 } })
    await system.distribute({ max_retries: 0, destinations: [{ name: 'slow-dead' }] })
    await expect.poll(async () => (await circuitOf(id)).state).toBe('open')
    for (let i = 0; i < 15; i++) {
      await system.distribute({ max_retries: 20, timeout_seconds: 8, destinations: [{ name: 'slow-dead' }] })
    }
    await receiver.until(({ requests }) => requests.length >= 4, 20_000)
    expect(Math.max(...open)).toBe(1)
    expect((await circuitOf(id)).state).not.toBe('closed')
    // Opened once, however often it was tried in vain.
    expect(await audited('circuit.opened', id)).toHaveLength(1)
  })

  it('does not open after rejections, because they show that the destination is reachable', async () => {
    const receiver = await aReceiver({ status: 422 })
    const id = await register(system, 'picky', receiver.url, { circuit_breaker: { failures: 1, open_seconds: 60 } })
    for (let i = 0; i < 3; i++) await system.ended(await system.distribute({ destinations: [{ name: 'picky' }] }))
    expect(receiver.requests).toHaveLength(3)
    expect(await circuitOf(id)).toMatchObject({ state: 'closed', consecutive_failures: 0 })
  })

  it('of an inline destination is identified by protocol, host and port, not by its name', async () => {
    const receiver = await aReceiver({ status: 503 })
    const ref = await system.distribute({ max_retries: 4, destinations: [restTo('one', receiver.url)] })
    expect(await system.ended(ref)).toMatchObject({ status: 'failed', error_code: 'DESTINATION_UNAVAILABLE' })
    const other = await system.distribute({ destinations: [restTo('another', `${receiver.url}/else`)] })
    await expect
      .poll(async () => (await system.deliveries(other))[0])
      .toMatchObject({ status: 'waiting', attempts: 0, error_code: 'DESTINATION_UNAVAILABLE' })
    expect(receiver.requests).toHaveLength(5)
    expect(await audited('circuit.opened', `REST://127.0.0.1:${receiver.port}`)).toHaveLength(1)
  })

  it('is separate for each tenant, even with the same destination name and server', async () => {
    const receiver = await aReceiver((request) => ({ status: request.path === '/acme' ? 503 : 200 }))
    const settings = { circuit_breaker: { failures: 2, open_seconds: 60 } }
    const acme = await register(system, 'shared-name', `${receiver.url}/acme`, settings)
    const globex = await register(system, 'shared-name', `${receiver.url}/globex`, { tenant: 'globex', ...settings })
    await system.ended(await system.distribute({ max_retries: 1, destinations: [{ name: 'shared-name' }] }))
    expect((await circuitOf(acme)).state).toBe('open')
    for (let i = 0; i < 5; i++) {
      await system.ended(
        await system.distribute({ max_retries: 0, destinations: [restTo('inline', `${receiver.url}/acme`)] }),
      )
    }
    const destinations = [{ name: 'shared-name' }, restTo('inline', `${receiver.url}/globex`)]
    const theirs = await system.distribute({ tenant_id: 'globex', destinations })
    expect(await system.ended(theirs)).toMatchObject({ status: 'completed', retry_count: 0 })
    expect(await circuitOf(globex, 'globex')).toMatchObject({ state: 'closed', consecutive_failures: 0 })
    const { rows } = await system.as('globex', (db) => db.query('select * from destination_circuits'))
    expect(rows).toEqual([])
  })

  it('has no row for a healthy destination; a success after failures removes it', async () => {
    const receiver = await aReceiver([{ status: 503 }, { status: 503 }, { status: 200 }])
    const id = await register(system, 'recovering', receiver.url)
    await system.ended(await system.distribute({ destinations: [{ name: 'recovering' }] }))
    expect((await circuitOf(id)).consecutive_failures).toBe(0)
    const { rows } = await system.as('acme', (db) =>
      db.query('select from destination_circuits where target = $1', [id]),
    )
    expect(rows).toEqual([])
  })
})
