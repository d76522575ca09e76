// Trying rules over the API, with a sample payload and with a distribution.
import { afterAll, describe, expect, it } from 'vitest'
import { plan } from '../../activities/distribution/plan.ts'
import { endDistribution } from '../../db/distributions/end.ts'
import { jobId } from '../../db/distributions/job-id.ts'
import { withTenant } from '../../db/pool.ts'
import { ITALY, startRulesApi } from './ruling.ts'

const { api, admin, kept, gone } = await startRulesApi()
afterAll(() => api.close())

describe('POST /rules/evaluate', () => {
  it('says which rules match, which condition failed on which value, and what the plan would be', async () => {
    const rules = [
      await kept({
        name: 'italy',
        priority: 3,
        conditions: { all: [ITALY, { path: 'payload.total', operator: 'greater_than', value: 100 }] },
        actions: { destinations: ['reporter', 'archive'], strategy: 'failover', stop: true },
      }),
      await kept({ name: 'the-rest', conditions: {}, actions: { destinations: ['warehouse'] } }),
      await kept({
        name: 'urgent',
        rule_type: 'prioritization',
        conditions: { path: 'metadata.source', operator: 'equal', value: 'ms01' },
        actions: { priority: 'critical', max_retries: 9 },
      }),
      await kept({
        name: 'embargo',
        rule_type: 'filtering',
        conditions: { path: 'time.weekday', operator: 'equal', value: 'sunday', time_zone: 'Europe/Rome' },
        actions: { drop: true, reason: 'no deliveries on Sundays' },
      }),
    ]
    const sample = {
      payload: { customer: { country: 'IT' }, total: 120 },
      metadata: { source: 'ms01' },
      at: '2026-03-28T12:00:00Z',
    }
    const matched = (await api.call('POST', '/rules/evaluate', sample)).body
    expect(matched).toMatchObject({
      chosen_by: 'rules',
      evaluated_at: '2026-03-28T12:00:00.000Z',
      destinations: [
        { name: 'reporter', standby: false, rule: 'italy' },
        { name: 'archive', standby: true, rule: 'italy' },
      ],
      priority: { value: 'critical', rule: 'urgent' },
      max_retries: { value: 9, rule: 'urgent' },
    })
    expect(matched.rules.map(({ name, matched }: { name: string; matched: boolean }) => [name, matched])).toEqual([
      ['italy', true],
      ['urgent', true],
      ['embargo', false],
      ['the-rest', null],
    ])
    const missed = (
      await api.call('POST', '/rules/evaluate', { ...sample, payload: { customer: { country: 'IT' }, total: '120' } })
    ).body
    expect(missed.destinations).toMatchObject([{ name: 'warehouse', rule: 'the-rest' }])
    expect(missed.rules.find(({ name }: { name: string }) => name === 'italy')).toMatchObject({
      matched: false,
      conditions: {
        all: [
          { matched: true },
          { path: 'payload.total', actual: '"120"', matched: false, note: 'is a text, not a number' },
        ],
      },
    })
    const sunday = (await api.call('POST', '/rules/evaluate', { ...sample, at: '2026-03-28T23:30:00Z' })).body
    expect(sunday).toMatchObject({ dropped: { rule: 'embargo', reason: 'no deliveries on Sundays' }, destinations: [] })
    const named = (
      await api.call('POST', '/rules/evaluate', {
        ...sample,
        destinations: ['warehouse', { name: 'x', protocol: 'REST', endpoint: 'https://x.example' }],
      })
    ).body
    expect(named).toMatchObject({ chosen_by: 'submission', destinations: [{ name: 'warehouse' }, { name: 'x' }] })
    await gone(...rules)
  })

  it('takes a list apart, and says for which element a condition holds', async () => {
    const path = 'payload.items[*].sku'
    const rule = await kept({
      conditions: { path, operator: 'equal', value: 'B' },
      actions: { destinations: ['archive'] },
    })
    const tried = await api.call('POST', '/rules/evaluate', { payload: { items: [{ sku: 'A' }, { sku: 'B' }] } })
    expect(tried.body).toMatchObject({
      destinations: [{ name: 'archive' }],
      rules: [{ conditions: { matched: true, path, at: 'payload.items[1].sku', actual: '"B"' } }],
    })
    const missed = await api.call('POST', '/rules/evaluate', { payload: { items: [{ sku: 'A' }, {}] } })
    expect(missed.body.rules[0].conditions).toEqual({
      matched: false,
      path,
      operator: 'equal',
      value: '"B"',
      note: 'none of 2 elements',
    })
    expect((await admin('GET', '/rules?path=payload.items')).body.rules).toMatchObject([{ name: rule.name }])
    await gone(rule)
  })

  it('refuses the destinations that a submission would be refused for', async () => {
    const destinations = ['archiv', 'reporter', { name: 'warehouse', protocol: 'REST' }, 'reporter']
    const answer = await api.call('POST', '/rules/evaluate', { payload: 1, destinations })
    expect(answer.body.details).toEqual([
      { field: 'destinations[3]', issue: 'has the same name as destinations[1]' },
      { field: 'destinations[0]', issue: 'no destination is registered as "archiv", did you mean "archive"?' },
      { field: 'destinations[2].name', issue: expect.stringContaining('is the name of a registered destination') },
    ])
  })

  it('does not change the state of load balancing', async () => {
    const rule = await kept({ conditions: {}, actions: { tags: ['eu'], strategy: 'load_balance' } })
    const chosen = async () => (await api.call('POST', '/rules/evaluate', { payload: 1 })).body.destinations[0].name
    expect([await chosen(), await chosen()]).toEqual(['archive', 'archive'])
    expect(await api.rows('acme', 'select from rule_turns')).toEqual([])
    await gone(rule)
  })

  it('tries a rule that is not kept, with the same strictness', async () => {
    const draft = (operator: string) =>
      `{"payload": {"n": 9007199254740993}, "rule": {"name": "draft", "rule_type": "routing", "conditions": {"path": "payload.n", "operator": "${operator}", "value": 9007199254740993}, "actions": {"destinations": ["archive"]}}}`
    expect((await api.call('POST', '/rules/evaluate', draft('equal'))).body).toMatchObject({
      destinations: [{ name: 'archive', rule: 'draft' }],
    })
    expect((await api.call('POST', '/rules/evaluate', draft('eqal'))).body.details).toEqual([
      { field: 'rule.conditions.operator', issue: 'is not a known operator, did you mean "equal"?' },
    ])
    expect((await admin('GET', '/rules')).body.rules).toEqual([])
  })
})

