// From rules and facts to a plan: pure, with the look-ups played from a list.
import { describe, expect, it } from 'vitest'
import { explain, KEPT } from '../../../activities/rules/explanation.ts'
import type { RulePlan } from '../../../activities/rules/planned.ts'
import { type ARule, candidate, FRANCE, type Given, ITALY, planned, route, shown } from './planning.ts'

describe('routing', () => {
  it.each<[string, Given, string[], RulePlan['chosen_by']]>([
    [
      'what matches adds up, each destination once',
      { rules: [route(['a', 'b'], {}, ITALY), route(['b', 'c']), route(['d'], {}, FRANCE)] },
      ['a', 'b', 'c'],
      'rules',
    ],
    ['stop ends it', { rules: [route(['a'], { stop: true }), route(['b'])] }, ['a'], 'rules'],
    [
      'stop of a rule that does not match ends nothing',
      { rules: [route(['a'], { stop: true }, FRANCE), route(['b'])] },
      ['b'],
      'rules',
    ],
    [
      'the higher priority is asked first',
      {
        rules: [
          { ...route(['a']), priority: 1 },
          { ...route(['b'], { stop: true }), priority: 2 },
        ],
      },
      ['b'],
      'rules',
    ],
    [
      'equal priorities go by name',
      {
        rules: [
          { ...route(['a']), priority: 1, name: 'z' },
          { ...route(['b'], { stop: true }), priority: 1, name: 'y' },
        ],
      },
      ['b'],
      'rules',
    ],
    [
      'named destinations are not routed',
      { submitted: ['c', { inline: 'x' }], rules: [route(['a'])] },
      ['c', 'x'],
      'submission',
    ],
    [
      'the default route serves what no rule chose',
      { rules: [route(['a'], {}, FRANCE)], defaults: ['c'] },
      ['c'],
      'default',
    ],
    ['and only that', { rules: [route(['a'])], defaults: ['c'] }, ['a'], 'rules'],
    ['nothing chosen', { rules: [route(['a'], {}, FRANCE)] }, [], 'none'],
    [
      'by tag, in the order of names',
      {
        registered: [
          candidate('z', { tags: ['eu'] }),
          candidate('m', { tags: ['eu', 'x'] }),
          candidate('n', { tags: ['us'] }),
        ],
        rules: [{ actions: { tags: ['eu'] } }],
      },
      ['m', 'z'],
      'rules',
    ],
    [
      'a disabled one is skipped with its reason',
      { registered: ['a', candidate('b', { status: 'inactive' })], rules: [route(['a', 'b'])] },
      ['a', 'b skipped DESTINATION_DISABLED'],
      'rules',
    ],
    [
      'one under maintenance waits',
      { registered: [candidate('a', { status: 'maintenance' })], rules: [route(['a'])] },
      ['a'],
      'rules',
    ],
    [
      'a deleted one fails',
      { registered: ['a', candidate('b', { deleted: true })], rules: [route(['a', 'b', 'c'])] },
      ['a', 'b failed DESTINATION_DELETED', 'c failed DESTINATION_DELETED'],
      'rules',
    ],
    [
      'named and disabled since: waits',
      { registered: [candidate('a', { status: 'inactive' })], submitted: ['a'] },
      ['a'],
      'submission',
    ],
  ])('%s', async (_title, given, expected, chosen_by) => {
    const plan = await planned(given)
    expect(shown(plan)).toEqual(expected)
    expect(plan.chosen_by).toBe(chosen_by)
  })

  it('warns of a tag that nothing has, of deprecated destinations and of rules that cannot be read', async () => {
    const plan = await planned({
      registered: [candidate('a', { status: 'deprecated' })],
      rules: [
        { actions: { tags: ['eu'] } },
        route(['a']),
        { ...route(['a']), conditions: { region: 'eu' }, name: 'old' },
      ],
    })
    expect(plan.warnings).toEqual([
      expect.stringContaining('The rule old cannot be read: conditions.region is not a known field'),
      'The rule r0 chose nothing: no destination has the tag eu',
      'The destination a is deprecated',
    ])
    expect(shown(plan)).toEqual(['a'])
  })

  it('more than 1000 destinations: the rest is skipped where it can be seen and retried', async () => {
    const many = Array.from({ length: 1002 }, (_, i) => candidate(`d${String(i).padStart(4, '0')}`, { tags: ['all'] }))
    const plan = await planned({ registered: many, rules: [{ actions: { tags: ['all'] } }] })
    expect(shown(plan).slice(999)).toEqual(['d0999', 'd1000 skipped MISCONFIGURED', 'd1001 skipped MISCONFIGURED'])
    // A plan is written at once, or never.
    const tooMany = await planned({
      registered: Array.from({ length: 2500 }, (_, i) => candidate(`d${i}`, { tags: ['all'] })),
      rules: [{ actions: { tags: ['all'] } }],
    })
    expect(tooMany.destinations).toHaveLength(2000)
    expect(tooMany.warnings).toEqual(['The rules chose too many destinations: 500 of them are left out'])
  })
})

