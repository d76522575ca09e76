// Batches on the real servers: in parallel and one after another, failing fast, called back once, lost and found.
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { batchStep } from '../../activities/batches/index.ts'
import { sweep } from '../../activities/upkeep/sweep.ts'
import { findBatch, insertBatch, newBatchId, requestBatchCancel } from '../../db/batches/batches.ts'
import { batchProgress, insertBatchItems, releaseBatchPage } from '../../db/batches/items.ts'
import { insertBatchJobs, newJobIds } from '../../db/distributions/bulk.ts'
import { requestCancel } from '../../db/distributions/commands.ts'
import { endDistribution } from '../../db/distributions/end.ts'
import type { NewJob } from '../../db/distributions/jobs.ts'
import { selectIntoBatch } from '../../db/distributions/list.ts'
import type { BatchRef } from '../../workflows/messages.ts'
import { batchWorkflowId } from '../../workflows/names.ts'
import { type HttpReceiver, startHttpReceiver } from '../support/receivers/http.ts'
import { createTestSystem, restTo, type TestSystem } from '../support/system.ts'

// Hundreds of runs on a machine that does other things as well.
vi.setConfig({ testTimeout: 120_000 })

let system: TestSystem
let receiver: HttpReceiver

beforeAll(async () => {
  system = await createTestSystem()
  await system.tenant('acme')
  await system.tenant('globex')
  receiver = await startHttpReceiver()
  await system.startWorkers()
})
afterAll(async () => {
  await system.close()
  await receiver.close()
})
beforeEach(() => receiver.reply({}))

interface Wanted {
  tenant_id?: string
  options?: Record<string, unknown>
  callback_url?: string
  jobs: Partial<NewJob>[]
}

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

/** As the API stores it, without starting it. */
async function stored({ tenant_id = 'acme', options = {}, callback_url, jobs }: Wanted): Promise<BatchRef> {
  return await system.as(tenant_id, async (db) => {
    const batch_id = await newBatchId(db)
    const ids = await newJobIds(db, jobs.length)
    const rows = jobs.map((job, i) => ({
      ...A_JOB,
      payload_text: String(i),
      destinations: [restTo('a', `${receiver.url}/${i}`)],
      ...job,
      id: ids[i]!,
      tenant_id,
    }))
    await insertBatchJobs(db, batch_id, rows)
    await insertBatch(db, {
      id: batch_id,
      tenant_id,
      kind: 'submit',
      total_distributions: jobs.length,
      options,
      callback_url: callback_url ?? null,
      rejected: [],
      request_id: 'r',
      actor: 'test',
    })
    await insertBatchItems(
      db,
      tenant_id,
      batch_id,
      ids.map((job_id) => ({ job_id, started: false })),
    )
    return { tenant_id, batch_id }
  })
}

const times = (count: number, job: Partial<NewJob> = {}) => Array.from({ length: count }, () => job)
const rowOf = (ref: BatchRef) => system.as(ref.tenant_id, (db) => findBatch(db, ref.batch_id))
const progressOf = (ref: BatchRef) => system.as(ref.tenant_id, (db) => batchProgress(db, ref.batch_id))

async function endsAs(ref: BatchRef, status: string) {
  await expect.poll(async () => (await rowOf(ref))?.status, { timeout: 90_000, interval: 50 }).toBe(status)
}

const pathsFrom = (from: number) => receiver.requests.slice(from).map(({ path }) => path)

