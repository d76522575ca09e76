// Callbacks and batches share a worker's few background slots: one tenant must not hold all of them, whatever the
// priority of its distributions.
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { insertBatch, newBatchId } from '../../db/batches/batches.ts'
import { insertBatchItems } from '../../db/batches/items.ts'
import { insertBatchJobs, newJobIds } from '../../db/distributions/bulk.ts'
import type { NewJob } from '../../db/distributions/jobs.ts'
import type { BatchRef } from '../../workflows/messages.ts'
import { type HttpReceiver, startHttpReceiver } from '../support/receivers/http.ts'
import { createTestSystem, restTo, type TestSystem } from '../support/system.ts'

vi.setConfig({ testTimeout: 120_000 })

const GREEDY = 40
let system: TestSystem
let receiver: HttpReceiver
let hanging: HttpReceiver

beforeAll(async () => {
  receiver = await startHttpReceiver()
  hanging = await startHttpReceiver({ script: { stall: 'headers' } })
})
afterAll(async () => {
  await receiver.close()
  await hanging.close()
})
beforeEach(async () => {
  system = await createTestSystem()
  for (const tenant of ['greedy', 'quick']) await system.tenant(tenant)
  await system.startWorkers()
  return () => system.close()
})

async function batchOf(tenant_id: string, destination: ReturnType<typeof restTo>, callback_url: string | null = null) {
  const ref = await system.as(tenant_id, async (db): Promise<BatchRef> => {
    const batch_id = await newBatchId(db)
    const ids = await newJobIds(db, 2)
    const job: NewJob = {
      tenant_id,
      id: null,
      data_type: 'report',
      priority: 'normal',
      payload_text: '1',
      payload_queryable: true,
      destinations: [destination],
      callback_url: null,
      max_retries: 0,
      timeout_seconds: 600,
      expires_at: null,
      deliver_at: null,
      metadata_text: '{}',
      options: {},
      request_id: 'r',
      actor: 'test',
    }
    await insertBatchJobs(
      db,
      batch_id,
      ids.map((id) => ({ ...job, id })),
    )
    const about = { total_distributions: 2, callback_url, rejected: [], request_id: 'r', actor: 'test' }
    const options = { parallel_execution: false }
    await insertBatch(db, { id: batch_id, tenant_id, kind: 'submit', options, ...about })
    const items = ids.map((job_id) => ({ job_id, started: false }))
    await insertBatchItems(db, tenant_id, batch_id, items)
    return { tenant_id, batch_id }
  })
  await system.runs.startBatch(ref)
}

describe('a tenant', () => {
  it('with hanging callbacks delays neither the callbacks nor the batches of other tenants', async () => {
    const from = hanging.requests.length
    for (let i = 0; i < GREEDY; i += 1) {
      const destinations = [restTo('a', receiver.url)]
      await system.distribute({ tenant_id: 'greedy', priority: 'critical', callback_url: hanging.url, destinations })
    }
    await hanging.received(from + 5, 30_000)
    const ended = `select count(*)::int as n from webhooks`
    await expect
      .poll(async () => (await system.as('greedy', (db) => db.query(ended))).rows[0].n, { timeout: 60_000 })
      .toBe(GREEDY)
    const before = receiver.requests.length
    await batchOf('quick', restTo('a', `${receiver.url}/delivery`), `${receiver.url}/batch-callback`)
    await system.distribute({
      tenant_id: 'quick',
      priority: 'low',
      callback_url: `${receiver.url}/callback`,
      destinations: [restTo('a', `${receiver.url}/delivery`)],
    })
    await receiver.received(before + 5, 60_000)
    // A try takes 15 s: nobody had to wait until all of the others' had had theirs.
    expect(hanging.requests.length - from).toBeLessThan(GREEDY / 2)
  })

  it('with many batches of hanging distributions delays no callback of other tenants', async () => {
    const from = hanging.requests.length
    for (let i = 0; i < GREEDY; i += 1) await batchOf('greedy', restTo('a', hanging.url))
    await hanging.received(from + 10, 60_000)
    const before = receiver.requests.length
    for (let i = 0; i < 5; i += 1) {
      await system.distribute({
        tenant_id: 'quick',
        callback_url: `${receiver.url}/callback`,
        destinations: [restTo('a', `${receiver.url}/delivery`)],
      })
      await receiver.received(before + 2 * (i + 1), 20_000)
    }
  })
})
