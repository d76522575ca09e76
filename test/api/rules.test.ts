// Rules over the API: written, refused, shown, tried on a sample.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { plan } from '../../activities/plan.ts'
import { finishDistribution } from '../../db/finish.ts'
import { jobId } from '../../db/job-id.ts'
import { withTenant } from '../../db/pool.ts'
import { type ApiUnderTest, startApi } from './api-under-test.ts'

let api: ApiUnderTest
const admin = (method: string, path: string, body?: unknown) =>
  api.call(method, path, body, { key: api.keys.acme.admin })

beforeAll(async () => {
  api = await startApi()
  for (const [name, tags] of [
    ['reporter', ['eu', 'reports']],
    ['archive', ['eu']],
    ['warehouse', []],
  ] as const) {
    const body = { name, protocol: 'REST', configuration: { endpoint: 'https://receiver.example/in' }, tags }
    expect((await admin('POST', '/destinations/register', body)).status).toBe(201)
  }
})
afterAll(() => api.close())

const ITALY = { path: 'payload.customer.country', operator: 'equal', value: 'IT' }
let counter = 0
function aRule(over: Record<string, unknown> = {}) {
  counter += 1
  return {
    name: `rule-${counter}`,
    rule_type: 'routing',
    conditions: ITALY,
    actions: { destinations: ['reporter'] },
    ...over,
  }
}
async function kept(over: Record<string, unknown> = {}) {
  const answer = await admin('POST', '/rules', aRule(over))
  expect(answer.body).toMatchObject({ id: expect.any(String) })
  return answer.body
}
const gone = (...rules: { id: string }[]) => Promise.all(rules.map(({ id }) => admin('DELETE', `/rules/${id}`)))

