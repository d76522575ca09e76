// Rules over the API: written, refused, shown.
import { afterAll, describe, expect, it } from 'vitest'
import { ITALY, startRulesApi } from './ruling.ts'

const { api, admin, aRule, kept, gone } = await startRulesApi()
afterAll(() => api.close())

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

  it('can be disabled although a destination that it names was deleted', async () => {
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

describe('an invalid rule is rejected with the path of each problem', () => {
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
    ['a name like an id', { name: '019bc0de-7a10-7cc3-98c4-dc0c0c07398f' }, 'name', 'must not look like a uuid'],
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
