// One after another under one key, on the real servers: in the order of acceptance, past failures, cancels and retries.
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { batchStep } from '../../activities/batches/index.ts'
import { sweep } from '../../activities/upkeep/sweep.ts'
import { insertBatch, newBatchId } from '../../db/batches/batches.ts'
import { requestCancel, requestRetry } from '../../db/distributions/commands.ts'
import { jobId } from '../../db/distributions/job-id.ts'
import { type NewJob, submitJob } from '../../db/distributions/jobs.ts'
import { selectIntoBatch } from '../../db/distributions/list.ts'
import { dueTurns } from '../../db/distributions/ordering.ts'
import { listDeliveryStates } from '../../db/distributions/status.ts'
import { createPool, withoutTenant, withTenant } from '../../db/pool.ts'
import type { DistributionRef } from '../../workflows/messages.ts'
import { distributionWorkflowId } from '../../workflows/names.ts'
import { type HttpReceiver, startHttpReceiver } from '../support/receivers/http.ts'
import { ABOUT, createTestSystem, restTo, type TestSystem } from '../support/system.ts'

vi.setConfig({ testTimeout: 90_000 })

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

const to = (path: string) => [restTo('a', `${receiver.url}/${path}`)]
const pathsFrom = (from: number) => receiver.requests.slice(from).map(({ path }) => path.slice(1))
const distribute = (ordering_key: string, path: string, more: Partial<NewJob> = {}) =>
  system.distribute({ ordering_key, destinations: to(path), max_retries: 5, ...more })

async function statusOf(ref: DistributionRef) {
  return (await system.deliveries(ref))[0]
}

/** What the status says of it. */
async function shownReason(ref: DistributionRef) {
  const [shown] = await system.as(ref.tenant_id, (db) => listDeliveryStates(db, jobId(ref.distribution_id)))
  return shown?.error_message
}

async function endsAs(ref: DistributionRef, status: string) {
  await expect.poll(async () => (await system.job(ref)).status, { timeout: 60_000 }).toBe(status)
}

/** The order of acceptance, by the rows. */
async function acceptedOrder(key: string): Promise<string[]> {
  const { rows } = await system.as('acme', (db) =>
    db.query<{ distribution_id: string }>(
      'select distribution_id from distribution_jobs where ordering_key = $1 order by ordering_seq',
      [key],
    ),
  )
  return rows.map((row) => row.distribution_id)
}

async function overlaps(key: string): Promise<number> {
  const { rows } = await system.as('acme', (db) =>
    db.query<{ n: number }>(
      `with a as (
         select a.id, a.started_at, a.completed_at from distribution_attempts a
           join distribution_jobs j on j.id = a.distribution_job_id where j.ordering_key = $1)
       select count(*)::int as n from a x join a y on x.id < y.id
        where x.started_at < y.completed_at and y.started_at < x.completed_at`,
      [key],
    ),
  )
  return rows[0]!.n
}

