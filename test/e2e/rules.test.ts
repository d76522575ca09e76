// Rules over the real parts: what they choose is delivered, what they drop is not, and groups hand their turn on.
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { plan } from '../../activities/plan.ts'
import type { Actions, RuleType } from '../../activities/rules/actions.ts'
import { requestCancel, requestRetry } from '../../db/commands.ts'
import { setDefaultRoute } from '../../db/default-route.ts'
import { endDeliveriesOf } from '../../db/deleted-destinations.ts'
import { deleteDestination, findDestination, setDestinationStatus } from '../../db/destinations.ts'
import { jobId } from '../../db/job-id.ts'
import { findExplanation } from '../../db/rule-plans.ts'
import { insertRule } from '../../db/rules.ts'
import { deleteSharedRule, putSharedRule } from '../../db/shared-rules.ts'
import { distributionWorkflowId } from '../../temporal-config/names.ts'
import type { DistributionRef } from '../../workflows/messages.ts'
import { type HttpReceiver, type Script, startHttpReceiver } from '../support/receivers/http.ts'
import { createTestSystem, restTo, type TestSystem } from '../support/system.ts'

let system: TestSystem
let receiver: HttpReceiver
let tenant: string
let count = 0
const about = { data_type: 'report', priority: 'normal' as const }

beforeAll(async () => {
  system = await createTestSystem()
  receiver = await startHttpReceiver()
  await system.startWorkers()
  await newTenant()
})
afterAll(async () => {
  await system.close()
  await receiver.close()
})
afterEach(newTenant)

/** Each test has a tenant of its own, with the destinations a, b and c, and a receiver that takes everything. */
async function newTenant() {
  count += 1
  tenant = `tenant-${count}`
  receiver.reply({})
  receiver.requests.length = 0
  await system.tenant(tenant)
  for (const name of ['a', 'b', 'c']) await register(name)
}

const sql = async <T extends object>(text: string, values: unknown[] = []) =>
  (await system.as(tenant, (db) => db.query<T & Record<string, unknown>>(text, values))).rows

async function register(
  name: string,
  over: { tags?: string[]; status?: string; max_retries?: number } = {},
): Promise<string> {
  const rows = await sql<{ id: string }>(
    `insert into destinations (tenant_id, name, protocol, configuration, tags, status, max_retries)
     values ($1, $2, 'REST', $3, $4, $5, $6) returning id`,
    [
      tenant,
      name,
      JSON.stringify({ endpoint: `${receiver.url}/${name}` }),
      over.tags ?? [],
      over.status ?? 'active',
      over.max_retries ?? null,
    ],
  )
  return rows[0]!.id
}

let rules = 0
async function rule(rule_type: RuleType, actions: Partial<Actions> | object, conditions: unknown = {}): Promise<void> {
  rules += 1
  const content = {
    name: `rule-${rules}`,
    description: null,
    rule_type,
    conditions: JSON.stringify(conditions),
    actions: JSON.stringify(actions),
    priority: -rules,
    enabled: true,
  }
  await system.as(tenant, (db) => insertRule(db, tenant, content, []))
}

const distribute = (job: Parameters<TestSystem['distribute']>[0] = {}) =>
  system.distribute({ tenant_id: tenant, ...job })
const paths = () => receiver.requests.map(({ path }) => path.slice(1))

async function ended(ref: DistributionRef) {
  await expect.poll(async () => (await system.job(ref)).completed_at, { timeout: 25_000 }).not.toBeNull()
  return await system.job(ref)
}

async function rows(ref: DistributionRef): Promise<string[]> {
  return (await system.deliveries(ref)).map(({ destination_name, status, error_code }) =>
    [destination_name, status, error_code].filter(Boolean).join(' '),
  )
}

async function retry(ref: DistributionRef, request: Partial<Parameters<typeof requestRetry>[2]> = {}) {
  const outcome = await system.as(tenant, (db) =>
    requestRetry(db, jobId(ref.distribution_id), { force: false, ...request }),
  )
  if (outcome.outcome === 'reset') await system.dispatcher.retry(ref, about)
  return outcome
}

/** Answers by the first step of the path; 200 where nothing is said. */
const byName =
  (answers: Record<string, number>): Script =>
  ({ path }) => ({ status: answers[path.slice(1)] ?? 200 })

