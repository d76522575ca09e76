// One distribution over the real parts: PostgreSQL, Temporal, workers, an HTTP receiver that can misbehave.
import pg from 'pg'
import { Webhook } from 'standardwebhooks'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { plan } from '../../activities/distribution/plan.ts'
import { requestCancel, requestRetry } from '../../db/distributions/commands.ts'
import { endDistribution } from '../../db/distributions/end.ts'
import { jobId } from '../../db/distributions/job-id.ts'
import type { DistributionRef } from '../../workflows/messages.ts'
import { distributionWorkflowId } from '../../workflows/names.ts'
import { receiverPerTest } from '../support/receivers/per-test.ts'
import { idOf } from '../support/rows.ts'
import { ABOUT, createTestSystem, restTo, type TestSystem } from '../support/system.ts'

let system: TestSystem
const aReceiver = receiverPerTest()

beforeAll(async () => {
  system = await createTestSystem()
  await system.tenant('acme')
  await system.startWorkers()
})
afterAll(() => system.close())

const cancel = (ref: DistributionRef, reason: string | null = null) =>
  system.as(ref.tenant_id, (db) => requestCancel(db, jobId(ref.distribution_id), reason))
const retry = (ref: DistributionRef, request: Partial<Parameters<typeof requestRetry>[2]> = {}) =>
  system.as(ref.tenant_id, (db) => requestRetry(db, jobId(ref.distribution_id), { force: false, ...request }))