describe('a batch', () => {
  it('delivers every distribution exactly once, in pages', async () => {
    const from = receiver.requests.length
    const ref = await stored({ jobs: times(120) })
    await system.runs.startBatch(ref)
    await endsAs(ref, 'completed')
    expect((await progressOf(ref)).counts).toMatchObject({ completed: 120, pending: 0, failed: 0 })
    expect(new Set(pathsFrom(from)).size).toBe(120)
    expect(pathsFrom(from)).toHaveLength(120)
  })

  it('that is not parallel sends its distributions one after another, in order', async () => {
    const from = receiver.requests.length
    receiver.reply({ after_ms: 20 })
    const ref = await stored({ options: { parallel_execution: false }, jobs: times(12) })
    await system.runs.startBatch(ref)
    await endsAs(ref, 'completed')
    expect(pathsFrom(from)).toEqual(Array.from({ length: 12 }, (_, i) => `/${i}`))
    const { rows } = await system.as('acme', (db) =>
      db.query<{ overlaps: number }>(
        `with a as (select a.started_at, a.completed_at, a.distribution_job_id from distribution_attempts a
                      join distribution_jobs j on j.id = a.distribution_job_id where j.batch_id = $1)
         select count(*)::int as overlaps from a x join a y on x.distribution_job_id < y.distribution_job_id
          where y.started_at < x.completed_at`,
        [ref.batch_id],
      ),
    )
    expect(rows[0]).toEqual({ overlaps: 0 })
  })

  it('that is not parallel sends a distribution listed twice once, at its position', async () => {
    const from = receiver.requests.length
    const ref = await stored({ options: { parallel_execution: false }, jobs: times(3) })
    // As two items with one idempotency key are stored.
    await system.as('acme', (db) =>
      db.query(
        `insert into batch_items (batch_id, position, tenant_id, distribution_job_id, state)
         select batch_id, 4, tenant_id, distribution_job_id, 'started' from batch_items where batch_id = $1 and position = 2`,
        [ref.batch_id],
      ),
    )
    await system.runs.startBatch(ref)
    await endsAs(ref, 'completed')
    expect(pathsFrom(from)).toEqual(['/0', '/1', '/2'])
    expect((await progressOf(ref)).counts).toMatchObject({ completed: 4 })
  })

  it('counts the lifetime of each distribution from its turn, even if the turn comes late', async () => {
    const late = new Date(Date.now() + 3000)
    const ref = await stored({
      jobs: [
        { timeout_seconds: 1 },
        { timeout_seconds: 60, expires_at: late, options: { expires_at: late.toISOString() } },
      ],
    })
    await system.as('acme', (db) =>
      db.query(`update distribution_jobs set expires_at = created_at + interval '1 millisecond' where batch_id = $1`, [
        ref.batch_id,
      ]),
    )
    await system.as('acme', (db) => releaseBatchPage(db, ref.batch_id, 10))
    const { rows } = await system.as('acme', (db) =>
      db.query<{ expires_at: Date; begins: Date }>(
        'select expires_at, updated_at as begins from distribution_jobs where batch_id = $1 order by id',
        [ref.batch_id],
      ),
    )
    // Both are read from the clock in one statement: a busy machine may stand still between them, but not for a minute.
    const lives_ms = rows[0]!.expires_at.getTime() - rows[0]!.begins.getTime()
    expect(lives_ms).toBeGreaterThan(500)
    expect(lives_ms).toBeLessThan(30_000)
    expect(rows[1]!.expires_at).toEqual(late)
  })

  it('counts the lifetime of each distribution from its turn when it is not parallel', async () => {
    const ref = await stored({
      options: { parallel_execution: false },
      jobs: times(3, { timeout_seconds: 2, destinations: [restTo('a', `${receiver.url}/slow`)] }),
    })
    receiver.reply({ after_ms: 1200 })
    await system.runs.startBatch(ref)
    await endsAs(ref, 'completed')
  })

  it('with fail_fast cancels the distributions that are not started or still open', async () => {
    const from = receiver.requests.length
    receiver.reply((request) => ({ status: request.path === '/3' ? 404 : 200 }))
    const ref = await stored({ options: { parallel_execution: false, fail_fast: true }, jobs: times(8) })
    await system.runs.startBatch(ref)
    await endsAs(ref, 'failed')
    expect((await progressOf(ref)).counts).toMatchObject({ completed: 3, failed: 1, cancelled: 4, pending: 0 })
    expect(pathsFrom(from)).toEqual(['/0', '/1', '/2', '/3'])
    expect((await rowOf(ref))?.cancel_reason).toMatch(/^fail_fast: dist_.* has failed$/)
  })

  it('with fail_fast in parallel stops distributions that wait for a retry', async () => {
    receiver.reply((request) =>
      request.path === '/1' ? { status: 404 } : { status: 503, headers: { 'retry-after': '600' } },
    )
    const ref = await stored({ options: { fail_fast: true }, jobs: times(5, { max_retries: 5 }) })
    await system.runs.startBatch(ref)
    await endsAs(ref, 'failed')
    expect((await progressOf(ref)).counts).toMatchObject({ failed: 1, cancelled: 4 })
  })

  it('sends one callback, whose retry has the same id and body; a second start sends no other', async () => {
    const owner = await startHttpReceiver({ script: [{ status: 500 }, { status: 200 }] })
    receiver.reply((request) => ({ status: request.path === '/1' ? 404 : 200 }))
    const ref = await stored({ callback_url: owner.url, jobs: times(3) })
    await system.runs.startBatch(ref)
    await endsAs(ref, 'failed')
    const [first, second] = await owner.received(2)
    expect(first!.headers['webhook-id']).toBe(`batch_${ref.batch_id}`)
    expect(second!.headers['webhook-id']).toBe(`batch_${ref.batch_id}`)
    expect(second!.body.equals(first!.body)).toBe(true)
    expect(JSON.parse(second!.body.toString())).toMatchObject({
      event_type: 'batch.completed',
      batch_id: `batch_${ref.batch_id}`,
      tenant_id: 'acme',
      status: 'failed',
      total_distributions: 3,
      completed_distributions: 2,
      failed_distributions: 1,
    })
    await system.runs.startBatch(ref)
    const rows = () =>
      system.as('acme', (db) => db.query('select status from webhooks where subject_id = $1', [ref.batch_id]))
    await expect.poll(async () => (await rows()).rows).toEqual([{ status: 'success' }])
    expect(owner.requests).toHaveLength(2)
    await owner.close()
  })

  it('a distribution that is cancelled while it waits is not sent, and the rest is', async () => {
    const from = receiver.requests.length
    const ref = await stored({ options: { parallel_execution: false }, jobs: times(3) })
    const { rows } = await system.as('acme', (db) =>
      db.query<{ id: string }>('select id from distribution_jobs where batch_id = $1 order by id', [ref.batch_id]),
    )
    const job_id = rows[1]!.id
    await system.as('acme', (db) => requestCancel(db, job_id, null))
    await system.as('acme', (db) => endDistribution(db, job_id, { round: 1, cause: 'cancelled' }))
    await system.runs.startBatch(ref)
    await endsAs(ref, 'cancelled')
    expect(pathsFrom(from)).toEqual(['/0', '/2'])
  })
})