describe('routing', () => {
  it('follows the payload, and keeps why', async () => {
    await rule('routing', { destinations: ['a'] }, { path: 'payload.country', operator: 'equal', value: 'IT' })
    await rule('routing', { destinations: ['b'] }, { path: 'payload.country', operator: 'equal', value: 'FR' })
    await rule('routing', { destinations: ['c'] }, { path: 'metadata.copy', operator: 'equal', value: true })
    const ref = await distribute({ payload_text: '{"country": "IT"}', metadata_text: '{"copy": true}' })
    expect(await ended(ref)).toMatchObject({ status: 'completed' })
    expect(await rows(ref)).toEqual(['a success', 'c success'])
    const found = await system.as(tenant, (db) => findExplanation(db, jobId(ref.distribution_id)))
    expect(found).toMatchObject({
      planned_at: expect.any(Date),
      explanation: {
        chosen_by: 'rules',
        rules: [
          { matched: true },
          { matched: true },
          { matched: false, conditions: { path: 'payload.country', actual: '"IT"' } },
        ],
      },
    })
  })

  it('a rule without a tenant serves all of them, and none may change it', async () => {
    const owner = new pg.Client({ connectionString: system.database.superuserUrl })
    await owner.connect()
    try {
      await owner.query(
        `insert into distribution_rules (name, rule_type, actions)
         values ('shared', 'prioritization', '{"priority": "critical"}')`,
      )
      await sql("update distribution_rules set enabled = false where name = 'shared'")
      const ref = await distribute({ destinations: [{ name: 'a' }] })
      await ended(ref)
      expect(await sql('select priority from distribution_jobs')).toEqual([{ priority: 'critical' }])
    } finally {
      await owner.query('delete from distribution_rules where tenant_id is null')
      await owner.end()
    }
  })

  it('a shared rule takes its turns in each tenant by itself, among the destinations that are there', async () => {
    const actions = { destinations: ['nowhere', 'a', 'b'], strategy: 'load_balance' }
    const content = { name: 'shared', description: null, rule_type: 'routing' as const, conditions: '{}', priority: 0 }
    const shared = await system.as(tenant, (db) =>
      putSharedRule(db, null, { ...content, actions: JSON.stringify(actions), enabled: true }, []),
    )
    try {
      await ended(await distribute())
      await newTenant()
      for (let i = 0; i < 2; i++)
        expect(await ended(await distribute())).toMatchObject({ status: 'completed', warnings: [] })
      expect(paths()).toEqual(['a', 'b'])
    } finally {
      await system.as(tenant, (db) => deleteSharedRule(db, shared!.id))
    }
  })

  it('a changed rule counts from the next plan on, in every worker', async () => {
    await rule('routing', { destinations: ['a'] })
    await ended(await distribute())
    await sql(`update distribution_rules set actions = '{"destinations": ["b"]}'`)
    await ended(await distribute())
    await sql('delete from distribution_rules')
    expect(await ended(await distribute())).toMatchObject({
      status: 'completed',
      warnings: ['No destination was chosen for this distribution'],
    })
    expect(paths()).toEqual(['a', 'b'])
  })

  it('FIELD-REPORT 7: keeps why for values that PostgreSQL cannot hold, too', async () => {
    for (const path of ['payload.nul', 'payload.half', 'payload.long']) {
      await rule('routing', { destinations: ['a'] }, { path, operator: 'starts_with', value: 'x' })
    }
    // The pair of surrogates stands where a long value is cut.
    const payload_text = `{"nul": "\\u0000", "half": "\\ud83d", "long": "${'y'.repeat(198)}😀${'y'.repeat(50)}"}`
    const ref = await distribute({ payload_text, payload_queryable: false })
    expect(await ended(ref)).toMatchObject({ status: 'completed' })
    const found = await system.as(tenant, (db) => findExplanation(db, jobId(ref.distribution_id)))
    expect(found?.explanation?.rules).toMatchObject([
      { conditions: { actual: String.raw`"\u0000"` } },
      { conditions: { actual: String.raw`"\ud83d"` } },
      { conditions: { actual: `"${'y'.repeat(198)}…` } },
    ])
  })

  it('falls back on the default route', async () => {
    await rule('routing', { destinations: ['a'] }, { path: 'data_type', operator: 'equal', value: 'other' })
    await system.as(tenant, (db) => setDefaultRoute(db, tenant, { destinations: ['c'], when_none: 'fail' }))
    await ended(await distribute())
    expect(paths()).toEqual(['c'])
    await system.as(tenant, (db) => setDefaultRoute(db, tenant, { destinations: [], when_none: 'fail' }))
    expect(await ended(await distribute())).toMatchObject({ status: 'failed', error_code: 'MISCONFIGURED' })
  })

  it('what no rule chose is planned anew by a retry, once there is a rule', async () => {
    await system.as(tenant, (db) => setDefaultRoute(db, tenant, { destinations: [], when_none: 'fail' }))
    const ref = await distribute()
    expect(await ended(ref)).toMatchObject({ status: 'failed', error_code: 'MISCONFIGURED' })
    await rule('routing', { destinations: ['a'] })
    await rule('prioritization', { expires_in_seconds: 3600 })
    expect(await retry(ref)).toMatchObject({ outcome: 'reset', destinations: [] })
    expect(await ended(ref)).toMatchObject({ status: 'completed', error_code: null, warnings: [] })
    expect(await rows(ref)).toEqual(['a success'])
    // The rule's time begins with the retry, not with the submission.
    expect(await sql("select expires_at >= planned_at + interval '1 hour' as anew from distribution_jobs")).toEqual([
      { anew: true },
    ])

    await sql('delete from distribution_rules')
    await system.as(tenant, (db) => setDefaultRoute(db, tenant, { destinations: [], when_none: 'complete' }))
    const completed = await distribute()
    expect(await ended(completed)).toMatchObject({ status: 'completed' })
    await rule('routing', { destinations: ['b'] })
    expect(await retry(completed)).toMatchObject({ outcome: 'nothing' })
    expect(await retry(completed, { force: true })).toMatchObject({ outcome: 'reset' })
    await expect.poll(() => rows(completed)).toEqual(['b success'])
  })

  it('FIELD-REPORT 38: one that is disabled is skipped with its reason, and served by a retry once it is enabled', async () => {
    const id = await register('off', { status: 'inactive', tags: ['eu'] })
    await register('on', { tags: ['eu'] })
    await rule('routing', { tags: ['eu'] })
    const ref = await distribute()
    expect(await ended(ref)).toMatchObject({ status: 'failed', error_code: 'DESTINATION_DISABLED' })
    expect(await rows(ref)).toEqual(['off skipped DESTINATION_DISABLED', 'on success'])
    expect((await system.deliveries(ref))[0]?.error_message).toBe(
      'The destination was disabled when the rules chose it',
    )
    await system.as(tenant, (db) => setDestinationStatus(db, id, 'active'))
    expect(await retry(ref)).toMatchObject({ destinations: ['off'] })
    await expect.poll(() => rows(ref)).toEqual(['off success', 'on success'])
    expect(paths()).toEqual(['on', 'off'])
  })

  it('FIELD-REPORT 33: equal names in two tenants have nothing to do with each other', async () => {
    await rule('routing', { destinations: ['a', 'b'], strategy: 'load_balance' })
    const first = tenant
    await ended(await distribute())
    await newTenant()
    await rule('routing', { destinations: ['a', 'b'], strategy: 'load_balance' })
    const ref = await distribute()
    await ended(ref)
    expect(await rows(ref)).toEqual(['a success'])
    expect(await sql('select tenant_id from distribution_rules')).toEqual([{ tenant_id: tenant }])
    tenant = first
    expect(await sql('select turns::int from rule_turns')).toEqual([{ turns: 1 }])
  })
})

