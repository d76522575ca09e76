// Rows written by hand with invalid content: a distribution that cannot be planned soon fails with a reason, and the API
// still answers.
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { plan } from '../../activities/distribution/plan.ts'
import { probe } from '../../activities/upkeep/probe.ts'
import { sweep } from '../../activities/upkeep/sweep.ts'
import { createPool, type Pool } from '../../db/pool.ts'
import type { DistributionRef } from '../../workflows/messages.ts'
import { type HttpReceiver, startHttpReceiver } from '../support/receivers/http.ts'
import { createTestSystem, restTo, type TestSystem } from '../support/system.ts'

vi.setConfig({ testTimeout: 60_000 })

let system: TestSystem
let receiver: HttpReceiver
let owner: Pool

beforeAll(async () => {
  system = await createTestSystem()
  await system.tenant('acme')
  receiver = await startHttpReceiver()
  owner = createPool({ connectionString: system.database.adminUrl, max: 2, application_name: 'test' })
  await system.startWorkers()
})
afterAll(async () => {
  await owner.end()
  await system.close()
  await receiver.close()
})

/** A distribution whose row is changed before anybody looks at it. */
async function changed(set: string, values: unknown[] = []): Promise<DistributionRef> {
  const ref = await system.submit({ destinations: [restTo('a', receiver.url)], timeout_seconds: 60 })
  await owner.query(`update distribution_jobs set ${set} where id = $1`, [ref.distribution_id.slice(5), ...values])
  await system.runs.start(ref, { data_type: 'report', priority: 'normal' })
  return ref
}

const ends = (ref: DistributionRef, status: string) =>
  expect.poll(async () => (await system.job(ref)).status, { timeout: 40_000, interval: 50 }).toBe(status)

describe('a distribution with invalid stored destinations', () => {
  const many = JSON.stringify(Array.from({ length: 100_000 }, (_, i) => ({ name: `d${i}` })))
  it.each([
    ['null', 'null'],
    ['an object', '{}'],
    ['a text', '"reg"'],
    ['a number', '7'],
    ['a list of null', '[null]'],
    ['a list of numbers', '[1, 2]'],
    ['nested lists', '[[{"name": "a"}]]'],
    ['an object without a name', '[{"protocol": "REST"}]'],
    ['a name that is no text', '[{"name": {"a": 1}}]'],
    ['an unknown protocol', '[{"name": "x", "protocol": "FTP"}]'],
    ['a protocol that is no text', '[{"name": "x", "protocol": 7, "configuration": {}}]'],
    ['a configuration that is no object', '[{"name": "x", "protocol": "REST", "configuration": [1]}]'],
    ['a name of a million letters', JSON.stringify([{ name: 'x'.repeat(1_000_000) }])],
    ['the same name twice', '[{"name": "x"}, {"name": "x"}]'],
    ['a hundred thousand entries', many],
  ])('%s: failed with the code MISCONFIGURED', async (_, destinations) => {
    const ref = await changed('destinations = $2::jsonb', [destinations])
    await ends(ref, 'failed')
    expect(await system.job(ref)).toMatchObject({
      error_code: 'MISCONFIGURED',
      error_message: expect.stringContaining('The destinations cannot be read: '),
    })
  })

  it('reports them to the operator in one event', async () => {
    const { rows } = await owner.query(
      "select pending_count::int, details from event_windows where event_type = 'distributions.failed' and subject = 'MISCONFIGURED'",
    )
    expect(rows).toEqual([
      {
        pending_count: 15,
        details: { distribution_id: expect.any(String), reason: expect.stringContaining('cannot be read') },
      },
    ])
  })

  it.each([
    ['a name alone as a text', (_: string): unknown[] => ['reg']],
    ['an inline one with flat fields', (url: string): unknown[] => [{ name: 'x', protocol: 'REST', endpoint: url }]],
  ])('%s is served', async (_, make) => {
    const url = `${receiver.url}/by-hand`
    const given = make(url)
    await system.as('acme', (db) =>
      db.query(
        `insert into destinations (tenant_id, name, protocol, configuration) values ('acme', 'reg', 'REST', $1)
             on conflict do nothing`,
        [JSON.stringify({ endpoint: url })],
      ),
    )
    const ref = await changed('destinations = $2::jsonb', [JSON.stringify(given)])
    await ends(ref, 'completed')
  })
})