describe('a batch that is cancelled', () => {
  const cancel = async (ref: BatchRef) => {
    await system.as(ref.tenant_id, (db) => requestBatchCancel(db, ref.batch_id, 'by mistake'))
    await system.runs.startBatch(ref)
  }

  it('stops sending at once, even during a long wait, and shows the reason', async () => {
    const from = receiver.requests.length
    receiver.reply((request) => (request.path === '/1' ? { stall: 'headers' } : {}))
    const ref = await stored({ options: { parallel_execution: false }, jobs: times(150) })
    await system.runs.startBatch(ref)
    await receiver.until(() => receiver.requests.length >= from + 2)
    await cancel(ref)
    await endsAs(ref, 'cancelled')
    expect((await progressOf(ref)).counts).toMatchObject({ completed: 1, cancelled: 149, pending: 0 })
    expect(pathsFrom(from)).toEqual(['/0', '/1'])
    const { rows } = await system.as('acme', (db) =>
      db.query('select distinct cancel_reason from distribution_jobs where batch_id = $1', [ref.batch_id]),
    )
    expect(rows).toEqual(expect.arrayContaining([{ cancel_reason: 'by mistake' }]))
  })

  it('in the Temporal UI ends like any other cancelled batch', async () => {
    const ref = await stored({ jobs: times(3, { deliver_at: new Date(Date.now() + 3_600_000) }) })
    await system.runs.startBatch(ref)
    await expect.poll(async () => (await progressOf(ref)).waiting).toBe(0)
    await system.temporal.client.workflow.getHandle(batchWorkflowId(ref)).cancel()
    await endsAs(ref, 'cancelled')
    expect((await rowOf(ref))?.cancel_reason).toBe('cancelled in Temporal')
    expect((await progressOf(ref)).counts).toMatchObject({ cancelled: 3 })
  })
})

