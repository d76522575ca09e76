// The sweep finds rows whose run or signal was lost, and completes their work.
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { sweep } from '../../activities/upkeep/sweep.ts'
import { noteFailure, resetCircuit } from '../../db/destinations/circuits.ts'
import { requestCancel, requestRetry } from '../../db/distributions/commands.ts'
import { endDistribution } from '../../db/distributions/end.ts'
import { jobId } from '../../db/distributions/job-id.ts'
import { createPool, type Db } from '../../db/pool.ts'
import { insertEvent } from '../../db/webhooks/webhooks.ts'
import type { DistributionRef } from '../../workflows/messages.ts'
import { distributionWorkflowId } from '../../workflows/names.ts'
import { register } from '../support/destinations.ts'
import { type HttpReceiver, startHttpReceiver } from '../support/receivers/http.ts'
import { ABOUT, createTestSystem, restTo, type TestSystem } from '../support/system.ts'

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

const id = (ref: DistributionRef) => jobId(ref.distribution_id)
const sweepDue = () => sweep(system.deps, { all: false }, () => {})
const sweepAll = () => sweep(system.deps, { all: true }, () => {})

async function makeDue(ref: DistributionRef) {
  await system.as(ref.tenant_id, (db) =>
    db.query(`update distribution_jobs set check_at = clock_timestamp() - interval '1 second' where id = $1`, [
      id(ref),
    ]),
  )
}

async function isDue(ref: DistributionRef): Promise<boolean> {
  const { rows } = await system.as(ref.tenant_id, (db) =>
    db.query<{ due: boolean }>('select check_at <= clock_timestamp() as due from distribution_jobs where id = $1', [
      id(ref),
    ]),
  )
  return rows[0]!.due
}

async function insertDueJobs(db: Db, count: number): Promise<string[]> {
  const { rows } = await db.query<{ id: string }>(
    `insert into distribution_jobs (id, tenant_id, distribution_id, data_type, payload, destinations, expires_at, check_at)
     select n.id, 'acme', 'dist_' || n.id, 'report', '{}', '[]', now() + interval '1 hour', now() - interval '1 hour'
       from (select new_uuidv7() as id from generate_series(1, $1)) as n
     returning id`,
    [count],
  )
  return rows.map((row) => row.id)
}

async function endsAs(ref: DistributionRef, status: string) {
  await expect.poll(async () => (await system.job(ref)).status, { timeout: 15_000 }).toBe(status)
}

async function auditOf(ref: DistributionRef): Promise<string[]> {
  const { rows } = await system.as(ref.tenant_id, (db) =>
    db.query<{ action: string }>('select action from audit_log where resource_id = $1', [id(ref)]),
  )
  return rows.map((row) => row.action)
}

const terminate = (ref: DistributionRef) =>
  system.temporal.client.workflow.getHandle(distributionWorkflowId(ref)).terminate()
const waiting = async () => ({
  destinations: [restTo('a', 'http://127.0.0.1:1/')],
  max_retries: 50,
})