describe('a rule that names what is not there', () => {
  const shared = (name: string, destinations: string[], over: Record<string, unknown> = {}): ARule => ({
    ...route(destinations, over),
    name,
    shared: true,
  })

  it('of the tenant: the delivery fails visibly, and a warning names both', async () => {
    const plan = await planned({
      registered: ['a', candidate('b', { deleted: true })],
      rules: [
        route(['a', 'b']),
        { rule_type: 'filtering', actions: { drop: true, destinations: ['b', 'c', 'd', 'e', 'f'] } },
        route(['a', 'b'], { strategy: 'load_balance' }),
      ],
    })
    expect(plan.warnings).toEqual([
      'The rule r1 names destinations that do not exist: b, c, d and 2 more',
      'The rule r0 names destinations that do not exist: b',
      'The rule r2 names destinations that do not exist: b',
      'The destination b was dropped by the rule r1',
    ])
    const alone = await planned({ registered: [], rules: [route(['b'])] })
    expect(alone.destinations).toMatchObject([
      { error_code: 'DESTINATION_DELETED', error_message: 'The rule r0 names it, but it is deleted' },
    ])
    const byDefault = await planned({ registered: [], defaults: ['b'] })
    expect(byDefault.destinations[0]?.error_message).toBe('The default route names it, but it is deleted')
  })

  it.each<[string, Given, string[]]>([
    ['all', { registered: ['a'], rules: [shared('s', ['x', 'a'])] }, ['a']],
    [
      'failover',
      { registered: ['a', 'b'], rules: [shared('s', ['x', 'a', 'b'], { strategy: 'failover' })] },
      ['a', 'b standby'],
    ],
    [
      'load balance',
      { registered: ['a'], turn: 1, rules: [shared('s', ['x', 'a'], { strategy: 'load_balance' })] },
      ['a'],
    ],
    ['nothing is left', { registered: ['a'], defaults: ['a'], rules: [shared('s', ['x'])] }, ['a']],
    ['deleted', { registered: ['a', candidate('b', { deleted: true })], rules: [shared('s', ['a', 'b'])] }, ['a']],
  ])('of all tenants: what this one does not have is passed over (%s)', async (_title, given, expected) => {
    const plan = await planned(given)
    expect(shown(plan)).toEqual(expected)
    expect(plan.warnings).toEqual([])
    const [rule] = explain(plan, KEPT).rules
    expect(rule).toMatchObject({
      shared: true,
      matched: true,
      note: expect.stringMatching(/^ignores destinations that this tenant does not have: [bx]$/),
    })
  })

  it('of one name and priority: the tenant’s own comes before the one of all tenants', async () => {
    const rules = [
      { ...shared('same', ['a']), priority: 1 },
      { ...route(['b']), name: 'same', priority: 1 },
    ]
    expect(shown(await planned({ rules }))).toEqual(['b', 'a'])
    expect(shown(await planned({ rules: rules.toReversed() }))).toEqual(['b', 'a'])
  })
})