describe('a batch without a run', () => {
  const makeDue = (ref: BatchRef) =>
    system.as(ref.tenant_id, (db) =>
      db.query(`update batches set check_at = clock_timestamp() - interval '1 second' where id = $1`, [ref.batch_id]),
    )

  it('is started by the sweep when it is due, for every tenant, and its distributions by it alone', async () => {
    const from = receiver.requests.length
    const refs = [await stored({ jobs: times(3) }), await stored({ tenant_id: 'globex', jobs: times(3) })]
    await sweep(system.deps, { all: false }, () => {})
    expect(receiver.requests.length).toBe(from)
    for (const ref of refs) await makeDue(ref)
    await sweep(system.deps, { all: false }, () => {})
    for (const ref of refs) await endsAs(ref, 'completed')
    expect(receiver.requests.length).toBe(from + 6)
  })

  it('is started by a full pass after Temporal lost it, and starts its distributions in order', async () => {
    const from = receiver.requests.length
    const ref = await stored({ options: { parallel_execution: false }, jobs: times(5) })
    await sweep(system.deps, { all: true }, () => {})
    await endsAs(ref, 'completed')
    expect(pathsFrom(from)).toEqual(['/0', '/1', '/2', '/3', '/4'])
  })

  it('that was terminated during its work continues where it stopped', async () => {
    const from = receiver.requests.length
    receiver.reply({ after_ms: 50 })
    const ref = await stored({ options: { parallel_execution: false }, jobs: times(20) })
    await system.runs.startBatch(ref)
    await receiver.until(() => receiver.requests.length >= from + 5)
    await system.temporal.client.workflow.getHandle(batchWorkflowId(ref)).terminate()
    await makeDue(ref)
    await sweep(system.deps, { all: false }, () => {})
    await endsAs(ref, 'completed')
    expect([...new Set(pathsFrom(from))]).toHaveLength(20)
    expect(pathsFrom(from)).toHaveLength(20)
  })
})

