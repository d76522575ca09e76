// Shaping in the whole product: registered destinations, real workers, and a receiver that records each request.
import { execFileSync } from 'node:child_process'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  type DestinationContent,
  insertDestination,
  newDestinationId,
  updateDestination,
} from '../../db/destinations/destinations.ts'
import { requestCancel, requestRetry } from '../../db/distributions/commands.ts'
import { jobId } from '../../db/distributions/job-id.ts'
import type { DistributionRef } from '../../workflows/messages.ts'
import { receiverPerTest } from '../support/receivers/per-test.ts'
import { ABOUT, createTestSystem, type TestSystem } from '../support/system.ts'

let system: TestSystem
const aReceiver = receiverPerTest()

beforeAll(async () => {
  system = await createTestSystem({ shaper: { timeoutMs: 3000 } })
  await system.tenant('acme')
  await system.tenant('other')
  await system.startWorkers()
})
afterAll(() => system.close())

const PAYLOAD =
  '{"report_id": 9007199254740993, "total": 1.0, "iban": "IT60X0542811101000000123456", "rows": [{"fee": 1.10}]}'
const WAIT = { timeout: 60_000 }

function content(endpoint: string, transform_config: Record<string, unknown>): DestinationContent {
  return {
    description: null,
    configuration: { endpoint },
    transform_config,
    health_check_config: {},
    max_retries: null,
    tags: [],
  } as unknown as DestinationContent
}

function register(name: string, endpoint: string, transform_config: Record<string, unknown> = {}, tenant_id = 'acme') {
  return system.as(tenant_id, async (db) => {
    const id = await newDestinationId(db)
    await insertDestination(
      db,
      { id, tenant_id, name, protocol: 'REST', ...content(endpoint, transform_config) },
      'test',
    )
    return id
  })
}

const send = (name: string, payload_text = PAYLOAD, tenant_id = 'acme') =>
  system.distribute({ tenant_id, payload_text, destinations: [{ name }] })