describe('strategies', () => {
  const failover = (...names: string[]) => route(names, { strategy: 'failover' })
  const balance = (names: string[], over: Record<string, unknown> = {}) =>
    route(names, { strategy: 'load_balance', ...over })
  it.each<[string, Given, string[]]>([
    ['failover: the others stand by', { rules: [failover('b', 'a', 'c')] }, ['b', 'a standby', 'c standby']],
    [
      'failover: a disabled first one hands over',
      { registered: [candidate('a', { status: 'inactive' }), 'b', 'c'], rules: [failover('a', 'b', 'c')] },
      ['a skipped DESTINATION_DISABLED', 'b', 'c standby'],
    ],
    [
      'failover: a deleted first one too',
      { registered: ['b'], rules: [failover('a', 'b')] },
      ['a failed DESTINATION_DELETED', 'b'],
    ],
    [
      'failover: one that goes out in any case leads',
      { rules: [route(['b']), failover('a', 'b', 'c')] },
      ['b', 'a', 'c standby'],
    ],
    [
      'failover: one of another group stays there',
      { rules: [failover('a', 'b'), failover('b', 'c')] },
      ['a', 'b standby', 'c'],
    ],
    [
      'failover: one that stands by goes out when another rule sends to it',
      { rules: [failover('a', 'b', 'c'), route(['b'])] },
      ['a', 'b', 'c standby'],
    ],
    ['failover: also when another rule has nobody but it', { rules: [failover('a', 'b'), failover('b')] }, ['a', 'b']],
    [
      'failover: two groups of the same members are served by one',
      { rules: [failover('a', 'b'), failover('b', 'a')] },
      ['a', 'b standby'],
    ],
    ['load balance does not count on one that stands by', { rules: [failover('a', 'b'), balance(['b'])] }, ['a', 'b']],
    [
      'load balance does not count on one that is disabled',
      {
        registered: ['a', candidate('b', { status: 'inactive' })],
        rules: [route(['b']), balance(['a', 'b'])],
      },
      ['b skipped DESTINATION_DISABLED', 'a'],
    ],
    [
      'a weight is looked up among the given ones alone',
      {
        registered: ['constructor'],
        rules: [balance(['constructor', 'a'], { balance: 'weighted', weights: { a: 0 } })],
      },
      ['constructor'],
    ],
    ['round robin: turn 0', { rules: [balance(['a', 'b', 'c'])] }, ['a']],
    ['round robin: turn 4', { turn: 4, rules: [balance(['a', 'b', 'c'])] }, ['b']],
    [
      'round robin passes by what is disabled',
      { turn: 1, registered: ['a', candidate('b', { status: 'inactive' }), 'c'], rules: [balance(['a', 'b', 'c'])] },
      ['c'],
    ],
    [
      'all disabled: one is skipped with the reason',
      { registered: [candidate('a', { status: 'inactive' })], rules: [balance(['a'])] },
      ['a skipped DESTINATION_DISABLED'],
    ],
    ['one of them goes out already', { rules: [route(['b']), balance(['a', 'b'])] }, ['b']],
    [
      'least failing',
      { failures: { a: 0.5, b: 0.1, c: 0.2 }, rules: [balance(['a', 'b', 'c'], { balance: 'least_failing' })] },
      ['b'],
    ],
    [
      'least failing: equals take turns',
      { turn: 1, failures: { a: 0.5 }, rules: [balance(['a', 'b', 'c'], { balance: 'least_failing' })] },
      ['c'],
    ],
    [
      'least failing: unhealthy ones last',
      {
        registered: [candidate('a', { unhealthy: true }), 'b'],
        failures: { b: 0.9 },
        rules: [balance(['a', 'b'], { balance: 'least_failing' })],
      },
      ['b'],
    ],
  ])('%s', async (_title, given, expected) => {
    expect(shown(await planned(given))).toEqual(expected)
  })

  it('a destination of a failover group is required when a rule without failover also selects it', async () => {
    const required = async (...rules: ARule[]) =>
      (await planned({ rules })).destinations.flatMap((one) => (one.required ? [one.name] : []))
    expect(await required(failover('a', 'b'), route(['b']))).toEqual(['b'])
    expect(await required(route(['a']), failover('a', 'b'))).toEqual(['a'])
    expect(await required(balance(['a']), failover('a', 'b'))).toEqual(['a'])
    expect(await required(failover('a', 'b'), balance(['a', 'c']))).toEqual(['a'])
    expect(await required(failover('a', 'b'), failover('b', 'c'), route(['d']))).toEqual([])
  })

  it('weighted: over a whole cycle each has its share, and none comes in a block', async () => {
    const rules = [balance(['a', 'b', 'c'], { balance: 'weighted', weights: { a: 30, b: 10, c: 0 } })]
    const turns = await Promise.all(Array.from({ length: 8 }, (_, turn) => planned({ turn, rules }).then(shown)))
    expect(turns.flat().join('')).toBe('aabaaaba')
  })
})