describe('under one ordering key', () => {
  it('distributions that are accepted at once go out one after another, in the order of acceptance', async () => {
    const from = receiver.requests.length
    const refs = await Promise.all(Array.from({ length: 20 }, (_, i) => distribute('at-once', String(i))))
    for (const ref of refs) await endsAs(ref, 'completed')
    const byId = new Map(refs.map((ref, i) => [ref.distribution_id, String(i)]))
    expect(pathsFrom(from)).toEqual((await acceptedOrder('at-once')).map((id) => byId.get(id)))
    expect(await overlaps('at-once')).toBe(0)
    // Waiting cost no attempt.
    for (const ref of refs) expect(await statusOf(ref)).toMatchObject({ attempts: 1, status: 'success' })
  })

  it('other keys, other destinations, other tenants and those without a key are not held up', async () => {
    receiver.reply((request) => (request.path === '/stuck' ? { status: 503, headers: { 'retry-after': '600' } } : {}))
    const stuck = await distribute('held', 'stuck')
    await expect.poll(async () => (await statusOf(stuck))?.status, { timeout: 30_000 }).toBe('waiting')
    const behind = await distribute('held', 'behind')
    const free = await Promise.all([
      distribute('another', 'free'),
      system.distribute({ destinations: to('free') }),
      system.distribute({ ordering_key: 'held', destinations: [restTo('b', receiver.url)] }),
      system.distribute({ tenant_id: 'globex', ordering_key: 'held', destinations: to('free') }),
    ])
    for (const ref of free) await endsAs(ref, 'completed')
    // The status says why.
    await expect
      .poll(() => statusOf(behind), { timeout: 30_000 })
      .toMatchObject({
        status: 'waiting',
        attempts: 0,
        error_code: null,
        error_message: `Waits for ${stuck.distribution_id}, which comes before it under the same ordering_key`,
      })
    // An order to cancel lets the next one go.
    await system.as('acme', (db) => requestCancel(db, jobId(stuck.distribution_id), null))
    await system.runs.signalCancel(stuck, ABOUT)
    await endsAs(stuck, 'cancelled')
    await endsAs(behind, 'completed')
  })

  it('a distribution that is retried keeps its place', async () => {
    const from = receiver.requests.length
    let failures = 0
    receiver.reply((request) => (request.path === '/first' && failures++ < 3 ? { status: 503 } : {}))
    const first = await distribute('retried', 'first')
    const second = await distribute('retried', 'second')
    await endsAs(second, 'completed')
    expect(pathsFrom(from)).toEqual(['first', 'first', 'first', 'first', 'second'])
    expect(await statusOf(first)).toMatchObject({ status: 'success', attempts: 4 })
  })

  it('after a permanent failure the next distribution is sent', async () => {
    receiver.reply((request) => ({ status: request.path === '/bad' ? 404 : 200 }))
    const bad = await distribute('goes-on', 'bad')
    const next = await distribute('goes-on', 'next')
    await endsAs(bad, 'failed')
    await endsAs(next, 'completed')
  })

  it('with ordering: block the next distribution waits until a retry succeeds', async () => {
    // The next one has looked already when it fails.
    receiver.reply((request) => (request.path === '/bad' ? { status: 404, after_ms: 1000 } : {}))
    const bad = await distribute('blocks', 'bad', { ordering_blocks: true })
    const next = await distribute('blocks', 'next')
    await endsAs(bad, 'failed')
    await expect
      .poll(() => shownReason(next), { timeout: 30_000 })
      .toBe(`Blocked by the failure of ${bad.distribution_id}, which comes before it under the same ordering_key`)
    receiver.reply({})
    await system.as('acme', (db) => requestRetry(db, jobId(bad.distribution_id), { force: false }))
    await system.runs.signalRetry(bad, ABOUT)
    await endsAs(bad, 'completed')
    await endsAs(next, 'completed')
  })

  it('a distribution reopened by a retry waits for a later one that is being sent', async () => {
    receiver.reply((request) => (request.path === '/old' ? { status: 404 } : { after_ms: 1500 }))
    const old = await distribute('reopened', 'old')
    await endsAs(old, 'failed')
    const from = receiver.requests.length
    const later = await distribute('reopened', 'later')
    const last = await distribute('reopened', 'last')
    await receiver.until(() => receiver.requests.length > from)
    receiver.reply({ after_ms: 100 })
    await system.as('acme', (db) => requestRetry(db, jobId(old.distribution_id), { force: false }))
    await system.runs.signalRetry(old, ABOUT)
    for (const ref of [later, old, last]) await endsAs(ref, 'completed')
    expect(pathsFrom(from)).toEqual(['later', 'old', 'last'])
    expect(await overlaps('reopened')).toBe(0)
  })

  it('a held distribution expires like any other', async () => {
    receiver.reply((request) => (request.path === '/stuck' ? { status: 503, headers: { 'retry-after': '600' } } : {}))
    const stuck = await distribute('expires', 'stuck', { timeout_seconds: 4 })
    const behind = await distribute('expires', 'behind', { timeout_seconds: 2 })
    await endsAs(behind, 'failed')
    expect(await system.job(behind)).toMatchObject({ error_code: 'EXPIRED' })
    const after = await distribute('expires', 'after', { timeout_seconds: 60 })
    await endsAs(stuck, 'failed')
    await endsAs(after, 'completed')
  })

  it('a distribution with a later delivery time holds those behind it until that time', async () => {
    const from = receiver.requests.length
    const later = await distribute('later', 'later', { deliver_at: new Date(Date.now() + 2000) })
    const next = await distribute('later', 'next')
    for (const ref of [later, next]) await endsAs(ref, 'completed')
    expect(pathsFrom(from)).toEqual(['later', 'next'])
  })

  it('a bulk retry sends them again in the order of acceptance', async () => {
    receiver.reply({ status: 404 })
    const refs: DistributionRef[] = []
    for (let i = 0; i < 5; i += 1) refs.push(await distribute('in-bulk', String(i), { max_retries: 0 }))
    for (const ref of refs) await endsAs(ref, 'failed')
    receiver.reply({})
    const from = receiver.requests.length
    const batch = await system.as('acme', async (db) => {
      const id = await newBatchId(db)
      const filter = { statuses: ['failed'] as const, ordering_key: 'in-bulk' }
      const { sendable } = await selectIntoBatch(db, filter, { id, tenant_id: 'acme', force: false })
      await insertBatch(db, {
        ...{
          id,
          tenant_id: 'acme',
          kind: 'retry',
          total_distributions: sendable,
          options: { retry: { force: false } },
        },
        ...{ callback_url: null, rejected: [], request_id: 'r', actor: 'test' },
      })
      return { tenant_id: 'acme', batch_id: id }
    })
    // Somebody else is at the first one just then, for so long that the others could all be sent.
    let begun = () => {}
    const locked = new Promise<void>((resolve) => {
      begun = resolve
    })
    const first = system.as('acme', async (db) => {
      await db.query('select from distribution_jobs where id = $1 for update', [jobId(refs[0]!.distribution_id)])
      begun()
      await sleep(2000)
    })
    await locked
    await batchStep(system.deps, batch, () => {})
    await first
    for (const ref of refs) await endsAs(ref, 'completed')
    expect(pathsFrom(from)).toEqual(refs.map((_, i) => String(i)))
  })

  it('one that waits for the plan of another looks by itself, for that one may turn out to go elsewhere', async () => {
    const destinations = [restTo('elsewhere', `${receiver.url}/elsewhere`)]
    const first = await system.submit({ ordering_key: 'unplanned', destinations })
    const second = await distribute('unplanned', 'second')
    await expect.poll(() => statusOf(second), { timeout: 30_000 }).toMatchObject({ status: 'waiting', attempts: 0 })
    await system.runs.start(first, ABOUT)
    for (const ref of [first, second]) await endsAs(ref, 'completed')
  })

  it('distributions that expire behind the first one do not affect it', async () => {
    receiver.reply((request) => (request.path === '/stuck' ? { status: 503, headers: { 'retry-after': '600' } } : {}))
    const stuck = await distribute('in-peace', 'stuck')
    await expect.poll(async () => (await statusOf(stuck))?.status, { timeout: 30_000 }).toBe('waiting')
    const later = await distribute('in-peace-later', 'x', { deliver_at: new Date(Date.now() + 600_000) })
    await expect.poll(async () => (await system.deliveries(later)).length).toBe(1)
    const behind = ['in-peace', 'in-peace-later'].flatMap((key) =>
      Array.from({ length: 5 }, () => distribute(key, 'behind', { timeout_seconds: 2 })),
    )
    for (const ref of await Promise.all(behind)) await endsAs(ref, 'failed')
    for (const ref of [stuck, later]) {
      const { events } = await system.temporal.client.workflow.getHandle(distributionWorkflowId(ref)).fetchHistory()
      expect(events!.filter(({ workflowExecutionSignaledEventAttributes: signal }) => signal)).toEqual([])
      await system.as('acme', (db) => requestCancel(db, jobId(ref.distribution_id), null))
      await system.runs.signalCancel(ref, ABOUT)
    }
  })

  it('the sweep notifies the next distribution if it was not notified, and only that one', async () => {
    const { signalTurn } = system.runs
    onTestFinished(() => {
      system.runs.signalTurn = signalTurn
    })
    const told: string[] = []
    let lost = true
    system.runs.signalTurn = async (ref, ...rest) => {
      if (lost) throw new Error('Temporal is away')
      told.push(ref.distribution_id)
      await signalTurn(ref, ...rest)
    }
    let release = () => {}
    const others = new Promise<void>((resolve) => {
      release = resolve
    })
    receiver.reply(async () => {
      await others
      return {}
    })
    const refs = [await distribute('untold', '1'), await distribute('untold', '2'), await distribute('untold', '3')]
    for (const ref of refs.slice(1)) {
      await expect.poll(() => statusOf(ref)).toMatchObject({ status: 'waiting', next_attempt_at: null })
    }
    release()
    await endsAs(refs[0]!, 'completed')
    // What has looked just now may be about to be told.
    await expect
      .poll(() => withoutTenant(system.pool, (db) => dueTurns(db, 10, null)), { timeout: 10_000 })
      .toMatchObject([{ tenant_id: 'acme', ordering_key: 'untold', destination_name: 'a' }])
    lost = false
    await sweep(system.deps, { all: false }, () => {})
    expect(told[0]).toBe(refs[1]!.distribution_id)
    expect(told).not.toContain(refs[2]!.distribution_id)
    for (const ref of refs.slice(1)) await endsAs(ref, 'completed')
  })

  it('a held distribution makes no calls and adds nothing to its history', async () => {
    const firsts = Array.from({ length: 20 }, (_, i) => restTo(`d${i}`, `${receiver.url}/quiet-${i}`))
    // One after another, each with a word of its own.
    receiver.reply(({ path }) => ({ after_ms: 500 + 75 * Number(path.split('-')[1]) }))
    await system.distribute({ ordering_key: 'quiet', destinations: firsts })
    const behind = await system.distribute({ ordering_key: 'quiet', destinations: firsts })
    await endsAs(behind, 'completed')
    const { events } = await system.temporal.client.workflow.getHandle(distributionWorkflowId(behind)).fetchHistory()
    const calls = events!.filter(({ activityTaskScheduledEventAttributes: scheduled }) => scheduled)
    // Each destination: one call that is held, one that sends. On a busy machine a signal may come late, and the call is
    // repeated; one that asks again and again would make many more.
    expect(calls.length).toBeLessThanOrEqual(2 * firsts.length + 5)
  })
})

