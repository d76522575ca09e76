// Rules on the real servers: selected destinations receive the payload, filtered ones do not, and groups fail over.
import pg from 'pg'
import { describe, expect, it } from 'vitest'
import { setDestinationStatus } from '../../db/destinations/destinations.ts'
import { jobId } from '../../db/distributions/job-id.ts'
import { findExplanation } from '../../db/distributions/rule-plans.ts'
import { setDefaultRoute } from '../../db/rules/default-route.ts'
import { deleteSharedRule, putSharedRule } from '../../db/rules/shared-rules.ts'
import { distributionWorkflowId } from '../../workflows/names.ts'
import {
  backTo,
  distribute,
  ended,
  newTenant,
  paths,
  receiver,
  register,
  retry,
  rows,
  rule,
  sql,
  system,
  tenant,
  useRuling,
} from '../support/ruling.ts'
import { restTo } from '../support/system.ts'

useRuling()

describe('routing', () => {
  it('follows the payload, and stores the explanation', async () => {
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

  it('applies a rule without a tenant to all tenants, and no tenant may change it', async () => {
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

  it('stores the explanation also for values that PostgreSQL cannot store', async () => {
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

  it('evaluates every one of a thousand rules', async () => {
    await sql(
      `insert into distribution_rules (tenant_id, name, rule_type, priority, conditions, actions)
       select $1, 'rule-' || i, 'routing', i,
              jsonb_build_object('path', 'payload.number', 'operator', 'equal', 'value', i), '{"destinations": ["a"]}'
         from generate_series(1, 1000) as i`,
      [tenant],
    )
    const ref = await distribute({ payload_text: '{"number": 1000}' })
    expect(await ended(ref)).toMatchObject({ status: 'completed' })
    expect(await rows(ref)).toEqual(['a success'])
    const [asked] = await sql(
      `select jsonb_array_length(plan_explanation -> 'rules') + (plan_explanation ->> 'rules_omitted')::int as rules
         from distribution_jobs`,
    )
    expect(asked).toEqual({ rules: 1000 })
  })

  it('falls back on the default route', async () => {
    await rule('routing', { destinations: ['a'] }, { path: 'data_type', operator: 'equal', value: 'other' })
    await system.as(tenant, (db) => setDefaultRoute(db, tenant, { destinations: ['c'], when_none: 'fail' }))
    await ended(await distribute())
    expect(paths()).toEqual(['c'])
    await system.as(tenant, (db) => setDefaultRoute(db, tenant, { destinations: [], when_none: 'fail' }))
    expect(await ended(await distribute())).toMatchObject({ status: 'failed', error_code: 'MISCONFIGURED' })
  })

  it('plans a distribution without a matching rule again on a retry, once a rule matches', async () => {
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

  it('skips a disabled destination with a reason; a retry delivers once it is enabled', async () => {
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

  it('keeps equal names in two tenants separate', async () => {
    await rule('routing', { destinations: ['a', 'b'], strategy: 'load_balance' })
    const first = tenant
    await ended(await distribute())
    await newTenant()
    await rule('routing', { destinations: ['a', 'b'], strategy: 'load_balance' })
    const ref = await distribute()
    await ended(ref)
    expect(await rows(ref)).toEqual(['a success'])
    expect(await sql('select tenant_id from distribution_rules')).toEqual([{ tenant_id: tenant }])
    backTo(first)
    expect(await sql('select turns::int from rule_turns')).toEqual([{ turns: 1 }])
  })
})

describe('filtering', () => {
  it('completes a dropped distribution with a warning and sends nothing, unless a retry names a destination', async () => {
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
    expect(scheduled?.activityTaskScheduledEventAttributes?.priority).toMatchObject({
      fairnessKey: `${ref.tenant_id}/critical`,
      fairnessWeight: 10,
    })
  })
})