describe('filtering', () => {
  const drop = (over: Record<string, unknown> = {}, conditions: unknown = {}): ARule => ({
    rule_type: 'filtering',
    conditions,
    actions: { drop: true, ...over },
  })

  it('drops a whole distribution, also one with named destinations, without asking where it would go', async () => {
    const rules = [drop({ reason: 'embargo' }, ITALY), route(['a'])]
    const named = await planned({ rules, submitted: ['a', { inline: 'x' }] })
    expect(shown(named)).toEqual(['a skipped', 'x skipped'])
    expect(named.destinations[0]).toMatchObject({
      error_message: 'This destination was dropped by the rule r0: embargo',
    })
    expect(named.warnings).toEqual(['The distribution was dropped by the rule r0: embargo'])
    const routed = await planned({ rules })
    expect(routed).toMatchObject({ destinations: [], dropped: { rule: 'r0', reason: 'embargo' }, chosen_by: 'none' })
    expect(routed.considered[1]).toMatchObject({ name: 'r1', outcome: null })
  })

  it('drops single destinations by name and tag, and takes them out of their group', async () => {
    const registered = ['a', candidate('b', { tags: ['eu'] }), 'c']
    const rules = [
      drop({ destinations: ['a'] }),
      drop({ tags: ['eu'] }),
      route(['a', 'b', 'c'], { strategy: 'failover' }),
    ]
    expect(shown(await planned({ registered, rules }))).toEqual(['a skipped', 'b skipped', 'c'])
    expect(shown(await planned({ registered, rules, submitted: ['c', 'b'] }))).toEqual(['c', 'b skipped'])
    const balanced = [drop({ destinations: ['a'] }), route(['a', 'b'], { strategy: 'load_balance' })]
    expect(shown(await planned({ rules: balanced }))).toEqual(['b'])
  })
})

describe('prioritization and transformation', () => {
  it('the first rule that sets a field wins, and named destinations are concerned as well', async () => {
    const plan = await planned({
      submitted: ['a'],
      rules: [
        { rule_type: 'prioritization', actions: { max_retries: 0 } },
        { rule_type: 'prioritization', actions: { priority: 'critical', max_retries: 7, expires_in_seconds: 60 } },
      ],
    })
    expect(plan).toMatchObject({
      priority: { value: 'critical', rule: 'r1' },
      max_retries: { value: 0, rule: 'r0' },
      expires_in_seconds: { value: 60, rule: 'r1' },
    })
  })

  it('a shape goes to the destinations that it names, or to all', async () => {
    const shape = (title: string, over: Record<string, unknown> = {}): ARule => ({
      rule_type: 'transformation',
      actions: { shape: { include: [title] }, ...over },
    })
    const plan = await planned({
      submitted: ['a', 'b', { inline: 'x' }],
      rules: [shape('a', { destinations: ['a'] }), shape('all')],
    })
    expect(plan.destinations.map(({ shape }) => shape?.include)).toEqual([['a'], ['all'], ['all']])
  })
})