describe('a destination that shapes', () => {
  it('gets the shaped document with its content type; placeholders use the submitted payload', async () => {
    const receiver = await aReceiver([{ status: 503 }, { status: 200 }])
    await register('csv', `${receiver.url}/{payload.report_id}`, {
      exclude: ['report_id'],
      mask: [{ path: 'iban', keep_last: 4 }],
      output: { format: 'csv', columns: ['iban', 'total'] },
    })
    const ref = await send('csv')
    expect(await system.ended(ref)).toMatchObject({ status: 'completed' })
    const [first, second] = await receiver.received(2)
    expect(first!.body.toString()).toBe('iban,total\r\n***********************3456,1.0\r\n')
    expect(second!.body).toEqual(first!.body)
    expect(first!.path).toBe('/9007199254740993')
    expect(first!.headers['content-type']).toBe('text/csv; charset=utf-8; header=present')
    expect((await system.attempts(ref)).at(-1)!.metadata).toMatchObject({
      shaped: { content_type: 'text/csv; charset=utf-8; header=present', bytes: first!.body.length },
    })
  })

  it('without a shape gets the exact bytes', async () => {
    const receiver = await aReceiver()
    await register('plain', receiver.url)
    const ref = await send('plain')
    expect(await system.ended(ref)).toMatchObject({ status: 'completed' })
    const [request] = await receiver.received(1)
    expect(request!.body.toString()).toBe(PAYLOAD)
    expect((await system.attempts(ref))[0]!.metadata).not.toHaveProperty('shaped')
  })

  it("applies a rule's shape first, then its own", async () => {
    const receiver = await aReceiver()
    await register('both', receiver.url, { expression: '{"first": fees[0], "left": $keys($)}' })
    await system.as('acme', (db) =>
      db.query(
        `insert into distribution_rules (tenant_id, name, rule_type, conditions, actions)
         values ('acme', 'fees', 'transformation', '{}', $1)`,
        [JSON.stringify({ destinations: ['both'], shape: { field_mapping: { fees: 'rows[*].fee' } } })],
      ),
    )
    expect(await system.ended(await send('both'))).toMatchObject({ status: 'completed' })
    const [request] = await receiver.received(1)
    expect(request!.body.toString()).toBe('{"first":1.1,"left":"fees"}')
  })

  it('fails permanently and shows where; a retry uses and names the current configuration', async () => {
    const receiver = await aReceiver()
    const id = await register('mended', receiver.url, { output_schema: { required: ['period'] } })
    const ref = await send('mended')
    expect(await system.ended(ref)).toMatchObject({ status: 'failed', error_code: 'TRANSFORMATION_FAILED' })
    expect(await system.deliveries(ref)).toMatchObject([
      { status: 'failed', attempts: 1, error_message: 'output_schema: $.period: is required' },
    ])
    expect(receiver.requests).toHaveLength(0)
    await system.as('acme', (db) =>
      updateDestination(db, 'acme', id, content(receiver.url, { include: ['total'] }), 'test'),
    )
    await system.as('acme', (db) => requestRetry(db, jobId(ref.distribution_id), { force: false }))
    await system.runs.signalRetry(ref, { data_type: 'report', priority: 'normal' })
    await expect.poll(async () => (await system.job(ref)).status, WAIT).toBe('completed')
    expect((await receiver.received(1))[0]!.body.toString()).toBe('{"total":1.0}')
    const { rows } = await system.as('acme', (db) =>
      db.query(
        `select attempt_number, configuration_version, retry_reason from distribution_attempts
          where distribution_job_id = $1 order by attempt_number`,
        [jobId(ref.distribution_id)],
      ),
    )
    expect(rows).toEqual([
      { attempt_number: 1, configuration_version: 1, retry_reason: 'TRANSFORMATION_FAILED' },
      { attempt_number: 2, configuration_version: 2, retry_reason: null },
    ])
  })

  it('delays no other delivery while its expression runs endlessly', async () => {
    const receiver = await aReceiver()
    await register('endless', receiver.url, { expression: '$match(text, /(a+)+$/)' })
    await register('quick', receiver.url, { include: ['total'] }, 'other')
    const endless = await send('endless', JSON.stringify({ text: `${'a'.repeat(60)}!` }))
    await expect.poll(async () => (await system.deliveries(endless))[0]?.status, WAIT).toBe('processing')
    for (let count = 0; count < 3; count++) {
      expect(await system.ended(await send('quick', PAYLOAD, 'other'))).toMatchObject({ status: 'completed' })
    }
    expect(await system.ended(endless)).toMatchObject({ status: 'failed', error_code: 'TRANSFORMATION_FAILED' })
    expect(await system.deliveries(endless)).toMatchObject([
      { attempts: 1, error_message: expect.stringMatching(/^limits: it took longer than/) },
    ])
  }, 120_000)

  it('retries after its shaping process was lost, even when no retries are left', async () => {
    const receiver = await aReceiver()
    await register('lost', receiver.url, { expression: '$match(text, /(a+)+$/)' })
    const payload_text = JSON.stringify({ text: `${'a'.repeat(60)}!` })
    const ref = await system.distribute({ payload_text, max_retries: 0, destinations: [{ name: 'lost' }] })
    // One that is just starting may be the one that is lost, so again until an attempt has noticed.
    await expect
      .poll(async () => {
        if ((await system.deliveries(ref))[0]?.status === 'processing') killShapingProcesses()
        return (await system.attempts(ref))[0]?.retry_reason
      }, WAIT)
      .toBe('WORKER_LOST')
    expect(await system.ended(ref)).toMatchObject({ error_code: 'TRANSFORMATION_FAILED' })
    expect(await system.attempts(ref)).toMatchObject([
      { status: 'retry', error_message: 'The process that shapes the payload was lost; nothing was sent' },
      { status: 'failed', error_message: expect.stringMatching(/^limits: it took longer than/) },
    ])
  }, 120_000)

  it('obeys its rate limit, also when several documents were shaped at the same moment', async () => {
    const receiver = await aReceiver()
    await register('stuck', receiver.url, { expression: '$match(text, /(a+)+$/)' })
    const id = await register('limited', receiver.url, { include: ['total'] })
    await system.as('acme', (db) =>
      db.query(`update destinations set rate_limit = '{"requests": 1, "per_seconds": 1}' where id = $1`, [id]),
    )
    const stuck = await send('stuck', JSON.stringify({ text: `${'a'.repeat(60)}!` }))
    await expect.poll(async () => (await system.deliveries(stuck))[0]?.status, WAIT).toBe('processing')
    const refs: DistributionRef[] = []
    for (let count = 0; count < 3; count++) refs.push(await send('limited'))
    for (const ref of refs) expect(await system.ended(ref)).toMatchObject({ status: 'completed' })
    const times = receiver.requests.map(({ at }) => at)
    expect(times).toHaveLength(3)
    for (const [index, time] of times.slice(1).entries()) expect(time - times[index]!).toBeGreaterThanOrEqual(1000)
    await system.ended(stuck)
  }, 120_000)

  it('and is cancelled while others of its tenant are being shaped does not wait for them', async () => {
    const receiver = await aReceiver()
    await register('slow', receiver.url, { expression: '$match(text, /(a+)+$/)' })
    const text = `${'a'.repeat(60)}!`
    const endless: DistributionRef[] = []
    for (let count = 0; count < 3; count++) endless.push(await send('slow', JSON.stringify({ text, count })))
    const last = endless[2]!
    await expect.poll(async () => (await system.deliveries(last))[0]?.status, WAIT).toBe('processing')
    await system.as('acme', (db) => requestCancel(db, jobId(last.distribution_id), null))
    await system.runs.signalCancel(last, ABOUT)
    expect(await system.ended(last)).toMatchObject({ status: 'cancelled' })
    const others = await Promise.all(endless.slice(0, 2).map((ref) => system.deliveries(ref)))
    expect(others.flat().filter(({ status }) => status === 'processing')).not.toEqual([])
    for (const ref of endless) await system.ended(ref)
  }, 120_000)
})

function killShapingProcesses(): void {
  const running = execFileSync('ps', ['-o', 'pid=,args=', '--ppid', String(process.pid)]).toString()
  for (const [, pid] of running.matchAll(/(\d+) .* shaping$/gm)) process.kill(Number(pid), 'SIGKILL')
}