describe('a distribution', () => {
  it('delivers the exact accepted bytes on the first attempt and on a retry', async () => {
    const payload = '{"b": 1.0, "a":12345678901234567890,"b":"\\u00e9\\/", "z" : [ ] }'
    const receiver = await aReceiver([{ status: 503 }, { status: 200 }, { status: 200 }])
    const ref = await system.distribute({ payload_text: payload, destinations: [restTo('a', receiver.url)] })
    expect(await system.ended(ref)).toMatchObject({ status: 'completed', retry_count: 1 })
    expect(await retry(ref, { force: true })).toMatchObject({ outcome: 'reset', round: 2 })
    await system.runs.signalRetry(ref, ABOUT)
    const requests = await receiver.received(3)
    for (const request of requests) expect(request.body.toString()).toBe(payload)
    const [first, second, forced] = requests.map((request) => request.headers['idempotency-key'])
    expect(second).toBe(first)
    expect(forced).not.toBe(first)
    await expect.poll(async () => (await system.job(ref)).status).toBe('completed')
    expect((await system.attempts(ref)).map(({ attempt_number, status }) => [attempt_number, status])).toEqual([
      [1, 'retry'],
      [2, 'success'],
      [3, 'success'],
    ])
  })

  it('its latency counts from the acceptance, from deliver_at or from the retry, not from an earlier time', async () => {
    const receiver = await aReceiver()
    const owner = new pg.Client({ connectionString: system.database.adminUrl })
    await owner.connect()
    // Submitted an hour ago, and due a second ago.
    const id = await idOf(owner, new Date(Date.now() - 3_600_000))
    await owner.end()
    const seconds = async () => {
      const { values } = await system.metrics.latency.get()
      const of = (name: string) => values.find(({ metricName }) => metricName?.endsWith(name))?.value ?? 0
      return { sum: of('_sum'), count: of('_count') }
    }
    const before = await seconds()
    const destinations = [restTo('a', receiver.url)]
    const ref = await system.distribute({ id, deliver_at: new Date(Date.now() - 1000), destinations })
    expect(await system.ended(ref)).toMatchObject({ status: 'completed' })
    await retry(ref, { force: true })
    await system.runs.signalRetry(ref, ABOUT)
    await expect.poll(seconds).toMatchObject({ count: before.count + 2 })
    expect((await seconds()).sum - before.sum).toBeLessThan(1800)
    expect((await seconds()).sum - before.sum).toBeGreaterThan(1)
  })

  it('to more destinations than one workflow task starts serves each of them once', async () => {
    const receiver = await aReceiver()
    const names = Array.from({ length: 250 }, (_, i) => `d${i}`)
    const ref = await system.distribute({ destinations: names.map((name) => restTo(name, `${receiver.url}/${name}`)) })
    await expect.poll(async () => (await system.job(ref)).status, { timeout: 60_000 }).toBe('completed')
    expect(receiver.requests.map((request) => request.path.slice(1)).sort()).toEqual([...names].sort())
    const attempts = await system.attempts(ref)
    expect(attempts).toHaveLength(names.length)
    expect(attempts.every(({ attempt_number, status }) => attempt_number === 1 && status === 'success')).toBe(true)
  }, 90_000)

  it('tells its split where some destinations failed, and leaves the others delivered', async () => {
    const [good, bad] = [await aReceiver(), await aReceiver({ status: 422, body: 'not like this' })]
    const ref = await system.distribute({ destinations: [restTo('good', good.url), restTo('bad', bad.url)] })
    expect(await system.ended(ref)).toMatchObject({ status: 'failed', error_code: 'REJECTED' })
    expect(await system.deliveries(ref)).toMatchObject([
      { destination_name: 'good', status: 'success', attempts: 1 },
      { destination_name: 'bad', status: 'failed', attempts: 1, error_code: 'REJECTED' },
    ])
    expect((await system.attempts(ref))[0]).toMatchObject({
      destination_name: 'bad',
      status: 'failed',
      response_status_code: 422,
      response_body: 'not like this',
      retry_reason: 'REJECTED',
    })
  })

  it('attempts never pass the budget, and each has its row before the next one starts', async () => {
    const open: number[] = []
    let ref: DistributionRef | undefined
    const receiver = await aReceiver(async () => {
      open.push((await system.attempts(ref!)).filter(({ status }) => status === 'processing').length)
      return { status: 500 }
    })
    ref = await system.submit({ max_retries: 2, destinations: [restTo('a', receiver.url)] })
    await system.runs.start(ref, ABOUT)
    expect(await system.ended(ref)).toMatchObject({
      status: 'failed',
      error_code: 'DESTINATION_UNAVAILABLE',
      retry_count: 2,
    })
    expect(open).toEqual([1, 1, 1])
    expect((await system.attempts(ref)).map(({ status }) => status)).toEqual(['retry', 'retry', 'failed'])
  })

  it('a refused connection and an unknown host give attempt rows with a class, and are retried', async () => {
    const gone = await aReceiver()
    await gone.close()
    const ref = await system.distribute({
      max_retries: 1,
      destinations: [restTo('refused', gone.url), restTo('unknown', 'http://does-not-exist.invalid/')],
    })
    await system.ended(ref)
    expect(
      (await system.attempts(ref)).map(({ destination_name, status, retry_reason }) => [
        destination_name,
        status,
        retry_reason,
      ]),
    ).toEqual([
      ['refused', 'retry', 'DESTINATION_UNAVAILABLE'],
      ['refused', 'failed', 'DESTINATION_UNAVAILABLE'],
      ['unknown', 'retry', 'DESTINATION_UNAVAILABLE'],
      ['unknown', 'failed', 'DESTINATION_UNAVAILABLE'],
    ])
  })

  it('headers, then silence: the attempt ends within its deadline and is retried', async () => {
    const receiver = await aReceiver([{ status: 200, body: 'half', stall: 'body' }, { status: 200 }])
    const ref = await system.distribute({ destinations: [restTo('a', receiver.url, { timeout_seconds: 1 })] })
    expect(await system.ended(ref)).toMatchObject({ status: 'completed' })
    expect((await system.attempts(ref)).map(({ status, retry_reason }) => [status, retry_reason])).toEqual([
      ['retry', 'TIMEOUT'],
      ['success', null],
    ])
  })

  it('NUL and broken text in payload and answer still give an attempt row', async () => {
    const receiver = await aReceiver({ status: 400, body: Buffer.from([0x61, 0x00, 0xff, 0x62]) })
    const payload = '{"text":"\\u0000","half":"\\ud800"}'
    const ref = await system.distribute({
      payload_text: payload,
      payload_queryable: false,
      destinations: [restTo('a', receiver.url)],
    })
    await system.ended(ref)
    expect(receiver.requests[0]!.body.toString()).toBe(payload)
    expect(await system.attempts(ref)).toMatchObject([{ status: 'failed', response_status_code: 400 }])
  })

  it('logs an attempt under the ids by which a person looks for it, and never its payload or secret', async () => {
    const receiver = await aReceiver()
    const ref = await system.distribute({
      request_id: 'request-4711',
      payload_text: '{"kept":"out-of-the-log"}',
      destinations: [restTo('a', `${receiver.url}/?key=out-of-the-log-too`)],
    })
    await system.ended(ref)
    const [attempt] = await system.attempts(ref)
    const lines = system.log.filter((line) => line.distribution_id === ref.distribution_id)
    expect(lines).toContainEqual(
      expect.objectContaining({
        msg: 'attempt ended',
        tenant_id: 'acme',
        request_id: 'request-4711',
        attempt_id: attempt!.id,
        attempt_number: 1,
        status: 'success',
      }),
    )
    expect(JSON.stringify(system.log)).not.toContain('out-of-the-log')
  })

  it('ends an empty plan as completed with a warning', async () => {
    const ref = await system.distribute({ destinations: [] })
    expect(await system.ended(ref)).toMatchObject({
      status: 'completed',
      warnings: ['No destination was chosen for this distribution'],
    })
  })

  it('keeps the deliver_at time, with its plan visible before', async () => {
    const receiver = await aReceiver()
    const deliverAt = new Date(Date.now() + 1500)
    const ref = await system.distribute({
      deliver_at: deliverAt,
      destinations: [restTo('a', receiver.url)],
    })
    await expect.poll(() => system.deliveries(ref)).toMatchObject([{ status: 'pending' }])
    expect((await system.job(ref)).status).toBe('pending')
    const [request] = await receiver.received(1)
    expect(request!.at).toBeGreaterThanOrEqual(deliverAt.getTime())
    expect(await system.ended(ref)).toMatchObject({ status: 'completed' })
  })

  it('that expires fails its waiting deliveries with EXPIRED, and sends nothing afterwards', async () => {
    const receiver = await aReceiver({ status: 503, headers: { 'retry-after': '30' } })
    const ref = await system.distribute({ timeout_seconds: 2, destinations: [restTo('a', receiver.url)] })
    await expect.poll(() => system.deliveries(ref)).toMatchObject([{ status: 'waiting' }])
    expect(await system.ended(ref)).toMatchObject({ status: 'failed', error_code: 'EXPIRED' })
    expect(await system.deliveries(ref)).toMatchObject([{ status: 'failed', error_code: 'EXPIRED', attempts: 1 }])
    expect(receiver.requests).toHaveLength(1)
  })

  it('a cancel closes the socket of a send in flight at one of its next heartbeats', async () => {
    const receiver = await aReceiver({ stall: 'headers' })
    const ref = await system.distribute({ destinations: [restTo('a', receiver.url, { timeout_seconds: 60 })] })
    const [request] = await receiver.received(1)
    expect(await cancel(ref, 'not needed')).toEqual({ outcome: 'requested', ...ABOUT })
    const askedAt = Date.now()
    expect(await system.dispatcher.tell('cancel', ref, (runs) => runs.signalCancel(ref, ABOUT))).toBe(true)
    await request!.closed
    // Heartbeats carry the cancellation every second; the rest is room for a busy machine, far from the deadline of 60 s.
    expect(Date.now() - askedAt).toBeLessThan(5000)
    expect(await system.ended(ref)).toMatchObject({ status: 'cancelled', cancel_reason: 'not needed' })
    expect(await system.attempts(ref)).toMatchObject([
      { status: 'cancelled', retry_reason: 'CANCELLED', metadata: { outcome: 'unknown' } },
    ])
    await endsInOneLine(ref, 'CANCELLED')
  })

  it('an expiry ends a send in flight, and its attempt is logged once', async () => {
    const receiver = await aReceiver({ stall: 'headers' })
    const destinations = [restTo('a', receiver.url, { timeout_seconds: 60 })]
    const ref = await system.distribute({ timeout_seconds: 2, request_id: 'request-4712', destinations })
    expect(await system.ended(ref)).toMatchObject({ status: 'failed', error_code: 'EXPIRED' })
    await endsInOneLine(ref, 'EXPIRED')
  })

  /** Of an attempt that was closed together with its distribution. */
  async function endsInOneLine(ref: DistributionRef, code: string): Promise<void> {
    const [attempt] = await system.attempts(ref)
    const lines = () =>
      system.log.filter(({ attempt_id, msg }) => attempt_id === attempt!.id && String(msg).startsWith('attempt '))
    await expect
      .poll(lines)
      .toMatchObject([
        { level: 30, msg: 'attempt closed: its distribution ended', destination: 'a', attempt_number: 1, code, ...ref },
      ])
    const counted = (await system.metrics.attempts.get()).values.map(({ labels }) => labels)
    expect(counted).toContainEqual({
      tenant_id: 'acme',
      destination: 'ad-hoc',
      protocol: 'REST',
      status: 'cancelled',
      code,
    })
  }

  it('a cancel of a finished distribution is answered with the fact that it is finished', async () => {
    const ref = await system.distribute({ destinations: [restTo('a', (await aReceiver()).url)] })
    await system.ended(ref)
    expect(await cancel(ref)).toEqual({ outcome: 'finished', status: 'completed', asked: false })
    // A signal that comes too late changes nothing, and leaves no run behind.
    expect(await system.dispatcher.tell('cancel', ref, (runs) => runs.signalCancel(ref, ABOUT))).toBe(true)
    await expect.poll(async () => (await system.runs.describe(ref)).state).toBe('closed')
    expect((await system.job(ref)).status).toBe('completed')
  })

  it('a cancel ends a distribution whose run is gone, and sends nothing but its callback', async () => {
    const [receiver, owner] = [await aReceiver(), await aReceiver()]
    const common = { ordering_key: 'gone', destinations: [restTo('a', receiver.url)] }
    const lost = await system.submit({ ...common, callback_url: owner.url })
    const next = await system.distribute(common)
    await expect.poll(() => system.deliveries(next)).toMatchObject([{ status: 'waiting' }])
    expect(await system.runs.describe(lost)).toEqual({ state: 'unknown' })
    expect(await cancel(lost)).toEqual({ outcome: 'requested', ...ABOUT })
    expect(await system.dispatcher.tell('cancel', lost, (runs) => runs.signalCancel(lost, ABOUT))).toBe(true)
    expect(await system.ended(lost)).toMatchObject({ status: 'cancelled', error_code: 'CANCELLED' })
    const [told] = await owner.received(1)
    expect(JSON.parse(told!.body.toString())).toMatchObject({ event_type: 'distribution.cancelled' })
    expect(await system.ended(next)).toMatchObject({ status: 'completed' })
    expect(receiver.requests).toHaveLength(1)
  })

  it('a cancel ends a distribution whose run was terminated during its work', async () => {
    const receiver = await aReceiver({ status: 503, headers: { 'retry-after': '60' } })
    const ref = await system.distribute({ destinations: [restTo('a', receiver.url)] })
    await expect.poll(() => system.deliveries(ref)).toMatchObject([{ status: 'waiting' }])
    await system.temporal.client.workflow.getHandle(distributionWorkflowId(ref)).terminate()
    await cancel(ref, 'not needed')
    await system.runs.signalCancel(ref, ABOUT)
    expect(await system.ended(ref)).toMatchObject({ status: 'cancelled', cancel_reason: 'not needed' })
    expect(await system.deliveries(ref)).toMatchObject([{ status: 'cancelled', error_code: 'CANCELLED' }])
  })

  it('a cancellation in the Temporal UI cancels the row too', async () => {
    const receiver = await aReceiver({ status: 503, headers: { 'retry-after': '60' } })
    const ref = await system.distribute({ destinations: [restTo('a', receiver.url)] })
    await expect.poll(() => system.deliveries(ref)).toMatchObject([{ status: 'waiting' }])
    const handle = system.temporal.client.workflow.getHandle(distributionWorkflowId(ref))
    await handle.cancel()
    expect(await system.ended(ref)).toMatchObject({ status: 'cancelled', cancel_reason: 'cancelled in Temporal' })
    await expect.poll(async () => (await handle.describe()).status.name).toBe('COMPLETED')
  })

  it('a retry after a cancel before the plan creates the plan, in the new round', async () => {
    const ref = await system.submit({ destinations: [restTo('a', (await aReceiver()).url)] })
    await system.as('acme', (db) => endDistribution(db, jobId(ref.distribution_id), { round: 1, cause: 'cancelled' }))
    expect(await retry(ref)).toMatchObject({ outcome: 'reset', round: 2, destinations: [] })
    expect(await plan(system.pool, ref)).toMatchObject({ round: 2, deliveries: [{ name: 'a', round: 2 }] })
  })

  it('two manual retries give two numbered attempts, and one too early is refused', async () => {
    const receiver = await aReceiver({ status: 404 })
    const ref = await system.distribute({ destinations: [restTo('a', receiver.url)] })
    await system.ended(ref)
    for (const round of [2, 3]) {
      expect(await retry(ref)).toMatchObject({ outcome: 'reset', round, destinations: ['a'] })
      expect(await retry(ref)).toMatchObject({ outcome: 'nothing' })
      await system.runs.signalRetry(ref, ABOUT)
      await expect.poll(async () => (await system.job(ref)).status).toBe('failed')
    }
    expect((await system.attempts(ref)).map(({ attempt_number }) => attempt_number)).toEqual([1, 2, 3])
    expect(new Set(receiver.requests.map((request) => request.headers['idempotency-key'])).size).toBe(1)
  })

  it('a retry of some destinations leaves the others alone', async () => {
    const [a, b] = [await aReceiver({ status: 404 }), await aReceiver({ status: 404 })]
    const ref = await system.distribute({ destinations: [restTo('a', a.url), restTo('b', b.url)] })
    await system.ended(ref)
    a.reply({ status: 200 })
    await retry(ref, { destinations: ['a'] })
    await system.runs.signalRetry(ref, ABOUT)
    await a.received(2)
    expect(await system.ended(ref)).toMatchObject({ status: 'failed' })
    expect(await system.deliveries(ref)).toMatchObject([{ status: 'success' }, { status: 'failed', attempts: 1 }])
    expect(await retry(ref, { destinations: ['nobody'] })).toMatchObject({ outcome: 'nothing', unknown: ['nobody'] })
  })

  it('a 410 disables the registered destination, and no retry follows', async () => {
    const receiver = await aReceiver({ status: 410 })
    await system.as('acme', (db) =>
      db.query(
        `insert into destinations (tenant_id, name, protocol, configuration) values ('acme', 'leaver', 'REST', $1)`,
        [JSON.stringify({ endpoint: receiver.url })],
      ),
    )
    const ref = await system.distribute({ destinations: [{ name: 'leaver' }] })
    expect(await system.ended(ref)).toMatchObject({ status: 'failed', error_code: 'REJECTED' })
    const { rows } = await system.as('acme', (db) =>
      db.query(`select status, status_reason from destinations where name = 'leaver'`),
    )
    expect(rows).toMatchObject([{ status: 'inactive' }])
    expect(receiver.requests).toHaveLength(1)

    const second = await system.distribute({ timeout_seconds: 30, destinations: [{ name: 'leaver' }] })
    await expect
      .poll(() => system.deliveries(second))
      .toMatchObject([{ status: 'waiting', error_code: 'DESTINATION_DISABLED', attempts: 0 }])
    receiver.reply({ status: 200 })
    await system.as('acme', (db) => db.query(`update destinations set status = 'active' where name = 'leaver'`))
    expect(await system.ended(second)).toMatchObject({ status: 'completed' })
  })

  it('a 410 disables a deprecated destination as well', async () => {
    const receiver = await aReceiver({ status: 410 })
    await system.as('acme', (db) =>
      db.query(
        `insert into destinations (tenant_id, name, protocol, status, configuration)
         values ('acme', 'old-leaver', 'REST', 'deprecated', $1)`,
        [JSON.stringify({ endpoint: receiver.url })],
      ),
    )
    await system.ended(await system.distribute({ destinations: [{ name: 'old-leaver' }] }))
    const { rows } = await system.as('acme', (db) =>
      db.query(`select status from destinations where name = 'old-leaver'`),
    )
    expect(rows).toEqual([{ status: 'inactive' }])
  })

  it('delivers to a deprecated destination with a warning', async () => {
    const receiver = await aReceiver()
    await system.as('acme', (db) =>
      db.query(
        `insert into destinations (tenant_id, name, protocol, status, configuration)
         values ('acme', 'old', 'REST', 'deprecated', $1)`,
        [JSON.stringify({ endpoint: receiver.url })],
      ),
    )
    const ref = await system.distribute({ destinations: [{ name: 'old' }] })
    expect(await system.ended(ref)).toMatchObject({
      status: 'completed',
      warnings: ['The destination old is deprecated'],
    })
  })

  it('sends one signed callback per time that it ends', async () => {
    const secret = `whsec_${Buffer.alloc(32, 7).toString('base64')}`
    await system.as('acme', (db) =>
      db.query(`update tenants set callback_secret = $1 where id = 'acme'`, [
        system.sealer.seal(secret, ['acme', 'tenants', 'callback_secret']),
      ]),
    )
    const owner = await aReceiver()
    const receiver = await aReceiver({ status: 404 })
    const ref = await system.distribute({ callback_url: owner.url, destinations: [restTo('a', receiver.url)] })
    await owner.received(1)
    receiver.reply({ status: 200 })
    await retry(ref)
    await system.runs.signalRetry(ref, ABOUT)
    const requests = await owner.received(2)
    const bodies = requests.map((request) => {
      const { headers, body } = request
      return new Webhook(secret).verify(body.toString(), headers as Record<string, string>)
    })
    expect(bodies).toMatchObject([
      { event_type: 'distribution.failed', status: 'failed', distribution_id: ref.distribution_id, tenant_id: 'acme' },
      { event_type: 'distribution.completed', status: 'completed', destinations: [{ name: 'a', status: 'success' }] },
    ])
    expect(new Set(requests.map((request) => request.headers['webhook-id'])).size).toBe(2)
  })

  it('a hanging callback URL delays neither the end nor another distribution', async () => {
    const owner = await aReceiver({ stall: 'headers' })
    const receiver = await aReceiver()
    const ref = await system.distribute({ callback_url: owner.url, destinations: [restTo('a', receiver.url)] })
    await owner.received(1)
    expect(await system.ended(ref)).toMatchObject({ status: 'completed' })
    const handle = system.temporal.client.workflow.getHandle(distributionWorkflowId(ref))
    await expect.poll(async () => (await handle.describe()).status.name).toBe('COMPLETED')
  })

  it('shows a tenant’s failed runs, the destination of each activity and its reason in Temporal', async () => {
    const ref = await system.distribute({ destinations: [restTo('ledger', (await aReceiver({ status: 404 })).url)] })
    await system.ended(ref)
    const { client } = system.temporal
    const query = `TenantId = 'acme' and DistributionStatus = 'failed' and WorkflowId = '${distributionWorkflowId(ref)}'`
    await expect.poll(async () => (await client.workflow.count(query)).count).toBe(1)
    const history = await client.workflow.getHandle(distributionWorkflowId(ref)).fetchHistory()
    const text = JSON.stringify(history.events).replace(/"data":"([A-Za-z0-9+/=]+)"/g, (_, data: string) =>
      Buffer.from(data, 'base64').toString(),
    )
    expect(text).toContain('REST → ledger')
    expect(text).toContain('REJECTED')
    expect(text).toContain('404')
    expect(text).not.toContain('hello')
  })
})