describe('the place in the order', () => {
  it('is given in the order of commit, over several connections at once', async () => {
    const pools = Array.from({ length: 3 }, () =>
      createPool({ connectionString: system.database.url, max: 5, application_name: 'test' }),
    )
    const seen: string[] = []
    await Promise.all(
      Array.from({ length: 60 }, async (_, i) => {
        await withTenant(pools[i % 3]!, 'acme', async (db) => {
          await submitJob(db, {
            tenant_id: 'acme',
            id: null,
            ...ABOUT,
            payload_text: '1',
            payload_queryable: true,
            destinations: [],
            callback_url: null,
            max_retries: null,
            timeout_seconds: 300,
            expires_at: null,
            deliver_at: null,
            metadata_text: '{}',
            options: {},
            request_id: 'r',
            actor: 'test',
            ordering_key: 'commits',
          })
          // Whoever has a number sees all the smaller ones.
          const { rows } = await db.query<{ numbers: string[] }>(
            `select array_agg(ordering_seq::text order by ordering_seq) as numbers from distribution_jobs
              where ordering_key = 'commits'`,
          )
          seen.push(JSON.stringify(rows[0]!.numbers))
        })
      }),
    )
    const lists = seen.map((text) => JSON.parse(text) as string[]).sort((a, b) => a.length - b.length)
    expect(lists.map((list) => list.length)).toEqual(Array.from({ length: 60 }, (_, i) => i + 1))
    for (const list of lists) expect(lists.at(-1)!.slice(0, list.length)).toEqual(list)
    await Promise.all(pools.map((pool) => pool.end()))
  })

  it('is found by its index, however many have gone before', async () => {
    const { rows } = await system.as('acme', async (db) => {
      await db.query('set local enable_seqscan = off')
      return await db.query<{ 'QUERY PLAN': string }>(
        `explain select from distribution_deliveries d
          where d.tenant_id = 'acme' and d.ordering_key = 'k' and d.destination_name = 'a'
            and d.ordering_state is not null and d.ordering_seq < 5 order by d.ordering_seq limit 1`,
      )
    })
    expect(rows.map((row) => row['QUERY PLAN']).join('\n')).toMatch(/ordering_key_destination|_ordering/)
  })
})