describe('the sweep', () => {
  it('starts what was accepted while Temporal was away, for every tenant, and only what is due', async () => {
    const refs = await Promise.all(
      ['acme', 'globex'].map((tenant_id) => system.submit({ tenant_id, destinations: [restTo('a', receiver.url)] })),
    )
    await sweepDue()
    expect(await system.runs.describe(refs[0]!)).toEqual({ state: 'unknown' })
    for (const ref of refs) await makeDue(ref)
    await sweepDue()
    for (const ref of refs) await endsAs(ref, 'completed')
  })

  it('a full pass starts every open job again when Temporal has forgotten everything', async () => {
    const ref = await system.submit({ destinations: [restTo('a', receiver.url)] })
    await sweepAll()
    await endsAs(ref, 'completed')
  })

  it('does not disturb a running workflow, and repeats a cancel that never reached it', async () => {
    const ref = await system.distribute(await waiting())
    await expect.poll(() => system.deliveries(ref)).toMatchObject([{ status: 'waiting' }])
    await makeDue(ref)
    await sweepDue()
    expect((await system.job(ref)).sweep_starts).toBe(0)
    await system.as('acme', (db) => requestCancel(db, id(ref), null))
    await makeDue(ref)
    await sweepDue()
    await endsAs(ref, 'cancelled')
  })

  it('repeats a retry that never reached the run, while a sibling still waits', async () => {
    const moody = await startHttpReceiver({ script: [{ status: 404 }, { status: 200 }] })
    const busy = await startHttpReceiver({ script: { status: 503, headers: { 'retry-after': '600' } } })
    const ref = await system.distribute({
      ...(await waiting()),
      destinations: [restTo('moody', moody.url), restTo('busy', busy.url)],
    })
    const states = async () => (await system.deliveries(ref)).map((delivery) => delivery.status)
    await expect.poll(states, { timeout: 15_000 }).toEqual(['failed', 'waiting'])
    await system.as('acme', (db) => requestRetry(db, id(ref), { force: false }))
    await makeDue(ref)
    await sweepDue()
    await expect.poll(states, { timeout: 15_000 }).toEqual(['success', 'waiting'])
    await system.as('acme', (db) => requestCancel(db, id(ref), null))
    await system.runs.signalCancel(ref, ABOUT)
    await endsAs(ref, 'cancelled')
    await Promise.all([moody.close(), busy.close()])
  })

  it('ends by the row alone a cancelled job that never had a run', async () => {
    const ref = await system.submit({ destinations: [restTo('a', receiver.url)] })
    await system.as('acme', (db) => requestCancel(db, id(ref), 'changed my mind'))
    await makeDue(ref)
    const before = receiver.requests.length
    await sweepDue()
    expect(await system.job(ref)).toMatchObject({ status: 'cancelled', cancel_reason: 'changed my mind' })
    await system.runs.start(ref, ABOUT)
    await expect.poll(async () => (await system.runs.describe(ref)).state).toBe('closed')
    expect(receiver.requests).toHaveLength(before)
  })

  it('a run terminated by an operator ends its job as cancelled, reason terminated', async () => {
    const ref = await system.distribute(await waiting())
    await expect.poll(() => system.deliveries(ref)).toMatchObject([{ status: 'waiting' }])
    await terminate(ref)
    await makeDue(ref)
    await sweepDue()
    expect(await system.job(ref)).toMatchObject({ status: 'cancelled', cancel_reason: 'terminated' })
    expect(await system.deliveries(ref)).toMatchObject([{ status: 'cancelled', error_code: 'CANCELLED' }])
    const msg = 'distribution cancelled: its run was terminated in Temporal'
    expect(system.log.filter((line) => line.msg === msg)).toMatchObject([{ level: 40, ...ref }])
  })

  it('a run that is terminated after its check is found by the next sweeps, long before its next check', async () => {
    const ref = await system.distribute(await waiting())
    await expect.poll(() => system.deliveries(ref)).toMatchObject([{ status: 'waiting' }])
    await makeDue(ref)
    await sweepDue()
    expect(await isDue(ref)).toBe(false)
    await terminate(ref)
    // Temporal's list of runs lags behind a little.
    await expect
      .poll(async () => {
        await sweepDue()
        return await system.job(ref)
      })
      .toMatchObject({ status: 'cancelled', cancel_reason: 'terminated' })
  })

  it('a manual retry goes on although the last run was terminated and Temporal was away', async () => {
    const ref = await system.distribute(await waiting())
    await expect.poll(() => system.deliveries(ref)).toMatchObject([{ status: 'waiting' }])
    await terminate(ref)
    await makeDue(ref)
    await sweepDue()
    await system.as('acme', async (db) => {
      await requestRetry(db, id(ref), { force: false })
      await db.query(`update distribution_deliveries set configuration = $2 where distribution_job_id = $1`, [
        id(ref),
        JSON.stringify({ endpoint: receiver.url }),
      ])
    })
    await makeDue(ref)
    await sweepDue()
    await endsAs(ref, 'completed')
  })

  it('a job whose run ends again and again is failed after five starts, with an audit event', async () => {
    const ref = await system.submit({ destinations: [restTo('a', receiver.url)] })
    await system.as('acme', (db) => db.query('update distribution_jobs set sweep_starts = 5 where id = $1', [id(ref)]))
    await makeDue(ref)
    await sweepDue()
    expect(await system.job(ref)).toMatchObject({ status: 'failed', error_code: 'UNEXPECTED' })
    expect(await auditOf(ref)).toContain('distribution.abandoned')
    const { rows } = await system.as('acme', (db) =>
      db.query(
        "select details ->> 'distribution_id' as id from event_windows where event_type = 'distributions.failed'",
      ),
    )
    expect(rows).toContainEqual({ id: ref.distribution_id })
  })

  it('a run whose row is gone ends, with an audit event', async () => {
    const ref = await system.submit({ destinations: [] })
    const gone = { ...ref, distribution_id: ref.distribution_id.replace(/.$/, (last) => (last === '0' ? '1' : '0')) }
    await system.runs.start(gone, ABOUT)
    await expect.poll(async () => (await system.runs.describe(gone)).state, { timeout: 15_000 }).toBe('closed')
    expect(await auditOf(gone)).toEqual(['distribution.missing'])
    await sweepAll()
  })

  it('sends a callback whose sender was lost', async () => {
    const owner = await startHttpReceiver()
    const ref = await system.submit({ callback_url: owner.url, destinations: [restTo('a', receiver.url)] })
    await system.as('acme', async (db) => {
      await requestCancel(db, id(ref), null)
    })
    await system.as('acme', (db) => endDistribution(db, id(ref), { round: 1, cause: 'cancelled' }))
    await system.as('acme', (db) =>
      db.query(`update webhooks set check_at = clock_timestamp() where subject_id = $1`, [id(ref)]),
    )
    await sweepDue()
    const [request] = await owner.received(1)
    expect(JSON.parse(request!.body.toString())).toMatchObject({ event_type: 'distribution.cancelled' })
    await owner.close()
  })

  it('a full pass sends callbacks and events whose senders Temporal has forgotten, each when its own delay is over', async () => {
    const owner = await startHttpReceiver()
    await system.tenant('told')
    await system.as('told', (db) => db.query('update tenants set event_url = $1', [`${owner.url}/event`]))
    const refs = await Promise.all(
      ['/now', '/tried', '/later'].map((path) =>
        system.submit({ tenant_id: 'told', callback_url: `${owner.url}${path}`, destinations: [] }),
      ),
    )
    for (const ref of refs) {
      await system.as('told', async (db) => {
        await requestCancel(db, id(ref), null)
        await endDistribution(db, id(ref), { round: 1, cause: 'cancelled' })
      })
    }
    const set = (ref: DistributionRef, values: string) =>
      system.as('told', (db) => db.query(`update webhooks set ${values} where subject_id = $1`, [id(ref)]))
    const soon = `check_at = clock_timestamp() + interval '10 minutes'`
    await set(refs[0]!, soon)
    await set(refs[1]!, `${soon}, attempts = 1, next_attempt_at = clock_timestamp() - interval '1 second'`)
    await set(refs[2]!, `${soon}, attempts = 1, next_attempt_at = clock_timestamp() + interval '3 seconds'`)
    await system.as('told', async (db) => {
      await insertEvent(db, 'told', 'destination.disabled', { destination: 'a' })
      await db.query(`update webhooks set attempts = 1, ${soon} where kind = 'event'`)
    })
    await sweepAll()
    const paths = (await owner.received(3)).map(({ path }) => path)
    expect(paths.sort()).toEqual(['/event', '/now', '/tried'])
    await sleep(3100)
    await sweepDue()
    expect((await owner.received(4)).map(({ path }) => path).at(-1)).toBe('/later')
    await owner.close()
  })

  it('a full pass resumes what waits for a destination that has recovered, or whose limits have changed', async () => {
    const recovered = await register(system, 'recovered', receiver.url)
    const wider = await register(system, 'wider', receiver.url, { rate_limit: { requests: 1, per_seconds: 3600 } })
    const settings = { failures: 1, open_seconds: 3600 }
    const circuit = { tenant_id: 'acme', target: recovered, delivery_id: 'x' }
    await system.as('acme', (db) =>
      noteFailure(db, circuit, { attempt_id: crypto.randomUUID(), counted: true, settings }),
    )
    const refs = await Promise.all(
      ['recovered', 'recovered', 'wider', 'wider', 'wider'].map((name) =>
        system.distribute({ destinations: [{ name }] }),
      ),
    )
    const put_off = async () => {
      const { rows } = await system.as('acme', (db) =>
        db.query('select from distribution_deliveries where deferred_target = any ($1)', [[recovered, wider]]),
      )
      return rows.length
    }
    await expect.poll(put_off, { timeout: 15_000 }).toBe(4)
    // As it is when Temporal forgets everything while they are being resumed.
    await system.as('acme', (db) => resetCircuit(db, 'acme', recovered))
    await system.as('acme', (db) =>
      db.query('update destinations set rate_limit = null, updated_at = clock_timestamp() where id = $1', [wider]),
    )
    await sweepAll()
    for (const ref of refs) await endsAs(ref, 'completed')
  })

  it('reaches every callback, even when hundreds wait for a hanging receiver', async () => {
    const ref = await system.submit({ destinations: [restTo('a', receiver.url)] })
    await system.as('acme', (db) =>
      db.query(
        `insert into webhooks (subject_id, kind, tenant_id, round, event_type, url, body, check_at)
         select $1, 'distribution', 'acme', n, 'distribution.completed', 'http://127.0.0.1:9', '{}', clock_timestamp() - interval '1 minute'
           from generate_series(1, 620) n`,
        [id(ref)],
      ),
    )
    const told: number[] = []
    const runs = {
      ...system.runs,
      async startWebhook({ webhook_id }: { webhook_id: string }) {
        const round = Number(webhook_id.split('.')[1])
        told.push(round)
        if (round === 7) throw new Error('not now')
      },
    }
    for (let i = 0; i < 2; i += 1) await sweep({ ...system.deps, runs: () => runs }, { all: false }, () => {})
    expect(told).toHaveLength(620)
    expect(new Set(told).size).toBe(620)
    await system.as('acme', (db) => db.query(`update webhooks set status = 'failed' where subject_id = $1`, [id(ref)]))
  })

  it('counts what it ends', async () => {
    const ref = await system.submit({ data_type: 'swept', destinations: [restTo('a', receiver.url)] })
    await system.as('acme', (db) => requestCancel(db, id(ref), null))
    const ended = async () => {
      const { values } = await system.metrics.requests.get()
      return values.filter(({ labels }) => labels.status === 'cancelled').reduce((sum, { value }) => sum + value, 0)
    }
    const before = await ended()
    await makeDue(ref)
    await sweepDue()
    expect(await ended()).toBe(before + 1)
  })

  it('does not count a start that Temporal rejects, and postpones the job', async () => {
    const ref = await system.submit({ destinations: [restTo('a', receiver.url)] })
    await makeDue(ref)
    const runs = { ...system.runs, startAgain: () => Promise.reject(new Error('no such search attribute')) }
    await sweep({ ...system.deps, runs: () => runs }, { all: false }, () => {})
    expect((await system.job(ref)).sweep_starts).toBe(0)
    expect(await isDue(ref)).toBe(false)
    await makeDue(ref)
    await sweepDue()
    await endsAs(ref, 'completed')
  })

  it('a job that cannot be started still expires', async () => {
    const ref = await system.submit({ destinations: [restTo('a', receiver.url)] })
    await system.as('acme', (db) =>
      db.query(`update distribution_jobs set expires_at = created_at + interval '1 millisecond' where id = $1`, [
        id(ref),
      ]),
    )
    await makeDue(ref)
    const runs = { ...system.runs, startAgain: () => Promise.reject(new Error('refused')) }
    await sweep({ ...system.deps, runs: () => runs }, { all: false }, () => {})
    expect(await system.job(ref)).toMatchObject({ status: 'failed', error_code: 'EXPIRED' })
  })

  it('skips a page of jobs that cannot be looked up, and reaches the job behind them', async () => {
    const lost = new Set(await system.as('acme', (db) => insertDueJobs(db, 500)))
    const ref = await system.submit({ destinations: [restTo('a', receiver.url)] })
    await makeDue(ref)
    const runs: typeof system.runs = {
      ...system.runs,
      describe: (job) =>
        lost.has(id(job)) ? Promise.reject(new Error('Temporal does not answer')) : system.runs.describe(job),
    }
    let beats = 0
    const beat = () => {
      beats += 1
      if (beats > 100) throw new Error('the same page again and again')
    }
    await sweep({ ...system.deps, runs: () => runs }, { all: false }, beat)
    await endsAs(ref, 'completed')
    await system.as('acme', (db) =>
      db.query(`update distribution_jobs set status = 'failed' where id = any ($1)`, [[...lost]]),
    )
  })

  it('runs before the callbacks, which may fill its queue', async () => {
    const handle = await system.temporal.client.workflow.start('sweep', {
      workflowId: `sweep-${system.taskQueue}`,
      taskQueue: system.taskQueue,
      args: [{ all: false }],
    })
    await handle.result()
    const { events } = await handle.fetchHistory()
    const scheduled = events?.find((event) => event.activityTaskScheduledEventAttributes)
    expect(scheduled?.activityTaskScheduledEventAttributes?.priority?.priorityKey).toBe(1)
  })

  it('a long pass does not delay the stop of a worker', async () => {
    const other = await createTestSystem()
    await other.tenant('acme')
    await other.as('acme', (db) => insertDueJobs(db, 1000))
    let looks = 0
    other.deps.runs = () => ({
      ...other.runs,
      async describe() {
        looks += 1
        await sleep(500)
        return { state: 'running' }
      },
    })
    const workers = await other.startWorkers()
    const handle = await other.temporal.client.workflow.start('sweep', {
      workflowId: `sweep-${other.taskQueue}`,
      taskQueue: other.taskQueue,
      args: [{ all: false }],
    })
    await expect.poll(() => looks, { timeout: 15_000 }).toBeGreaterThan(0)
    await workers.shutdown()
    expect(looks).toBeLessThan(1000)
    await handle.terminate()
    await other.close()
  }, 60_000)
})

