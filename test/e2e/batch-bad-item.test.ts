// One item of a batch that PostgreSQL refuses ends by itself; the others are delivered.
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { batchStep } from '../../activities/batches/index.ts'
import { findBatch, insertBatch, newBatchId } from '../../db/batches/batches.ts'
import { batchProgress, insertBatchItems, listBatchItems } from '../../db/batches/items.ts'
import { insertBatchJobs, newJobIds } from '../../db/distributions/bulk.ts'
import { selectIntoBatch } from '../../db/distributions/list.ts'
import type { BatchRef } from '../../workflows/messages.ts'
import { type HttpReceiver, startHttpReceiver } from '../support/receivers/http.ts'
import { createTestSystem, restTo, type TestSystem } from '../support/system.ts'

vi.setConfig({ testTimeout: 60_000 })

let system: TestSystem
let receiver: HttpReceiver

beforeAll(async () => {
  system = await createTestSystem()
  await system.tenant('acme')
  receiver = await startHttpReceiver()
  await system.startWorkers()
})
afterAll(async () => {
  await system.close()
  await receiver.close()
})

const A_JOB = {
  data_type: 'report',
  priority: 'normal' as const,
  payload_queryable: true,
  callback_url: null,
  max_retries: 0,
  timeout_seconds: 300,
  expires_at: null,
  deliver_at: null,
  metadata_text: '{}',
  options: {},
  request_id: 'r',
  actor: 'test',
}

const as = <T>(work: Parameters<TestSystem['as']>[1]) => system.as('acme', work) as Promise<T>

/** A batch of `count`, of which the `bad` ones are changed by this SQL. */
async function stored(count: number, options: Record<string, unknown> = {}): Promise<{ ref: BatchRef; ids: string[] }> {
  return await system.as('acme', async (db) => {
    const batch_id = await newBatchId(db)
    const ids = await newJobIds(db, count)
    await insertBatchJobs(
      db,
      batch_id,
      ids.map((id, i) => ({
        ...A_JOB,
        id,
        tenant_id: 'acme',
        payload_text: String(i),
        destinations: [restTo('a', `${receiver.url}/${i}`)],
      })),
    )
    await insertBatch(db, {
      id: batch_id,
      tenant_id: 'acme',
      kind: 'submit',
      total_distributions: count,
      options,
      callback_url: null,
      rejected: [],
      request_id: 'r',
      actor: 'test',
    })
    await insertBatchItems(
      db,
      'acme',
      batch_id,
      ids.map((job_id) => ({ job_id, started: false })),
    )
    return { ref: { tenant_id: 'acme', batch_id }, ids }
  })
}

const change = (id: string, set: string) =>
  as((db) => db.query(`update distribution_jobs set ${set} where id = $1`, [id]))
const statusOf = (ref: BatchRef) => system.as('acme', async (db) => (await findBatch(db, ref.batch_id))?.status)
const ends = (ref: BatchRef, status: string) =>
  expect.poll(() => statusOf(ref), { timeout: 40_000, interval: 50 }).toBe(status)