describe('a bulk retry', () => {
  async function failing(count: number, tenant_id = 'acme', data_type = 'report'): Promise<BatchRef> {
    receiver.reply({ status: 404 })
    const ref = await stored({ tenant_id, jobs: times(count, { data_type }) })
    await system.runs.startBatch(ref)
    await endsAs(ref, 'failed')
    receiver.reply({})
    return ref
  }

  async function retryOf(filter: Parameters<typeof selectIntoBatch>[1], tenant_id = 'acme'): Promise<BatchRef> {
    return await system.as(tenant_id, async (db) => {
      const batch_id = await newBatchId(db)
      const chosen = await selectIntoBatch(db, filter, { id: batch_id, tenant_id, force: false })
      const total_distributions = chosen.sendable
      const options = { retry: { force: false } }
      const rest = { callback_url: null, rejected: [], request_id: 'r', actor: 'test' }
      await insertBatch(db, { id: batch_id, tenant_id, kind: 'retry', total_distributions, options, ...rest })
      return { tenant_id, batch_id }
    })
  }

  it('sends the whole filter again, over more than a page, in its own tenant alone, each once', async () => {
    const mine = await failing(120, 'acme', 'whole-filter')
    const theirs = await failing(3, 'globex', 'whole-filter')
    const from = receiver.requests.length
    const ref = await retryOf({ statuses: ['failed'], data_type: 'whole-filter' })
    await system.runs.startBatch(ref)
    await endsAs(ref, 'completed')
    expect((await progressOf(ref)).counts).toMatchObject({ completed: 120, skipped: 0 })
    expect(receiver.requests.length - from).toBe(120)
    expect((await progressOf(mine)).counts.completed).toBe(120)
    expect((await progressOf(theirs)).counts).toMatchObject({ failed: 3 })
    const { rows } = await system.as('acme', (db) =>
      db.query('select distinct round from distribution_jobs where batch_id = $1', [mine.batch_id]),
    )
    expect(rows).toEqual([{ round: 2 }])
  })

  it('counts distributions with nothing to retry as skipped, with the reason', async () => {
    await failing(2, 'acme', 'skipping')
    const first = await retryOf({ data_type: 'skipping' })
    const second = await retryOf({ data_type: 'skipping' })
    await system.runs.startBatch(first)
    await endsAs(first, 'completed')
    await system.runs.startBatch(second)
    await endsAs(second, 'completed')
    expect((await progressOf(second)).counts).toMatchObject({ skipped: 2, completed: 0 })
  })

  it('of the same failures as another sends each again once, also when they fail again', async () => {
    await failing(3, 'acme', 'chosen-twice')
    const first = await retryOf({ statuses: ['failed'], data_type: 'chosen-twice' })
    const second = await retryOf({ statuses: ['failed'], data_type: 'chosen-twice' })
    receiver.reply({ status: 404 })
    const from = receiver.requests.length
    await system.runs.startBatch(first)
    await endsAs(first, 'failed')
    await system.runs.startBatch(second)
    await endsAs(second, 'completed')
    expect((await progressOf(second)).counts).toMatchObject({ skipped: 3 })
    expect(receiver.requests.length - from).toBe(3)
  })

  it('of one destination leaves another of the same distributions to the retry that chose that', async () => {
    receiver.reply({ status: 404 })
    const destinations = ['a', 'b'].map((name) => restTo(name, `${receiver.url}/${name}`))
    const made = await stored({ jobs: times(2, { data_type: 'by-destination', destinations }) })
    await system.runs.startBatch(made)
    await endsAs(made, 'failed')
    const chosen = ['a', 'b'].map(async (destination) => {
      const ref = await retryOf({ statuses: ['failed'], data_type: 'by-destination', destination })
      await system.as('acme', (db) =>
        db.query(`update batches set options = jsonb_set(options, '{retry,destinations}', $2) where id = $1`, [
          ref.batch_id,
          JSON.stringify([destination]),
        ]),
      )
      return ref
    })
    const [first, second] = await Promise.all(chosen)
    const from = receiver.requests.length
    await system.runs.startBatch(first!)
    await endsAs(first!, 'failed')
    receiver.reply({})
    await system.runs.startBatch(second!)
    await expect.poll(async () => (await rowOf(second!))?.status, { timeout: 90_000 }).not.toBe('processing')
    expect((await progressOf(second!)).counts.skipped).toBe(0)
    expect(pathsFrom(from).sort()).toEqual(['/a', '/a', '/b', '/b'])
  })

  it('that is cancelled does not change the distributions that it has not reached', async () => {
    const made = await failing(3, 'acme', 'not-again')
    const ref = await retryOf({ statuses: ['failed'], data_type: 'not-again' })
    await system.as('acme', (db) => requestBatchCancel(db, ref.batch_id, 'enough'))
    await system.runs.startBatch(ref)
    await endsAs(ref, 'cancelled')
    expect((await progressOf(ref)).counts).toMatchObject({ skipped: 3 })
    expect((await progressOf(made)).counts).toMatchObject({ failed: 3 })
  })

  it('that is started again, or twice at once, creates no second round', async () => {
    const made = await failing(30, 'acme', 'twice')
    receiver.reply({ status: 404 })
    const ref = await retryOf({ statuses: ['failed'], data_type: 'twice' })
    await Promise.all(Array.from({ length: 4 }, () => batchStep(system.deps, ref, () => {})))
    await system.runs.startBatch(ref)
    await endsAs(ref, 'failed')
    const { rows } = await system.as('acme', (db) =>
      db.query('select distinct round from distribution_jobs where batch_id = $1', [made.batch_id]),
    )
    expect(rows).toEqual([{ round: 2 }])
  })
})

describe('a step of a batch', () => {
  it.each([
    [false, 30_000],
    [true, 3000],
  ])('looks at an old one again in good time, with fail_fast %s', async (fail_fast, wait_ms) => {
    const ref = await stored({
      options: { fail_fast },
      jobs: times(2, { deliver_at: new Date(Date.now() + 3_600_000) }),
    })
    await system.as('acme', (db) =>
      db.query(`update batches set created_at = clock_timestamp() - interval '1 hour' where id = $1`, [ref.batch_id]),
    )
    expect(await batchStep(system.deps, ref, () => {})).toEqual({ done: false, wait_ms })
  })

  it('that is stopped midway has started the run of every distribution that it marked as started', async () => {
    const ref = await stored({ jobs: times(40, { deliver_at: new Date(Date.now() + 3_600_000) }) })
    const stopped = batchStep(system.deps, ref, () => {
      throw new Error('the worker stops')
    })
    await expect(stopped).rejects.toThrow('the worker stops')
    const { rows } = await system.as('acme', (db) =>
      db.query(`select distribution_job_id as id from batch_items where batch_id = $1 and state = 'started'`, [
        ref.batch_id,
      ]),
    )
    expect(rows.length).toBeGreaterThan(0)
    for (const { id } of rows) {
      const found = await system.runs.describe({ tenant_id: 'acme', distribution_id: `dist_${id}` })
      expect(found.state).toBe('running')
    }
  })
})

