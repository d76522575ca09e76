// The hard cases: the database goes away between a send and its row, a worker is silent while its send goes on.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { deliver } from '../../activities/delivery/deliver.ts'
import { record } from '../../activities/delivery/record.ts'
import { plan } from '../../activities/distribution/plan.ts'
import type { AttemptOutcome } from '../../db/distributions/attempts.ts'
import { closeLostAttempt, openAttempt } from '../../db/distributions/attempts.ts'
import { jobId } from '../../db/distributions/job-id.ts'
import type { DistributionRef } from '../../workflows/messages.ts'
import { startProxy, type TcpProxy } from '../support/proxy.ts'
import { receiverPerTest } from '../support/receivers/per-test.ts'
import { ABOUT, createTestSystem, restTo, type TestSystem } from '../support/system.ts'

let system: TestSystem
let database: TcpProxy
const aReceiver = receiverPerTest()

beforeAll(async () => {
  system = await createTestSystem({
    timing: { close_within_ms: 300 },
    async workerDatabaseUrl(url) {
      const direct = new URL(url)
      database = await startProxy({ host: direct.hostname, port: Number(direct.port) })
      direct.hostname = '127.0.0.1'
      direct.port = String(database.port)
      return direct.href
    },
  })
  await system.tenant('acme')
  await system.startWorkers()
})
afterAll(async () => {
  await system.close()
  await database.close()
})
afterEach(() => database.mend())

/** A planned distribution without retries whose worker was killed after opening its first attempt. */
async function lostAttempt(endpoint: string, registered?: string): Promise<DistributionRef> {
  if (registered) {
    await system.as('acme', (db) =>
      db.query(`insert into destinations (tenant_id, name, protocol, configuration) values ('acme', $1, 'REST', $2)`, [
        registered,
        JSON.stringify({ endpoint }),
      ]),
    )
  }
  const ref = await system.submit({
    max_retries: 0,
    destinations: [registered ? { name: registered } : restTo('a', endpoint)],
  })
  await plan(system.deps.pool, ref)
  await system.as('acme', (db) =>
    openAttempt(db, jobId(ref.distribution_id), registered ?? 'a', { configuration_version: null, worker: 'killed' }),
  )
  return ref
}

function outcomeOfAttempt(attempt_id: string): AttemptOutcome {
  return {
    attempt_id,
    attempt_number: 1,
    status: 'success',
    code: null,
    message: null,
    response_status: 200,
    response_body: null,
    retry_delay_ms: null,
    completed_at: new Date().toISOString(),
    gone: false,
    metadata: {},
  }
}