describe('filtering', () => {
  it('what is dropped is completed with a warning and sent to nobody, unless it is named in a retry', async () => {
    await sql(`update tenants set config = '{"no_destination": "fail"}'`)
    await rule(
      'filtering',
      { drop: true, reason: 'test data' },
      { path: 'payload.test', operator: 'equal', value: true },
    )
    const unnamed = await distribute({ payload_text: '{"test": true}' })
    expect(await ended(unnamed)).toMatchObject({
      status: 'completed',
      warnings: expect.arrayContaining([expect.stringContaining('test data')]),
    })
    const named = await distribute({
      payload_text: '{"test": true}',
      destinations: [{ name: 'a' }, restTo('x', `${receiver.url}/x`)],
    })
    expect(await ended(named)).toMatchObject({ status: 'completed' })
    expect(await rows(named)).toEqual(['a skipped', 'x skipped'])
    expect(paths()).toEqual([])
    expect(await retry(named)).toMatchObject({ outcome: 'nothing' })
    expect(await retry(named, { destinations: ['a'] })).toMatchObject({ outcome: 'reset' })
    await expect.poll(() => rows(named)).toEqual(['a success', 'x skipped'])
  })
})

describe('prioritization', () => {
  it('changes priority, expiry and retries, also of named destinations', async () => {
    await rule('prioritization', { priority: 'critical', expires_in_seconds: 3600, max_retries: 1 })
    receiver.reply({ status: 503 })
    const ref = await distribute({ priority: 'low', max_retries: 5, destinations: [{ name: 'a' }] })
    expect(await ended(ref)).toMatchObject({ status: 'failed', retry_count: 1 })
    expect(
      await sql(`select priority, submitted_priority, timeout_seconds,
                        extract(epoch from expires_at - created_at)::int as life from distribution_jobs`),
    ).toEqual([{ priority: 'critical', submitted_priority: 'low', timeout_seconds: 3600, life: 3600 }])
    const { events } = await system.temporal.client.workflow.getHandle(distributionWorkflowId(ref)).fetchHistory()
    const scheduled = events?.find(({ activityTaskScheduledEventAttributes }) => activityTaskScheduledEventAttributes)
    expect(scheduled?.activityTaskScheduledEventAttributes?.priority?.priorityKey).toBe(1)
  })
})