it('sends one event for many failed deliveries of an inline destination', async () => {
  await system.as('acme', (db) =>
    db.query("update tenants set event_url = $1 where id = 'acme'", [`${receiver.url}/events`]),
  )
  receiver.reply({ status: 404 })
  const refs = await Promise.all(
    Array.from({ length: 8 }, () => system.distribute({ destinations: [restTo('a', `${receiver.url}/gone`)] })),
  )
  for (const ref of refs)
    await expect.poll(async () => (await system.job(ref)).status, { timeout: 20_000 }).toBe('failed')
  receiver.reply({})
  // As if a minute had passed.
  await system.as('acme', (db) =>
    db.query(
      `update distribution_deliveries set completed_at = completed_at - interval '90 seconds'
        where distribution_job_id = any ($1) and status = 'failed'`,
      [refs.map(id)],
    ),
  )
  const owner = createPool({ connectionString: system.database.adminUrl, max: 1, application_name: 'test' })
  await owner.query("update event_marks set seen_until = clock_timestamp() - interval '2 minutes'")
  await owner.end()
  await sweepDue()
  await sweepDue()
  const told = () =>
    receiver.requests.filter(({ path }) => path === '/events').map(({ body }) => JSON.parse(String(body)))
  await expect.poll(() => told().length, { timeout: 20_000 }).toBe(1)
  expect(told()[0]).toMatchObject({ event_type: 'deliveries.failed', destination: 'ad-hoc', tenant_id: 'acme' })
  expect(told()[0].count).toBeGreaterThanOrEqual(8)
  await system.as('acme', (db) => db.query("update tenants set event_url = null where id = 'acme'"))
})