describe('the default route', () => {
  it('is checked, kept and used', async () => {
    expect((await admin('GET', '/routing/default')).body).toEqual({ destinations: [], when_none: 'complete' })
    const wrong = await admin('PUT', '/routing/default', { destinations: ['reporter', 'archive2'], when_none: 'fail' })
    expect(wrong.body.details).toEqual([
      { field: 'destinations[1]', issue: expect.stringContaining('did you mean "archive"?') },
    ])
    const twice = await admin('PUT', '/routing/default', { destinations: ['archive', 'archive'], when_none: 'fail' })
    expect(twice.body.details).toEqual([{ field: 'destinations[1]', issue: 'is a duplicate of entry 0' }])
    expect((await admin('PUT', '/routing/default', { destinations: ['archive'], when_none: 'fail' })).status).toBe(200)
    expect((await admin('GET', '/routing/default')).body).toEqual({ destinations: ['archive'], when_none: 'fail' })
    expect((await api.call('POST', '/rules/evaluate', { payload: 1 })).body).toMatchObject({
      chosen_by: 'default',
      destinations: [{ name: 'archive', rule: null }],
    })
    await admin('PUT', '/routing/default', { destinations: [], when_none: 'complete' })
  })
})

describe('a distribution without destinations', () => {
  it('is counted by a bulk retry, and retried as one with a plan', async () => {
    await admin('PUT', '/routing/default', { destinations: [], when_none: 'fail' })
    const { body } = await api.call('POST', '/distribution/submit', { data_type: 'nowhere', payload: {} })
    const ref = { tenant_id: 'acme', distribution_id: body.distribution_id as string }
    await plan(api.pool, ref)
    await withTenant(api.pool, 'acme', (db) =>
      endDistribution(db, jobId(ref.distribution_id), { round: 1, cause: 'done' }),
    )
    const status = async () => (await api.call('GET', `/distribution/${ref.distribution_id}/status`)).body
    expect(await status()).toMatchObject({ status: 'failed', error_code: 'MISCONFIGURED', destinations: [] })
    const counted = await api.call('POST', '/distribution/retry', { data_type: 'nowhere', dry_run: true })
    expect(counted.body).toMatchObject({ matched_distributions: 1, total_distributions: 1 })

    const rule = await kept({ conditions: {}, actions: { destinations: ['archive'] } })
    expect((await api.call('POST', `/distribution/${ref.distribution_id}/retry`)).status).toBe(202)
    await plan(api.pool, ref)
    expect(await status()).toMatchObject({ destinations: [{ name: 'archive', status: 'pending' }] })
    await gone(rule)
    await admin('PUT', '/routing/default', { destinations: [], when_none: 'complete' })

    const other = await api.call('POST', '/distribution/submit', { data_type: 'nowhere', payload: {} })
    const completed = { tenant_id: 'acme', distribution_id: other.body.distribution_id as string }
    await plan(api.pool, completed)
    await withTenant(api.pool, 'acme', (db) =>
      endDistribution(db, jobId(completed.distribution_id), { round: 1, cause: 'done' }),
    )
    const refused = await api.call('POST', `/distribution/${completed.distribution_id}/retry`)
    expect(refused).toMatchObject({ status: 409, body: { message: expect.stringContaining('"force": true') } })
    const forced = await api.call('POST', `/distribution/${completed.distribution_id}/retry`, { force: true })
    expect(forced.status).toBe(202)
  })
})

describe('GET /distribution/{id}/explanation', () => {
  it('is empty before the plan, and a 404 for another tenant', async () => {
    const submitted = await api.call('POST', '/distribution/submit', { data_type: 'report', payload: { a: 1 } })
    expect(submitted.body).toMatchObject({ destinations_count: null })
    const path = `/distribution/${submitted.body.distribution_id}/explanation`
    expect((await api.call('GET', path)).body).toEqual({
      distribution_id: submitted.body.distribution_id,
      planned_at: null,
      explanation: null,
    })
    expect((await api.call('GET', path, undefined, { key: api.keys.other.viewer })).status).toBe(404)
  })
})