describe('a rule', () => {
  it('is kept with one row per question, shown, and audited', async () => {
    const conditions = { all: [ITALY, { not: { path: 'payload.total', operator: 'in', value: [1, 2] } }] }
    const rule = await kept({ conditions, priority: 7, description: 'Italian reports' })
    expect(rule).toMatchObject({
      conditions,
      priority: 7,
      enabled: true,
      tenant_id: 'acme',
      description: 'Italian reports',
    })
    expect(
      await api.rows(
        'acme',
        'select position, path, operator, value from rule_conditions where rule_id = $1 order by 1',
        [rule.id],
      ),
    ).toEqual([
      { position: 1, path: 'payload.customer.country', operator: 'equal', value: 'IT' },
      { position: 2, path: 'payload.total', operator: 'in', value: [1, 2] },
    ])
    for (const id of [rule.id, rule.name]) expect((await admin('GET', `/rules/${id}`)).body).toEqual(rule)
    const changed = await admin('PUT', `/rules/${rule.name}`, { conditions: ITALY, name: 'renamed' })
    expect(changed.body).toMatchObject({ id: rule.id, name: 'renamed', conditions: ITALY, priority: 7 })
    expect(await api.rows('acme', 'select path from rule_conditions where rule_id = $1', [rule.id])).toHaveLength(1)
    expect((await admin('PUT', `/rules/${rule.id}`, { enabled: false })).body).toMatchObject({
      enabled: false,
      name: 'renamed',
    })
    expect((await admin('DELETE', `/rules/${rule.id}`)).status).toBe(204)
    expect((await admin('GET', `/rules/${rule.id}`)).status).toBe(404)
    expect(await api.rows('acme', 'select from rule_conditions where rule_id = $1', [rule.id])).toEqual([])
    const audit = await api.rows<{ action: string }>(
      'acme',
      "select action from audit_log where resource_type = 'rule' and resource_id = $1 order by id",
      [rule.id],
    )
    expect(audit.map(({ action }) => action)).toEqual(['create', 'update', 'update', 'delete'])
  })

  it('keeps every digit of its numbers', async () => {
    const text =
      '{"name": "digits", "rule_type": "routing", "conditions": {"path": "payload.id", "operator": "equal", "value": 9007199254740993}, "actions": {"destinations": ["reporter"]}}'
    const made = await admin('POST', '/rules', text)
    expect(made.text).toContain('"value": 9007199254740993')
    const tried = async (id: string) => {
      const answer = await api.call('POST', '/rules/evaluate', `{"payload": {"id": ${id}}}`)
      return answer.body.rules.find(({ name }: { name: string }) => name === 'digits')
    }
    expect(await tried('9007199254740993')).toMatchObject({ matched: true })
    expect(await tried('9007199254740992')).toMatchObject({
      matched: false,
      conditions: { actual: '9007199254740992', value: '9007199254740993' },
    })
    await gone(made.body)
  })

  it('is the business of its tenant alone, and of an admin', async () => {
    const rule = await kept()
    const other = { key: api.keys.other.admin }
    expect((await api.call('GET', `/rules/${rule.id}`, undefined, other)).status).toBe(404)
    expect((await api.call('PUT', `/rules/${rule.id}`, { enabled: false }, other)).status).toBe(404)
    expect((await api.call('DELETE', `/rules/${rule.id}`, undefined, other)).status).toBe(404)
    expect((await api.call('GET', '/rules', undefined, other)).body.rules).toEqual([])
    const sample = { payload: { customer: { country: 'IT' } } }
    expect((await api.call('POST', '/rules/evaluate', sample, other)).body).toMatchObject({
      rules: [],
      destinations: [],
    })
    expect((await api.call('POST', '/rules', aRule())).status).toBe(403)
    expect((await api.call('POST', '/rules/evaluate', sample, { key: api.keys.acme.viewer })).status).toBe(403)
    expect((await api.call('GET', '/rules', undefined, { key: api.keys.acme.viewer })).status).toBe(200)
    await gone(rule)
  })

  it('has a name of its own', async () => {
    const [one, two] = [await kept(), await kept()]
    expect((await admin('POST', '/rules', aRule({ name: one.name }))).status).toBe(409)
    expect((await admin('PUT', `/rules/${two.id}`, { name: one.name })).status).toBe(409)
    await gone(one, two)
  })

  it('is found by kind, destination, tag and path, in the order in which it is asked', async () => {
    const [low, high, tagged] = [
      await kept({ priority: 1 }),
      await kept({ priority: 2, conditions: { path: 'payload.customer["odd key"]', operator: 'exists', value: true } }),
      await kept({ actions: { tags: ['eu'] }, conditions: {}, enabled: false }),
    ]
    const names = async (query: string) =>
      (await admin('GET', `/rules${query}`)).body.rules.map(({ name }: { name: string }) => name)
    expect(await names('')).toEqual([high.name, low.name, tagged.name])
    expect(await names('?destination=reporter')).toEqual([high.name, low.name])
    expect(await names('?tag=eu')).toEqual([tagged.name])
    expect(await names('?path=payload.customer')).toEqual([high.name, low.name])
    expect(await names('?path=payload.custom')).toEqual([])
    expect(await names('?enabled=false&rule_type=routing')).toEqual([tagged.name])
    expect((await admin('GET', '/rules?limit=1&offset=1')).body).toMatchObject({
      rules: [{ name: low.name }],
      pagination: { total: 3, has_more: true },
    })
    await gone(low, high, tagged)
  })

  it('can be taken out of use although what it names is gone', async () => {
    await admin('POST', '/destinations/register', {
      name: 'short-lived',
      protocol: 'REST',
      configuration: { endpoint: 'https://receiver.example/in' },
    })
    const rule = await kept({ actions: { destinations: ['short-lived'] } })
    await admin('DELETE', '/destinations/short-lived')
    expect((await admin('PUT', `/rules/${rule.id}`, { priority: 3 })).status).toBe(400)
    expect((await admin('PUT', `/rules/${rule.id}`, { enabled: false })).body).toMatchObject({ enabled: false })
    await gone(rule)
  })
})

