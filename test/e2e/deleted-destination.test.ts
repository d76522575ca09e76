// A destination goes while something waits for it: what waits ends promptly, with a reason, and can be sent again.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { sweep } from '../../activities/upkeep/sweep.ts'
import { endDeliveriesOf } from '../../db/destinations/deleted.ts'
import {
  deleteDestination,
  insertDestination,
  newDestinationId,
  setDestinationStatus,
} from '../../db/destinations/destinations.ts'
import { requestRetry } from '../../db/distributions/commands.ts'
import { jobId } from '../../db/distributions/job-id.ts'
import { countDistributions } from '../../db/distributions/list.ts'
import type { DistributionRef } from '../../workflows/messages.ts'
import { type HttpReceiver, startHttpReceiver } from '../support/receivers/http.ts'
import { createTestSystem, restTo, type TestSystem } from '../support/system.ts'

let system: TestSystem
let away: HttpReceiver
let receiver: HttpReceiver
const WAIT = { timeout: 40_000 }
const HOUR = { 'retry-after': '3600' }

beforeAll(async () => {
  system = await createTestSystem()
  await system.tenant('acme')
  await system.startWorkers()
  away = await startHttpReceiver({ script: { status: 503, headers: HOUR } })
  receiver = await startHttpReceiver()
})
afterAll(async () => {
  await system.close()
  await Promise.all([away.close(), receiver.close()])
})

function register(name: string, endpoint: string) {
  return system.as('acme', async (db) => {
    const id = await newDestinationId(db)
    const content = {
      description: null,
      configuration: { endpoint },
      transform_config: {},
      health_check_config: {},
      max_retries: 5,
      tags: [],
      circuit_breaker: null,
      auto_disable: null,
      rate_limit: null,
      max_concurrency: null,
    }
    await insertDestination(db, { id, tenant_id: 'acme', name, protocol: 'REST', ...content }, 'test')
    return id
  })
}

async function waiting(name: string, more: ReturnType<typeof restTo>[] = []): Promise<DistributionRef> {
  const ref = await system.distribute({ destinations: [{ name }, ...more] })
  await expect.poll(async () => (await system.deliveries(ref))[0]?.status, WAIT).toBe('waiting')
  return ref
}

const remove = (id: string) => system.as('acme', (db) => deleteDestination(db, id))

describe('a deleted destination', () => {
  it('ends the deliveries that wait for it at once, with a reason; a retry goes to its successor', async () => {
    const id = await register('leaving', away.url)
    const ref = await waiting('leaving', [restTo('other', receiver.url)])
    await remove(id)
    const ended = await system.as('acme', (db) => endDeliveriesOf(db, id, 100))
    expect(ended).toEqual([jobId(ref.distribution_id)])
    await system.runs.signalReread(ref)
    await expect.poll(async () => (await system.job(ref)).status, WAIT).toBe('failed')
    expect(await system.job(ref)).toMatchObject({ error_code: 'DESTINATION_DELETED' })
    expect(await system.deliveries(ref)).toMatchObject([
      { status: 'failed', error_code: 'DESTINATION_DELETED', attempts: 1, next_attempt_at: null },
      { status: 'success' },
    ])
    const filter = { statuses: ['failed' as const], destination: 'leaving' }
    expect(await system.as('acme', (db) => countDistributions(db, filter))).toMatchObject({ failed: 1 })
    await register('leaving', receiver.url)
    await system.as('acme', (db) => requestRetry(db, jobId(ref.distribution_id), { force: false }))
    await system.runs.signalRetry(ref, { data_type: 'report', priority: 'normal' })
    await expect.poll(async () => (await system.job(ref)).status, WAIT).toBe('completed')
  })

  it('has its waiting deliveries ended by the sweep if nothing else ended them', async () => {
    const id = await register('swept', away.url)
    const refs = await Promise.all([waiting('swept'), waiting('swept')])
    await remove(id)
    await sweep(system.deps, { all: false }, () => {})
    for (const ref of refs) {
      await expect.poll(async () => (await system.job(ref)).error_code, WAIT).toBe('DESTINATION_DELETED')
    }
  })

  it('does not affect deliveries that wait for another destination of the same name', async () => {
    const old = await register('renewed', away.url)
    await remove(old)
    await register('renewed', away.url)
    const ref = await waiting('renewed')
    expect(await system.as('acme', (db) => endDeliveriesOf(db, old, 100))).toEqual([])
    expect((await system.deliveries(ref))[0]!.status).toBe('waiting')
  })
})

describe('a disabled destination', () => {
  it('keeps a row for each waiting delivery, which continues when it is enabled', async () => {
    const id = await register('parked', receiver.url)
    await system.as('acme', (db) => setDestinationStatus(db, id, 'inactive'))
    const ref = await waiting('parked')
    expect(await system.deliveries(ref)).toMatchObject([{ attempts: 0, error_code: 'DESTINATION_DISABLED' }])
    await system.as('acme', (db) => setDestinationStatus(db, id, 'active'))
    await expect.poll(async () => (await system.job(ref)).status, WAIT).toBe('completed')
    expect(await system.deliveries(ref)).toMatchObject([{ status: 'success', attempts: 1, error_code: null }])
  })
})