describe('failover', () => {
  const group = (...destinations: string[]) => rule('routing', { destinations, strategy: 'failover' })

  it('goes to the next one only when one has failed for good; what is not needed is skipped without a fault', async () => {
    await group('a', 'b', 'c')
    receiver.reply(byName({ a: 422 }))
    const ref = await distribute()
    expect(await ended(ref)).toMatchObject({ status: 'completed', error_code: null })
    expect(await rows(ref)).toEqual(['a failed REJECTED', 'b success', 'c skipped'])
    expect((await system.deliveries(ref))[2]?.error_message).toMatch(/^Not needed/)
    expect(paths()).toEqual(['a', 'b'])
  })

  it('retries of the first come before the second', async () => {
    await group('a', 'b')
    receiver.reply(byName({ a: 503 }))
    const ref = await distribute({ max_retries: 2 })
    expect(await ended(ref)).toMatchObject({ status: 'completed' })
    expect(paths()).toEqual(['a', 'a', 'a', 'b'])
  })

  it('does without the others when the first one takes it', async () => {
    await group('a', 'b', 'c')
    const ref = await distribute()
    expect(await ended(ref)).toMatchObject({ status: 'completed' })
    expect(await rows(ref)).toEqual(['a success', 'b skipped', 'c skipped'])
    expect(paths()).toEqual(['a'])
  })

  it('has failed when all have; a retry begins anew with the first', async () => {
    await group('a', 'b')
    receiver.reply({ status: 422 })
    const ref = await distribute()
    expect(await ended(ref)).toMatchObject({ status: 'failed', error_code: 'REJECTED' })
    expect(await rows(ref)).toEqual(['a failed REJECTED', 'b failed REJECTED'])
    receiver.reply({})
    expect(await retry(ref)).toMatchObject({ destinations: expect.arrayContaining(['a', 'b']) })
    await expect.poll(async () => (await system.job(ref)).status).toBe('completed')
    expect(await rows(ref)).toEqual(['a success', 'b skipped'])
    expect(paths()).toEqual(['a', 'b', 'a'])
  })

  it('a retry leaves a group alone that was served, unless it is forced or named', async () => {
    await group('a', 'b')
    await rule('routing', { destinations: ['c'] })
    receiver.reply(byName({ a: 422, c: 422 }))
    const ref = await distribute()
    expect(await ended(ref)).toMatchObject({ status: 'failed' })
    expect(await rows(ref)).toEqual(['a failed REJECTED', 'b success', 'c failed REJECTED'])
    receiver.reply({})
    expect(await retry(ref)).toMatchObject({ destinations: ['c'] })
    await expect.poll(async () => (await system.job(ref)).status).toBe('completed')
    expect(await retry(ref, { destinations: ['a'] })).toMatchObject({ destinations: ['a'] })
    await expect.poll(() => rows(ref)).toEqual(['a success', 'b success', 'c success'])
    await ended(ref)
    receiver.requests.length = 0
    expect(await retry(ref, { force: true })).toMatchObject({ outcome: 'reset' })
    await expect.poll(() => rows(ref)).toEqual(['a success', 'b skipped', 'c success'])
    expect(paths().sort()).toEqual(['a', 'c'])
  })

  it('one that another rule sends to as well is not served by its group, and a retry knows', async () => {
    await group('a', 'b')
    await rule('routing', { destinations: ['b'] })
    receiver.reply(byName({ b: 422 }))
    const ref = await distribute()
    expect(await ended(ref)).toMatchObject({ status: 'failed', error_code: 'REJECTED' })
    expect(await rows(ref)).toEqual(['a success', 'b failed REJECTED'])
    receiver.reply({})
    expect(await retry(ref)).toMatchObject({ destinations: ['b'] })
    await expect.poll(() => rows(ref)).toEqual(['a success', 'b success'])
    expect(await ended(ref)).toMatchObject({ status: 'completed' })
    expect(paths().sort()).toEqual(['a', 'b', 'b'])
  })

  it('a failure that its group made good holds up nobody under ordering: "block"', async () => {
    await group('a', 'b')
    receiver.reply(({ path, body }) => ({ status: path === '/a' && body.toString() === '1' ? 422 : 200 }))
    const first = await distribute({ payload_text: '1', ordering_key: 'k', ordering_blocks: true })
    const second = await distribute({ payload_text: '2', ordering_key: 'k', ordering_blocks: true })
    expect(await ended(first)).toMatchObject({ status: 'completed' })
    expect(await ended(second)).toMatchObject({ status: 'completed' })
    expect(await rows(first)).toEqual(['a failed REJECTED', 'b success'])
    expect(await rows(second)).toEqual(['a success', 'b skipped'])
  })

  it('one that waits for its next attempt is not sent to any more once a retry by hand has served the first', async () => {
    await group('a', 'b')
    receiver.reply(({ path }) => (path === '/a' ? { status: 422 } : { status: 503, headers: { 'retry-after': '3' } }))
    const ref = await distribute()
    await expect.poll(() => rows(ref)).toEqual(['a failed REJECTED', 'b waiting DESTINATION_UNAVAILABLE'])
    receiver.reply(byName({ b: 503 }))
    expect(await retry(ref, { destinations: ['a'] })).toMatchObject({ destinations: ['a'] })
    expect(await ended(ref)).toMatchObject({ status: 'completed' })
    expect(await rows(ref)).toEqual(['a success', 'b skipped'])
    expect(paths().at(-1)).toBe('a')
  })

  it('an order to cancel ends those that stand by as well', async () => {
    await group('a', 'b')
    receiver.reply({ status: 503, headers: { 'retry-after': '30' } })
    const ref = await distribute()
    await expect.poll(async () => (await system.deliveries(ref))[0]?.status).toBe('waiting')
    await system.as(tenant, (db) => requestCancel(db, jobId(ref.distribution_id), null))
    await system.dispatcher.cancel(ref)
    expect(await ended(ref)).toMatchObject({ status: 'cancelled' })
    expect(await rows(ref)).toEqual(['a cancelled CANCELLED', 'b cancelled CANCELLED'])
    receiver.reply({})
    await retry(ref)
    await expect.poll(() => rows(ref)).toEqual(['a success', 'b skipped'])
  })

  it('expires as a whole', async () => {
    await group('a', 'b')
    receiver.reply({ status: 503, headers: { 'retry-after': '30' } })
    const ref = await distribute({ timeout_seconds: 2 })
    expect(await ended(ref)).toMatchObject({ status: 'failed', error_code: 'EXPIRED' })
    expect(await rows(ref)).toEqual(['a failed EXPIRED', 'b failed EXPIRED'])
    expect(paths()).toEqual(['a'])
  })

  it('one that is disabled while it waits hands its turn on', async () => {
    await group('a', 'b')
    receiver.reply(byName({ a: 503 }))
    const ref = await distribute({ max_retries: 50 })
    await expect.poll(async () => (await system.deliveries(ref))[0]?.attempts).toBeGreaterThan(0)
    await sql("update destinations set status = 'inactive' where name = 'a'")
    expect(await ended(ref)).toMatchObject({ status: 'completed' })
    expect(await rows(ref)).toEqual(['a skipped DESTINATION_DISABLED', 'b success'])
  })

  it('one that is disabled waits where nobody is there to take over', async () => {
    await sql("update destinations set status = 'maintenance' where name = 'b'")
    await group('a', 'b', 'c')
    receiver.reply(({ path }) => (path === '/a' ? { status: 503, headers: { 'retry-after': '1' } } : {}))
    const ref = await distribute({ max_retries: 50 })
    await expect.poll(async () => (await system.deliveries(ref))[0]?.attempts).toBeGreaterThan(0)
    await sql("update destinations set status = 'inactive' where name in ('a', 'c')")
    await expect
      .poll(async () => (await system.deliveries(ref))[0]?.error_code, { timeout: 25_000 })
      .toBe('DESTINATION_DISABLED')
    expect(await rows(ref)).toEqual(['a waiting DESTINATION_DISABLED', 'b pending', 'c pending'])
    receiver.reply({})
    await sql("update destinations set status = 'active' where name = 'b'")
    expect(await ended(ref)).toMatchObject({ status: 'completed' })
    expect(await rows(ref)).toEqual(['a skipped DESTINATION_DISABLED', 'b success', 'c skipped'])
  })

  it('one that is deleted while it waits hands its turn on', async () => {
    await group('a', 'b')
    receiver.reply(({ path }) => (path === '/a' ? { status: 503, headers: { 'retry-after': '3600' } } : {}))
    const ref = await distribute()
    await expect.poll(async () => (await system.deliveries(ref))[0]?.status).toBe('waiting')
    await system.as(tenant, async (db) => {
      const gone = await findDestination(db, 'a')
      await deleteDestination(db, gone!.id)
      await endDeliveriesOf(db, gone!.id, 10)
    })
    await system.dispatcher.look(ref)
    expect(await ended(ref)).toMatchObject({ status: 'completed' })
    expect(await rows(ref)).toEqual(['a failed DESTINATION_DELETED', 'b success'])
  })

  it('keeps the order of a key at each destination, and holds nobody up for what stood by in vain', async () => {
    await group('a', 'b')
    // The first is taken by a, so that its b stands by in vain; the others are refused there.
    receiver.reply(({ path, body }) => ({ status: path === '/a' && body.toString() !== '1' ? 422 : 200, after_ms: 30 }))
    const refs: DistributionRef[] = []
    for (const payload_text of ['1', '2', '3']) refs.push(await distribute({ payload_text, ordering_key: 'k' }))
    for (const ref of refs) expect(await ended(ref)).toMatchObject({ status: 'completed' })
    const seen = (name: string) =>
      receiver.requests.filter(({ path }) => path === name).map(({ body }) => body.toString())
    expect([seen('/a'), seen('/b')]).toEqual([
      ['1', '2', '3'],
      ['2', '3'],
    ])
  })

  it('one that is disabled or deleted before its turn is passed over', async () => {
    await group('a', 'b', 'c')
    receiver.reply(async ({ path }) => {
      if (path === '/a') {
        await sql("update destinations set status = 'inactive' where name = 'b'")
        return { status: 422 }
      }
      return {}
    })
    const ref = await distribute()
    expect(await ended(ref)).toMatchObject({ status: 'completed' })
    expect(await rows(ref)).toEqual(['a failed REJECTED', 'b skipped DESTINATION_DISABLED', 'c success'])
  })
})