describe('a batch that goes one after another', () => {
  it('ends the distributions behind a slow one at their expiry, and no others', async () => {
    const soon = new Date(Date.now() + 1000)
    const ref = await stored({
      options: { parallel_execution: false },
      jobs: [
        { deliver_at: new Date(Date.now() + 3_600_000) },
        { expires_at: soon, options: { expires_at: soon.toISOString() } },
        { timeout_seconds: 1 },
      ],
    })
    await expect
      .poll(
        async () => {
          await batchStep(system.deps, ref, () => {})
          return (await progressOf(ref)).counts
        },
        { timeout: 20_000 },
      )
      .toMatchObject({ failed: 1, pending: 2 })
    const { rows } = await system.as('acme', (db) =>
      db.query('select error_code from distribution_jobs where batch_id = $1 order by id', [ref.batch_id]),
    )
    expect(rows).toEqual([{ error_code: null }, { error_code: 'EXPIRED' }, { error_code: null }])
  })

  it('polls less and less often while one of its distributions is slow', async () => {
    const ref = await stored({
      options: { parallel_execution: false },
      jobs: times(2, { deliver_at: new Date(Date.now() + 3_600_000) }),
    })
    expect(await batchStep(system.deps, ref, () => {})).toEqual({ done: false, wait_ms: 30_000 })
    // One that nobody works at.
    const other = await stored({ options: { parallel_execution: false }, jobs: times(2) })
    await system.as('acme', (db) =>
      db.query(`update batch_items set state = 'started' where batch_id = $1 and position = 1`, [other.batch_id]),
    )
    const age = (ms: number) =>
      system.as('acme', (db) =>
        db.query(
          `update distribution_jobs set check_at = null, updated_at = clock_timestamp() - $2 * interval '1 millisecond'
            where batch_id = $1`,
          [other.batch_id, ms],
        ),
      )
    for (const [ms, least, most] of [
      [2000, 400, 600],
      [20_000, 4000, 4200],
      [3_600_000, 30_000, 30_000],
    ]) {
      await age(ms!)
      const step = await batchStep(system.deps, other, () => {})
      expect(step).toMatchObject({ done: false })
      expect(step.done ? 0 : step.wait_ms).toBeGreaterThanOrEqual(least!)
      expect(step.done ? 0 : step.wait_ms).toBeLessThanOrEqual(most!)
    }
  })
})

describe('a batch of a tenant that is suspended', () => {
  it('releases no distribution until the tenant is active again; a cancel still ends it', async () => {
    await system.tenant('paused')
    const status = (to: string) =>
      system.as('paused', (db) => db.query(`update tenants set status = $1 where id = 'paused'`, [to]))
    const jobs = Array.from({ length: 3 }, () => ({ destinations: [restTo('a', receiver.url)] }))
    const refs = [await stored({ tenant_id: 'paused', jobs }), await stored({ tenant_id: 'paused', jobs })]
    await status('suspended')
    for (const ref of refs) {
      expect(await batchStep(system.deps, ref, () => {})).toEqual({ done: false, wait_ms: 60_000 })
      expect((await system.as('paused', (db) => batchProgress(db, ref.batch_id))).counts.pending).toBe(3)
    }
    await system.as('paused', (db) => requestBatchCancel(db, refs[1]!.batch_id, 'no longer needed'))
    await batchStep(system.deps, refs[1]!, () => {})
    expect((await system.as('paused', (db) => batchProgress(db, refs[1]!.batch_id))).counts.cancelled).toBe(3)
    await status('active')
    await batchStep(system.deps, refs[0]!, () => {})
    await expect
      .poll(async () => (await system.as('paused', (db) => batchProgress(db, refs[0]!.batch_id))).counts.completed)
      .toBe(3)
  })
})