it('a destination with a protocol that this program does not have: failed, and a test says why', async () => {
  await owner.query("insert into destination_types (id, name, protocol) values ('LATER', 'Later', 'LATER')")
  const [row] = await system.as('acme', async (db) => {
    const text = `insert into destinations (tenant_id, name, protocol, configuration)
                  values ('acme', 'later', 'LATER', '{"host": "later.example"}') returning id`
    return (await db.query<{ id: string }>(text)).rows
  })
  const reason = 'This version of the Distributor does not support the protocol "LATER"'
  const ref = await changed('destinations = $2::jsonb', [JSON.stringify([{ name: 'later' }])])
  await ends(ref, 'failed')
  const deliveries = await system.as('acme', async (db) => {
    const text =
      'select status, protocol, attempts, error_code, error_message from distribution_deliveries where distribution_job_id = $1'
    return (await db.query(text, [ref.distribution_id.slice(5)])).rows
  })
  expect(deliveries).toEqual([
    { status: 'failed', protocol: 'LATER', attempts: 0, error_code: 'MISCONFIGURED', error_message: reason },
  ])
  const tested = await probe(system.deps, { tenant_id: 'acme', destination_id: row!.id }, new AbortController().signal)
  expect(tested).toMatchObject({ healthy: false, code: 'MISCONFIGURED', message: reason })
})

describe('a distribution with invalid values in other columns', () => {
  it.each([
    [
      'an inline destination without its fields',
      `destinations = '[{"name": "x", "protocol": "REST", "configuration": {}}]'`,
    ],
    ['an infinite expiry', "expires_at = 'infinity', destinations = 'null'"],
    ['a deliver_at before all time', "deliver_at = '-infinity', destinations = '{}'"],
    ['options that cannot be read', `options = '{"default_life": "maybe", "expires_at": "soon"}'`],
  ])('%s: ends, and does not wait for ever', async (_, set) => {
    await ends(await changed(set), 'failed')
  })

  it.each([
    ['options null', "options = 'null'"],
    ['options a list', "options = '[1]'"],
    ['metadata a text', `metadata = '"x"'`],
    ['metadata null', "metadata = 'null'"],
    ['warnings an object', `warnings = '{"a": 1}'`],
    ['warnings a number', "warnings = '7'"],
    ['an infinite expiry', "expires_at = 'infinity'"],
    ['a deliver_at before all time', "deliver_at = '-infinity'"],
    ['no payload bytes that are JSON', "payload_bytes = 'no json'"],
    ['an explanation that is a number', "plan_explanation = '7'"],
  ])('%s: is delivered or fails, in its time', async (_, set) => {
    const ref = await changed(set)
    await expect
      .poll(async () => (await system.job(ref)).status, { timeout: 40_000, interval: 50 })
      .toMatch(/^(completed|failed)$/)
  })
})

describe('a stored delivery with invalid values in its columns', () => {
  it.each([
    ['no configuration at all', 'configuration = null, target = null'],
    ['the configuration null', "configuration = 'null'"],
    ['a configuration that is a number', "configuration = '7'"],
    ['a configuration that is a list', "configuration = '[1]'"],
    ['a shape that is a text', `shape = '"x"'`],
    ['progress that is a number', "progress = '7'"],
    ['a destination that never was', 'destination_id = new_uuidv7(), configuration = null'],
  ])('%s: ends no later than it expires', async (_, set) => {
    const ref = await system.submit({ destinations: [restTo('a', receiver.url)], timeout_seconds: 8 })
    await plan(system.pool, ref)
    await owner.query(`update distribution_deliveries set ${set} where distribution_job_id = $1`, [
      ref.distribution_id.slice(5),
    ])
    await system.runs.start(ref, { data_type: 'report', priority: 'normal' })
    await expect
      .poll(async () => (await system.job(ref)).status, { timeout: 15_000, interval: 100 })
      .toMatch(/^(completed|failed)$/)
  })
})

it('ends by hand while a delivery waits: the owner is told, and a retry delivers', async () => {
  receiver.reply({ status: 503 })
  const ref = await system.distribute({
    destinations: [restTo('a', `${receiver.url}/again`)],
    callback_url: `${receiver.url}/told`,
    max_retries: 50,
  })
  await expect.poll(async () => (await system.deliveries(ref))[0]?.status, { timeout: 20_000 }).toBe('waiting')
  await system.as('acme', (db) => db.query("call update_distribution_status($1, 'cancelled')", [ref.distribution_id]))
  receiver.reply({})
  expect((await system.deliveries(ref))[0]).toMatchObject({ status: 'cancelled', error_code: 'CANCELLED' })
  await sweep(system.deps, { all: false }, () => {})
  const told = () =>
    receiver.requests.filter(({ path }) => path === '/told').map(({ body }) => JSON.parse(String(body)))
  await expect.poll(() => told().length, { timeout: 20_000 }).toBe(1)
  expect(told()[0]).toMatchObject({ event_type: 'distribution.cancelled', distribution_id: ref.distribution_id })
  const { requestRetry } = await import('../../db/distributions/commands.ts')
  const retried = await system.as('acme', (db) => requestRetry(db, ref.distribution_id.slice(5), { force: false }))
  if (retried.outcome !== 'reset') throw new Error(retried.outcome)
  await system.runs.signalRetry(ref, retried)
  await ends(ref, 'completed')
  await expect.poll(() => told().length, { timeout: 20_000 }).toBe(2)
})