describe('faults', () => {
  it('the database connection is lost after a 200: the document is not sent again', async () => {
    const receiver = await aReceiver(() => {
      database.cut()
      return { status: 200, body: 'taken' }
    })
    const ref = await system.distribute({ destinations: [restTo('a', receiver.url)] })
    await receiver.received(1)
    // Out for longer than the attempt is tried to be closed, so that the workflow records the outcome.
    await expect
      .poll(() => system.log.some((line) => String(line.msg).includes('records its outcome')), { timeout: 15_000 })
      .toBe(true)
    database.mend()
    expect(await system.ended(ref)).toMatchObject({ status: 'completed' })
    expect(receiver.requests).toHaveLength(1)
    expect(await system.attempts(ref)).toMatchObject([
      { attempt_number: 1, status: 'success', response_status_code: 200, response_body: 'taken' },
    ])
  })

  it('the database stops answering after a 200: the outcome is still handed over', async () => {
    const receiver = await aReceiver(() => {
      database.silence()
      return { status: 200, body: 'taken' }
    })
    const ref = await system.distribute({ destinations: [restTo('a', receiver.url)] })
    const handedOver = () =>
      system.log.some(
        (line) => line.distribution_id === ref.distribution_id && String(line.msg).includes('records its outcome'),
      )
    await expect.poll(handedOver, { timeout: 15_000 }).toBe(true)
    database.mend()
    expect(await system.ended(ref)).toMatchObject({ status: 'completed' })
    expect(receiver.requests).toHaveLength(1)
    expect(await system.attempts(ref)).toMatchObject([{ attempt_number: 1, status: 'success' }])
  })

  it('the database goes away after a 503: exactly one next attempt', async () => {
    let turn = 0
    const receiver = await aReceiver(() => {
      turn += 1
      if (turn > 1) return { status: 200 }
      database.cut()
      setTimeout(() => database.mend(), 1500)
      return { status: 503 }
    })
    const ref = await system.distribute({ destinations: [restTo('a', receiver.url)] })
    expect(await system.ended(ref)).toMatchObject({ status: 'completed' })
    expect(receiver.requests).toHaveLength(2)
    expect((await system.attempts(ref)).map(({ attempt_number, status }) => [attempt_number, status])).toEqual([
      [1, 'retry'],
      [2, 'success'],
    ])
  })

  it('a database that is away before a send costs no attempt', async () => {
    const receiver = await aReceiver()
    database.cut()
    const ref = await system.distribute({ max_retries: 0, destinations: [restTo('a', receiver.url)] })
    await expect.poll(() => system.log.some((line) => line.activity === 'plan'), { timeout: 15_000 }).toBe(true)
    database.mend()
    expect(await system.ended(ref)).toMatchObject({ status: 'completed' })
    expect(await system.attempts(ref)).toMatchObject([{ attempt_number: 1, status: 'success' }])
  })

  it('a lost worker’s attempt is closed as WORKER_LOST, and its late 200 still counts', async () => {
    let answer = () => {}
    const held = new Promise<void>((resolve) => {
      answer = resolve
    })
    let turn = 0
    const receiver = await aReceiver(async () => {
      turn += 1
      if (turn === 1) await held
      return turn === 1 ? { status: 200, body: 'late' } : { status: 404 }
    })
    const ref = await system.distribute({ destinations: [restTo('a', receiver.url)] })
    await receiver.received(1)
    // What the next opening does when the worker has been silent for too long.
    await system.as('acme', (db) => closeLostAttempt(db, jobId(ref.distribution_id), 'a'))
    expect(await system.attempts(ref)).toMatchObject([{ status: 'retry', retry_reason: 'WORKER_LOST' }])
    answer()
    expect(await system.ended(ref)).toMatchObject({ status: 'completed' })
    expect(await system.attempts(ref)).toMatchObject([
      { status: 'success', retry_reason: null, response_body: 'late', metadata: { late: true } },
    ])
  })

  it('a late 200 of the first attempt ends the delivery; the second attempt of a lost worker is closed as WORKER_LOST', async () => {
    const ref = await lostAttempt('http://127.0.0.1:1/')
    const [first] = await system.attempts(ref)
    await system.as('acme', async (db) => {
      await closeLostAttempt(db, jobId(ref.distribution_id), 'a')
      await openAttempt(db, jobId(ref.distribution_id), 'a', { configuration_version: null, worker: 'killed too' })
    })
    const input = { ...ref, destination: 'a' }
    await record(system.deps, input, outcomeOfAttempt(first!.id))
    const control = { signal: new AbortController().signal, workerLost: () => false, calls: 2 }
    const counted = async () => {
      const { values } = await system.metrics.attempts.get()
      return values.find(({ labels }) => labels.protocol === 'REST' && labels.code === 'WORKER_LOST')?.value ?? 0
    }
    const before = await counted()
    expect(await deliver(system.deps, input, control)).toMatchObject({ kind: 'over' })
    expect(await system.attempts(ref)).toMatchObject([
      { attempt_number: 1, status: 'success' },
      { attempt_number: 2, status: 'retry', retry_reason: 'WORKER_LOST' },
    ])
    expect(await counted()).toBe(before + 1)
    const logged = system.log.filter(
      (line) => line.code === 'WORKER_LOST' && line.distribution_id === ref.distribution_id,
    )
    expect(logged).toMatchObject([
      { level: 40, ...input, attempt_number: 2, msg: 'attempt closed: its worker was lost' },
    ])
  })

  it('a delivery whose attempts were all lost with their workers gets one more attempt, and no third', async () => {
    const receiver = await aReceiver()
    const one = await lostAttempt(receiver.url)
    await system.runs.start(one, ABOUT)
    expect(await system.ended(one)).toMatchObject({ status: 'completed' })
    expect((await system.attempts(one)).map(({ status, retry_reason }) => [status, retry_reason])).toEqual([
      ['retry', 'WORKER_LOST'],
      ['success', null],
    ])

    const two = await lostAttempt(receiver.url)
    await system.as('acme', async (db) => {
      await closeLostAttempt(db, jobId(two.distribution_id), 'a')
      await openAttempt(db, jobId(two.distribution_id), 'a', { configuration_version: null, worker: 'killed' })
    })
    await system.runs.start(two, ABOUT)
    expect(await system.ended(two)).toMatchObject({ status: 'failed', error_code: 'WORKER_LOST' })
    expect((await system.attempts(two)).map(({ status, retry_reason }) => [status, retry_reason])).toEqual([
      ['retry', 'WORKER_LOST'],
      ['retry', 'WORKER_LOST'],
    ])
    const { rows } = await system.as('acme', (db) =>
      db.query('select message, details from attempt_logs where distribution_job_id = $1', [
        jobId(two.distribution_id),
      ]),
    )
    expect(rows).toHaveLength(2)
    expect(rows[0]).toMatchObject({ details: { worker: 'killed' } })
  })

  it('a destination that is deleted while its worker is lost leaves no attempt open', async () => {
    const ref = await lostAttempt('http://127.0.0.1:1/', 'removed')
    await system.as('acme', (db) => db.query(`update destinations set deleted_at = now() where name = 'removed'`))
    await system.runs.start(ref, ABOUT)
    expect(await system.ended(ref)).toMatchObject({ status: 'failed', error_code: 'DESTINATION_DELETED' })
    expect(await system.attempts(ref)).toMatchObject([{ status: 'retry', retry_reason: 'WORKER_LOST' }])
  })

  it('writing an outcome again changes nothing, and a late failure changes nothing', async () => {
    const receiver = await aReceiver()
    const ref = await system.distribute({ destinations: [restTo('a', receiver.url)] })
    await system.ended(ref)
    const [attempt] = await system.attempts(ref)
    const outcome: AttemptOutcome = {
      attempt_id: attempt!.id,
      attempt_number: 1,
      status: 'success',
      code: null,
      message: null,
      response_status: 201,
      response_body: 'another',
      retry_delay_ms: null,
      completed_at: new Date().toISOString(),
      gone: false,
      metadata: {},
    }
    const input = { ...ref, destination: 'a' }
    await record(system.deps, input, outcome)
    await record(system.deps, input, { ...outcome, status: 'failed', code: 'REJECTED' })
    expect(await system.attempts(ref)).toEqual([attempt])
    expect(await system.deliveries(ref)).toMatchObject([{ status: 'success' }])
  })

  it('no text of a driver error reaches the history when the database is unreachable', async () => {
    const receiver = await aReceiver()
    database.cut()
    const ref = await system.distribute({ destinations: [restTo('a', receiver.url)] })
    const failures = () =>
      system.log.filter(
        ({ activity, workflow_id }) => activity === 'plan' && String(workflow_id).includes(ref.distribution_id),
      )
    // The local activity and its one repetition: then its failure stands in the history.
    await expect.poll(() => failures().length, { timeout: 15_000 }).toBeGreaterThanOrEqual(2)
    database.mend()
    await system.ended(ref)
    const { client } = system.temporal
    const history = JSON.stringify(
      (await client.workflow.getHandle(`distribution/acme/${ref.distribution_id}`).fetchHistory()).events,
    ).replace(/"data":"([A-Za-z0-9+/=]+)"/g, (_, data: string) => Buffer.from(data, 'base64').toString())
    expect(history).toContain('An unexpected error; see the log entry with the reference')
    expect(history).not.toMatch(/ECONN|node_modules|stackTrace":"[^"]/)
  })
})