describe('an item that PostgreSQL refuses', () => {
  const REFUSED = [
    ['an offset that it does not know', `options = options || '{"expires_at": "2030-01-01T00:00:00+16:00"}'`],
    ['a text that is no time', `options = options || '{"expires_at": "soon"}'`],
    ['a NUL-like object for a time', `options = options || '{"expires_at": {"a": 1}}'`],
    ['a time beyond its calendar', `deliver_at = '294276-12-31T23:59:59Z', timeout_seconds = 2592000`],
    ['an end before its beginning', `options = options || '{"expires_at": "1999-01-01T00:00:00Z"}'`],
  ] as const

  it.each([
    { name: 'in a parallel batch', options: {} },
    { name: 'in a batch that goes one by one', options: { parallel_execution: false } },
  ])('fails alone, with a reason, $name', async ({ options }) => {
    const from = receiver.requests.length
    const { ref, ids } = await stored(25, options)
    for (const [at, [, set]] of REFUSED.entries()) await change(ids[4 * at]!, set)
    await system.runs.startBatch(ref)
    await ends(ref, 'failed')
    const { counts } = await as<Awaited<ReturnType<typeof batchProgress>>>((db) => batchProgress(db, ref.batch_id))
    expect(counts).toMatchObject({ completed: 20, failed: 5, pending: 0, processing: 0 })
    expect(receiver.requests.length - from).toBe(20)
    const items = await as<Awaited<ReturnType<typeof listBatchItems>>>((db) =>
      listBatchItems(db, ref.batch_id, { after: 0, limit: 100, status: 'failed' }),
    )
    expect(items.map(({ distribution_id }) => distribution_id)).toEqual(REFUSED.map((_, at) => `dist_${ids[4 * at]}`))
    for (const { error_code, reason } of items) {
      expect(error_code).toBe('UNEXPECTED')
      expect(reason).toMatch(
        /^The distribution could not be started: the database refuses its data \(SQLSTATE 2\w{4}\)$/,
      )
    }
    const { rows } = await as<{ rows: unknown[] }>((db) =>
      db.query(
        "select pending_count::int, details ->> 'batch_id' as batch_id from event_windows where event_type = 'distributions.failed'",
      ),
    )
    expect(rows).toEqual([{ pending_count: expect.any(Number), batch_id: `batch_${ref.batch_id}` }])
  })

  it('does not keep the others of a cancelled batch from their end', async () => {
    const { ref, ids } = await stored(12)
    await change(ids[0]!, `max_retries = 3, options = options || '{"expires_at": "soon"}'`)
    await as((db) => db.query("update batches set cancel_reason = 'enough' where id = $1", [ref.batch_id]))
    await system.runs.startBatch(ref)
    await ends(ref, 'cancelled')
    const { counts } = await as<Awaited<ReturnType<typeof batchProgress>>>((db) => batchProgress(db, ref.batch_id))
    expect(counts.pending + counts.processing).toBe(0)
  })

  it('does not keep the others of a bulk retry from being sent again', async () => {
    receiver.reply({ status: 404 })
    const { ref, ids } = await stored(6)
    await system.runs.startBatch(ref)
    await ends(ref, 'failed')
    receiver.reply({})
    // The second one cannot be given a new life: its stored timeout leads beyond the calendar.
    await change(ids[1]!, `deliver_at = '294276-12-31T23:59:59Z'`)
    const again = await system.as('acme', async (db) => {
      const batch_id = await newBatchId(db)
      await insertBatch(db, {
        id: batch_id,
        tenant_id: 'acme',
        kind: 'retry',
        total_distributions: 6,
        options: { retry: { force: false } },
        callback_url: null,
        rejected: [],
        request_id: 'r',
        actor: 'test',
      })
      await selectIntoBatch(db, { batch: ref.batch_id }, { id: batch_id, tenant_id: 'acme', force: false })
      return { tenant_id: 'acme', batch_id }
    })
    await system.runs.startBatch(again)
    await ends(again, 'completed')
    const { counts } = await as<Awaited<ReturnType<typeof batchProgress>>>((db) => batchProgress(db, again.batch_id))
    expect(counts).toMatchObject({ completed: 5, skipped: 1 })
  })

  it('is not blamed for a database that does not answer', async () => {
    const { ref } = await stored(2)
    const pool = {
      ...system.deps.pool,
      options: system.deps.pool.options,
      connect: () => Promise.reject(Object.assign(new Error('gone'), { code: 'ECONNREFUSED' })),
    }
    const deps = { ...system.deps, pool: pool as unknown as typeof system.deps.pool }
    await expect(batchStep(deps, ref, () => {}, 9)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    const { counts } = await as<Awaited<ReturnType<typeof batchProgress>>>((db) => batchProgress(db, ref.batch_id))
    expect(counts).toMatchObject({ pending: 2, failed: 0 })
  })
})