describe('FIELD-REPORT 42: a rule that cannot be meant is refused on write, with the path', () => {
  it.each<[string, Record<string, unknown>, string, string]>([
    [
      'an unknown operator',
      { conditions: { all: [ITALY, { ...ITALY, operator: 'greater_then' }] } },
      'conditions.all[1].operator',
      'is not a known operator, did you mean "greater_than"?',
    ],
    [
      'a bad path',
      { conditions: { any: [{ not: { ...ITALY, path: 'paylod.total' } }] } },
      'conditions.any[0].not.path',
      'is not a known path, did you mean "payload.total"?',
    ],
    [
      'an unsupported selector',
      { conditions: { ...ITALY, path: 'payload.items[?(@.n>1)]' } },
      'conditions.path',
      'cannot be read at',
    ],
    [
      'a missing destination',
      { actions: { destinations: ['reporter', 'archiv'] } },
      'actions.destinations[1]',
      'no destination is registered as "archiv", did you mean "archive"?',
    ],
    ['a missing tag', { actions: { tags: ['us'] } }, 'actions.tags[0]', 'no destination has the tag "us"'],
    [
      'an unknown action',
      { actions: { destination: ['reporter'] } },
      'actions.destination',
      'is not a known field, did you mean "destinations"?',
    ],
    [
      'a route to nowhere',
      { actions: { strategy: 'all' } },
      'actions.destinations',
      'is required, unless tags are given',
    ],
    [
      'an unknown strategy',
      { actions: { destinations: ['reporter'], strategy: 'some' } },
      'actions.strategy',
      'must be one of all, failover, load_balance',
    ],
    [
      'weights without a balance for them',
      { actions: { destinations: ['reporter'], weights: { reporter: 1 } } },
      'actions.weights',
      'needs the balance "weighted"',
    ],
    [
      'a weight for a stranger',
      {
        actions: { destinations: ['reporter'], strategy: 'load_balance', balance: 'weighted', weights: { archive: 1 } },
      },
      'actions.weights.archive',
      'is not among the destinations',
    ],
    [
      'a filter that drops nothing',
      { rule_type: 'filtering', actions: { drop: false } },
      'actions.drop',
      'must be true',
    ],
    [
      'a filter on a missing destination',
      { rule_type: 'filtering', actions: { drop: true, destinations: ['nobody'] } },
      'actions.destinations[0]',
      'no destination is registered as "nobody"',
    ],
    [
      'a priority that sets nothing',
      { rule_type: 'prioritization', actions: {} },
      'actions',
      'must set priority, expires_in_seconds or max_retries',
    ],
    [
      'retries beyond their bound',
      { rule_type: 'prioritization', actions: { max_retries: 51 } },
      'actions.max_retries',
      'must be at most 50',
    ],
    ['an empty shape', { rule_type: 'transformation', actions: { shape: {} } }, 'actions.shape', 'must not be empty'],
    [
      'actions of another kind',
      { rule_type: 'filtering', actions: { destinations: ['reporter'] } },
      'actions.drop',
      'must be true',
    ],
    ['an unknown kind', { rule_type: 'router' }, 'rule_type', 'must be one of routing, filtering'],
    ['an unknown field', { priorty: 1 }, 'priorty', 'is not a known field, did you mean "priority"?'],
    ['a name like an id', { name: '019bc0de-7a10-7cc3-98c4-dc0c0c07398f' }, 'name', 'may not have the form of an id'],
  ])('%s', async (_title, over, field, issue) => {
    const answer = await admin('POST', '/rules', aRule(over))
    expect(answer.status).toBe(400)
    expect(answer.body.details).toContainEqual({ field, issue: expect.stringContaining(issue) })
    expect((await admin('GET', '/rules')).body.rules).toEqual([])
  })

  it('on a change as well, and the rule stays as it was', async () => {
    const rule = await kept()
    const answer = await admin('PUT', `/rules/${rule.id}`, { rule_type: 'filtering' })
    expect(answer.body.details).toContainEqual({ field: 'actions.drop', issue: expect.any(String) })
    expect((await admin('GET', `/rules/${rule.id}`)).body).toEqual(rule)
    await gone(rule)
  })
})

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

  it('takes no turn of load balancing', async () => {
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

describe('the end of a destination', () => {
  it('names the rules that name it, and the explanation says what becomes of them', async () => {
    const name = 'leaving'
    const register = () =>
      admin('POST', '/destinations/register', {
        name,
        protocol: 'REST',
        configuration: { endpoint: 'https://receiver.example/in' },
      })
    await register()
    const rules = [
      await kept({ name: 'off', enabled: false, actions: { destinations: [name] } }),
      await kept({ name: 'on', conditions: {}, actions: { destinations: [name, 'archive'], strategy: 'failover' } }),
      await kept({ name: 'stranger' }),
    ]
    await admin('PUT', '/routing/default', { destinations: [name], when_none: 'fail' })
    const deleted = await admin('DELETE', `/destinations/${name}`)
    expect(deleted.status).toBe(200)
    expect(deleted.body).toEqual({ name, named_by_rules: ['off', 'on'], in_default_route: true })
    expect((await api.call('POST', '/rules/evaluate', { payload: 1 })).body).toMatchObject({
      destinations: [
        {
          name,
          status: 'failed',
          error_code: 'DESTINATION_DELETED',
          error_message: 'The rule on names it, but it is deleted',
          rule: 'on',
        },
        { name: 'archive', status: 'pending', standby: false },
      ],
      warnings: ['The rule on names what is deleted: leaving'],
    })
    // Its name is free, and means the new one.
    await register()
    expect((await api.call('POST', '/rules/evaluate', { payload: 1 })).body).toMatchObject({
      destinations: [{ name, status: 'pending' }, { standby: true }],
      warnings: [],
    })
    await gone(...rules)
    await admin('PUT', '/routing/default', { destinations: [], when_none: 'complete' })
    expect((await admin('DELETE', `/destinations/${name}`)).status).toBe(204)
  })
})

describe('a shared rule', () => {
  const platform = (method: string, path: string, body?: unknown) =>
    api.call(method, path, body, { key: api.keys.acme.platform })
  const other = (method: string, path: string, body?: unknown) =>
    api.call(method, path, body, { key: api.keys.other.admin })
  const common = {
    name: 'common',
    rule_type: 'routing',
    conditions: ITALY,
    actions: { destinations: ['archive', 'everywhere'] },
    shared: true,
  }
  const sample = { payload: { customer: { country: 'IT' } } }

  it('is written by the platform alone, and read and asked by every tenant with the destinations that it has', async () => {
    expect((await admin('POST', '/rules', common)).status).toBe(403)
    const made = await platform('POST', '/rules', common)
    expect(made.body).toMatchObject({ name: 'common', shared: true, tenant_id: null })
    expect((await platform('POST', '/rules', common)).status).toBe(409)
    expect((await other('GET', '/rules/common')).body).toEqual(made.body)
    expect((await other('GET', '/rules?shared=true')).body.rules).toHaveLength(1)
    expect((await other('GET', '/rules?shared=false')).body.rules).toEqual([])
    expect(await api.rows('other', 'select path from rule_conditions')).toEqual([{ path: 'payload.customer.country' }])

    // acme has an archive; the other tenant has nothing of it.
    expect((await api.call('POST', '/rules/evaluate', sample)).body).toMatchObject({
      destinations: [{ name: 'archive', status: 'pending', rule: 'common' }],
      rules: [{ name: 'common', shared: true, note: 'passes over what this tenant has not: everywhere' }],
    })
    expect((await other('POST', '/rules/evaluate', sample)).body).toMatchObject({
      destinations: [],
      warnings: [],
      rules: [{ matched: true, note: 'passes over what this tenant has not: archive, everywhere' }],
    })

    for (const path of ['/rules/common', `/rules/${made.body.id}`]) {
      const refused = await other('PUT', path, { enabled: false })
      expect(refused).toMatchObject({ status: 403, body: { message: expect.stringContaining('?shared=true') } })
      expect((await other('DELETE', path)).status).toBe(403)
      expect((await other('PUT', `${path}?shared=true`, { enabled: false })).status).toBe(403)
      expect((await other('DELETE', `${path}?shared=true`)).status).toBe(403)
      // Said by mistake by one who may.
      expect((await platform('DELETE', path)).status).toBe(403)
    }
    await expect(api.rows('other', 'update distribution_rules set enabled = false returning name')).resolves.toEqual([])
    await expect(
      api.rows('other', "insert into distribution_rules (tenant_id, name, rule_type) values (null, 'x', 'routing')"),
    ).rejects.toThrow('row-level security')

    const changed = await platform('PUT', '/rules/common?shared=true', { conditions: {}, priority: 4 })
    expect(changed.body).toMatchObject({ id: made.body.id, priority: 4, conditions: {}, shared: true })
    expect(await api.rows('other', 'select path from rule_conditions')).toEqual([])
    expect((await other('POST', '/rules/evaluate', { payload: 1 })).body.rules).toMatchObject([{ matched: true }])
    expect((await platform('DELETE', '/rules/common?shared=true')).status).toBe(204)
    expect((await other('GET', '/rules')).body.rules).toEqual([])
    expect((await platform('DELETE', '/rules/common?shared=true')).status).toBe(404)
  })

  it('and one of the same name of a tenant have nothing to do with each other', async () => {
    await platform('POST', '/rules', common)
    const own = await kept({ name: 'common', actions: { destinations: ['warehouse'] } })
    expect((await admin('GET', '/rules/common')).body).toEqual(own)
    expect((await admin('GET', '/rules/common?shared=true')).body).toMatchObject({ shared: true })
    expect((await admin('PUT', '/rules/common', { priority: -1 })).body).toMatchObject({ shared: false, priority: -1 })
    const tried = await api.call('POST', '/rules/evaluate', {
      ...sample,
      rule: { name: 'common', rule_type: 'routing', actions: { destinations: ['reporter'] } },
    })
    // The draft takes the place of the tenant's own alone.
    expect(tried.body.destinations).toMatchObject([{ name: 'reporter' }, { name: 'archive' }])
    const [one, two] = await Promise.all([
      platform('PUT', '/rules/common?shared=true', { priority: 9 }),
      platform('PUT', '/rules/common?shared=true', { description: 'at once' }),
    ])
    expect([one.status, two.status]).toEqual([200, 200])
    expect((await platform('GET', '/rules/common?shared=true')).body).toMatchObject({
      priority: 9,
      description: 'at once',
    })
    await gone(own)
    expect((await platform('DELETE', '/rules/common?shared=true')).status).toBe(204)
  })
})

describe('the size of rules', () => {
  it('is bounded, one by one and all together', async () => {
    const list = (length: number) => ({
      ...ITALY,
      operator: 'in',
      value: Array.from({ length: 1000 }, (_, i) => `${i}`.padEnd(length, 'x')),
    })
    const huge = await admin('POST', '/rules', aRule({ conditions: list(200) }))
    expect(huge.body.details).toEqual([{ field: 'conditions', issue: 'must have at most 131072 characters of JSON' }])
    const made = []
    let refused: Awaited<ReturnType<typeof admin>> | undefined
    while (!refused) {
      const answer = await admin('POST', '/rules', aRule({ conditions: list(120) }))
      if (answer.status === 201) made.push(answer.body)
      else refused = answer
    }
    expect(refused).toMatchObject({ status: 409, body: { message: expect.stringContaining('8388608 bytes') } })
    expect(made.length).toBeGreaterThan(60)
    expect((await admin('GET', '/rules')).body.pagination.total).toBe(made.length)
    expect((await admin('PUT', `/rules/${made[0].id}`, { enabled: false })).status).toBe(200)
    await gone(...made)
  })

  it('a thousand patterns are the most', async () => {
    const patterns = { any: Array.from({ length: 20 }, () => ({ ...ITALY, operator: 'matches', value: 'I|T' })) }
    const answers = []
    for (let i = 0; i < 51; i++) answers.push(await admin('POST', '/rules', aRule({ conditions: patterns })))
    expect(answers[49]?.status).toBe(201)
    expect(answers[50]).toMatchObject({ status: 409, body: { message: expect.stringContaining('1000 conditions') } })
    await gone(...answers.slice(0, 50).map(({ body }) => body))
  })

  it('numbers that jsonb cannot hold are refused with their path', async () => {
    const conditions = { all: [ITALY, { ...ITALY, operator: 'between', value: ['LOW', 5] }] }
    const text = JSON.stringify(aRule({ conditions })).replace('"LOW"', '-1e400000').replace('"IT"', '1e400000')
    const answer = await admin('POST', '/rules', text)
    const issue = 'must be a number of at most 1000 digits'
    expect(answer.body.details).toEqual([
      { field: 'conditions.all[0].value', issue },
      { field: 'conditions.all[1].value[0]', issue },
    ])
    const shape = { field_mapping: { x: { value: 'HUGE' } } }
    const rule = aRule({ rule_type: 'transformation', actions: { shape } })
    const shaped = await admin('POST', '/rules', JSON.stringify(rule).replace('"HUGE"', '1e400000'))
    expect(shaped.status).toBe(400)
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
    expect(twice.body.details).toEqual([{ field: 'destinations[1]', issue: 'stands at 0 already' }])
    expect((await admin('PUT', '/routing/default', { destinations: ['archive'], when_none: 'fail' })).status).toBe(200)
    expect((await admin('GET', '/routing/default')).body).toEqual({ destinations: ['archive'], when_none: 'fail' })
    expect((await api.call('POST', '/rules/evaluate', { payload: 1 })).body).toMatchObject({
      chosen_by: 'default',
      destinations: [{ name: 'archive', rule: null }],
    })
    await admin('PUT', '/routing/default', { destinations: [], when_none: 'complete' })
  })
})

describe('a distribution for which nothing was chosen', () => {
  it('is counted by a bulk retry, and retried as one with a plan', async () => {
    await admin('PUT', '/routing/default', { destinations: [], when_none: 'fail' })
    const { body } = await api.call('POST', '/distribution/submit', { data_type: 'nowhere', payload: {} })
    const ref = { tenant_id: 'acme', distribution_id: body.distribution_id as string }
    await plan(api.pool, ref)
    await withTenant(api.pool, 'acme', (db) =>
      finishDistribution(db, jobId(ref.distribution_id), { round: 1, cause: 'done' }),
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
      finishDistribution(db, jobId(completed.distribution_id), { round: 1, cause: 'done' }),
    )
    const refused = await api.call('POST', `/distribution/${completed.distribution_id}/retry`)
    expect(refused).toMatchObject({ status: 409, body: { message: expect.stringContaining('"force": true') } })
    const forced = await api.call('POST', `/distribution/${completed.distribution_id}/retry`, { force: true })
    expect(forced.status).toBe(202)
  })
})

describe('GET /distribution/{id}/explanation', () => {
  it('is empty before the plan, and nobody else’s', async () => {
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