describe('load balance', () => {
  it('takes turns, however many plan at once', async () => {
    await rule('routing', { destinations: ['a', 'b', 'c'], strategy: 'load_balance' })
    const refs = await Promise.all(Array.from({ length: 12 }, () => system.submit({ tenant_id: tenant })))
    // Each with a cache of its own, as workers have.
    const plans = await Promise.all(refs.map((ref) => plan(system.pool, ref)))
    const chosen = plans.flatMap((one) => one?.deliveries.map(({ name }) => name) ?? [])
    expect(chosen.sort().join('')).toBe('aaaabbbbcccc')
  })

  it('goes by weight, and to the one that fails least', async () => {
    await rule(
      'routing',
      { destinations: ['a', 'b'], strategy: 'load_balance', balance: 'weighted', weights: { a: 3 } },
      { path: 'payload', operator: 'equal', value: 1 },
    )
    await rule(
      'routing',
      { destinations: ['a', 'b'], strategy: 'load_balance', balance: 'least_failing' },
      { path: 'payload', operator: 'equal', value: 2 },
    )
    for (let i = 0; i < 4; i++) await ended(await distribute({ payload_text: '1' }))
    expect(paths().sort().join('')).toBe('aaab')
    receiver.reply(byName({ a: 422 }))
    await ended(await distribute({ destinations: [{ name: 'a' }] }))
    receiver.requests.length = 0
    for (let i = 0; i < 3; i++) await ended(await distribute({ payload_text: '2' }))
    expect(paths().join('')).toBe('bbb')
    // One whose circuit is open comes last, whatever it did before.
    await sql(
      `insert into destination_circuits (tenant_id, target, opened_at, open_until)
       select tenant_id, id::text, now(), now() + interval '1 hour' from destinations where name = 'b'`,
    )
    receiver.reply({})
    await ended(await distribute({ payload_text: '2' }))
    expect(paths().at(-1)).toBe('a')
  })
})
