// Conditions, one operator after another: which are true, which are false, and which are rejected with the path of the
// problem.
import { describe, expect, it } from 'vitest'
import { wantedParts } from '../../../activities/document/tree.ts'
import { type Condition, readConditions } from '../../../activities/rules/conditions.ts'
import { evaluate as evaluateInSteps, type Outcome } from '../../../activities/rules/evaluate.ts'
import { type Exact, readExact } from '../../../activities/rules/exact.ts'
import { freshWork, OPERATOR_NAMES, type Work } from '../../../activities/rules/operators.ts'
import { type Facts, payloadFacts } from '../../../activities/rules/paths.ts'
import { momentOf } from '../../../activities/rules/time.ts'

/** All steps at once. */
function evaluate(condition: Condition, given: Facts, work: Work): Outcome {
  const steps = evaluateInSteps(condition, given, work)
  for (let step = steps.next(); ; step = steps.next()) if (step.done) return step.value
}

// A Sunday evening in UTC, the Monday after midnight in Rome.
const NOW = new Date('2026-03-29T22:30:00Z')
const PAYLOAD = `{"country": "IT", "total": 12.50, "id": 9007199254740993, "none": null, "urgent": true, "note": "",
  "items": [{"sku": "A-1"}, {"sku": "B-2", "n": 3}], "tags": ["a", "b", 7], "odd key": {"__proto__": "x"}, "when": "2026-03-01"}`

const facts = (payload = PAYLOAD): Facts => ({
  payload: readExact(payload),
  metadata: readExact('{"source": "ms01", "length": 2, "list": [[], [1, 2], 7, [[3], 3]]}'),
  data_type: 'aggregated_report',
  tenant_id: 'acme',
  priority: 'high',
  time: momentOf(NOW),
})

function holds(condition: unknown, given = facts()): boolean {
  const read = readConditions(readExact(typeof condition === 'string' ? condition : JSON.stringify(condition)))
  if ('issues' in read) throw new Error(JSON.stringify(read.issues))
  return evaluate(read.condition, given, freshWork()).matched
}

const issues = (condition: unknown) => {
  const read = readConditions(readExact(JSON.stringify(condition)))
  return 'issues' in read ? read.issues.map(({ path, issue }) => `${path.join('.')}: ${issue}`) : []
}

describe('a question about one value', () => {
  it.each([
    ['payload.country', 'equal', '"IT"', true],
    ['payload.country', 'equal', '"it"', false],
    ['payload.total', 'equal', '12.5', true],
    ['payload.total', 'equal', '"12.5"', false],
    ['payload.total', 'equal', '1250e-2', true],
    ['payload.urgent', 'equal', 'true', true],
    ['payload.none', 'equal', 'null', true],
    ['payload.missing', 'equal', 'null', false],
    ['payload.missing', 'not_equal', '"IT"', true],
    ['payload.country', 'not_equal', '"IT"', false],
    ['payload.country', 'in', '["FR", "IT"]', true],
    ['payload.total', 'in', '["IT", 12.500]', true],
    ['payload.country', 'in', '["FR"]', false],
    ['payload.country', 'not_in', '["FR"]', true],
    ['payload.missing', 'not_in', '["FR"]', true],
    ['payload.total', 'greater_than', '12.49', true],
    ['payload.total', 'greater_than', '12.5', false],
    ['payload.total', 'greater_than_or_equal', '12.5', true],
    ['payload.total', 'less_than', '13', true],
    ['payload.total', 'less_than_or_equal', '12.4', false],
    ['payload.country', 'greater_than', '5', false],
    ['payload.missing', 'less_than', '5', false],
    ['payload.when', 'greater_than_or_equal', '"2026-02-28"', true],
    ['payload.when', 'less_than', '"2026-03-01T00:00:00Z"', true],
    ['payload.total', 'between', '[12.5, 20]', true],
    ['payload.total', 'between', '[13, 20]', false],
    ['payload.when', 'between', '["2026-01-01", "2026-12-31"]', true],
    ['payload.country', 'contains', '"T"', true],
    ['payload.tags', 'contains', '"b"', true],
    ['payload.tags', 'contains', '7.0', true],
    ['payload.tags', 'contains', '"7"', false],
    ['payload.total', 'contains', '"1"', false],
    ['payload.country', 'starts_with', '"I"', true],
    ['payload.country', 'ends_with', '"I"', false],
    ['payload.total', 'starts_with', '"1"', false],
    ['payload.items[0].sku', 'matches', '"^[A-Z]-\\\\d$"', true],
    ['payload.items[1].sku', 'matches', '"(?i)^b"', true],
    ['payload.total', 'matches', '"1"', false],
    ['payload.country', 'exists', 'true', true],
    ['payload.none', 'exists', 'true', true],
    ['payload.note', 'exists', 'true', true],
    ['payload.missing.deeper', 'exists', 'true', false],
    ['payload.missing', 'exists', 'false', true],
    ['payload.items[2]', 'exists', 'true', false],
    ['payload.items.length', 'exists', 'true', false],
    ['payload.country.length', 'exists', 'true', false],
    ['payload.total.text', 'exists', 'true', false],
    ['payload.constructor', 'exists', 'true', false],
    ['payload.__proto__', 'exists', 'true', false],
    ['payload["odd key"].__proto__', 'equal', '"x"', true],
    ['payload.items[*].sku', 'equal', '"B-2"', true],
    ['payload.items[*].sku', 'equal', '"C-3"', false],
    ['payload.items[*].n', 'greater_than', '2', true],
    ['payload.items[*].n', 'exists', 'false', true],
    ['payload.items[*]["sku"]', 'starts_with', '"B"', true],
    ['payload.items[0].sku', 'equal', '"A-1"', true],
    ['payload.tags[*]', 'in', '[7.0]', true],
    ['payload.tags[*]', 'equal', 'null', false],
    ['payload.missing[*].sku', 'not_equal', '"A"', false],
    ['payload.country[*]', 'exists', 'false', false],
    ['payload[*]', 'exists', 'true', false],
    ['metadata.list[*][*]', 'equal', '3', true],
    ['payload', 'exists', 'true', true],
    ['metadata.source', 'equal', '"ms01"', true],
    ['metadata.length', 'equal', '2', true],
    ['data_type', 'starts_with', '"aggregated"', true],
    ['tenant_id', 'equal', '"acme"', true],
    ['priority', 'equal', '"high"', true],
    ['priority', 'greater_than', '"normal"', true],
    ['priority', 'greater_than', '"critical"', false],
    ['priority', 'between', '["low", "high"]', true],
    ['time.hour', 'equal', '22', true],
    ['time.hour', 'between', '[20, 23]', true],
    ['time.weekday', 'equal', '"sunday"', true],
    ['time.weekday', 'in', '["saturday", "sunday"]', true],
    ['time.date', 'equal', '"2026-03-29"', true],
    ['time.date', 'less_than', '"2026-04-01"', true],
    ['time.time', 'greater_than', '"22:29"', true],
  ])('%s %s %s: %s', (path, operator, value, expected) => {
    expect(holds(`{"path": ${JSON.stringify(path)}, "operator": "${operator}", "value": ${value}}`)).toBe(expected)
  })

  it('compares every digit of numbers that doubles cannot hold', () => {
    const id = (operator: string, value: string) =>
      holds(`{"path": "payload.id", "operator": "${operator}", "value": ${value}}`)
    // As doubles, both are 9007199254740992.
    expect(id('equal', '9007199254740993')).toBe(true)
    expect(id('equal', '9007199254740992')).toBe(false)
    expect(id('greater_than', '9007199254740992')).toBe(true)
    expect(id('in', '[9007199254740992, 9007199254740994]')).toBe(false)
    const big = facts('{"n": 0.1000000000000000000000000000001, "m": -1e400, "z": -0.0}')
    expect(holds('{"path": "payload.n", "operator": "greater_than", "value": 0.1}', big)).toBe(true)
    expect(holds('{"path": "payload.m", "operator": "greater_than", "value": -1e401}', big)).toBe(true)
    expect(holds('{"path": "payload.m", "operator": "less_than", "value": -99}', big)).toBe(true)
    expect(holds('{"path": "payload.z", "operator": "equal", "value": 0}', big)).toBe(true)
  })

  it('uses the time of the time zone that it names', () => {
    // Clocks in Rome went forward that morning: 22:30 UTC is 00:30, not 23:30.
    const rome = (part: string, value: unknown) =>
      holds({ path: `time.${part}`, operator: 'equal', value, time_zone: 'Europe/Rome' })
    expect([rome('hour', 0), rome('weekday', 'monday'), rome('date', '2026-03-30'), rome('time', '00:30')]).toEqual([
      true,
      true,
      true,
      true,
    ])
  })

  it('takes a bounded time for patterns that backtrack', () => {
    const nasty = facts(`{"text": "${'a'.repeat(9_999)}!"}`)
    const started = performance.now()
    expect(holds({ path: 'payload.text', operator: 'matches', value: '^(a+)+$' }, nasty)).toBe(false)
    expect(holds({ path: 'payload.text', operator: 'matches', value: '(x+x+)+y' }, nasty)).toBe(false)
    // A backtracking engine is not done with these within the age of the universe.
    expect(performance.now() - started).toBeLessThan(5000)
  })

  it('stops at patterns that together cost too much, and says so', () => {
    const read = readConditions(
      readExact('{"path": "payload.text", "operator": "matches", "value": "(a|b|c|d|e){90}z"}'),
    )
    if ('issues' in read) throw new Error(JSON.stringify(read.issues))
    const long = facts(`{"text": "${'abcde'.repeat(2_000)}"}`)
    const work = freshWork()
    const started = performance.now()
    const outcomes = Array.from({ length: 1000 }, () => evaluate(read.condition, long, work))
    expect(performance.now() - started).toBeLessThan(5000)
    expect(outcomes[0]).toMatchObject({ matched: false, kind: 'leaf' })
    expect(outcomes[999]).toMatchObject({ matched: false, note: expect.stringContaining('was not tried') })
  })

  it('tries no pattern on a text that is too long, and says so', () => {
    const read = readConditions(readExact('{"path": "payload.text", "operator": "matches", "value": "a"}'))
    if ('issues' in read) throw new Error('refused')
    expect(evaluate(read.condition, facts(`{"text": "${'a'.repeat(10_001)}"}`), freshWork())).toMatchObject({
      matched: false,
      note: 'is longer than 10000 characters and was not tried',
    })
  })
})

describe('questions together', () => {
  const yes = { path: 'payload.country', operator: 'equal', value: 'IT' }
  const no = { path: 'payload.country', operator: 'equal', value: 'FR' }
  it.each([
    [{}, true],
    [yes, true],
    [{ all: [yes, yes] }, true],
    [{ all: [yes, no] }, false],
    [{ any: [no, yes] }, true],
    [{ any: [no, no] }, false],
    [{ not: no }, true],
    [{ not: { any: [no, yes] } }, false],
    [{ all: [{ any: [no, { not: no }] }, { not: { all: [yes, no] } }] }, true],
  ])('%j: %s', (condition, expected) => {
    expect(holds(condition)).toBe(expected)
  })

  it('stop as soon as the result is clear, and remember which comparison decided', () => {
    const read = readConditions(readExact(JSON.stringify({ all: [yes, no, yes] })))
    if ('issues' in read) throw new Error('refused')
    const outcome = evaluate(read.condition, facts(), freshWork())
    expect(outcome).toMatchObject({ matched: false, of: [{ matched: true }, { matched: false, actual: 'IT' }] })
  })
})

describe('each element of a list', () => {
  const one = (over: Record<string, unknown> = {}) => ({
    path: 'payload.rows[*].fee',
    operator: 'equal',
    value: 5,
    ...over,
  })
  const outcome = (condition: unknown, payload: string) => {
    const read = readConditions(readExact(JSON.stringify(condition)))
    if ('issues' in read) throw new Error(JSON.stringify(read.issues))
    const steps = read.leaves.map(({ path }) => path.steps)
    return evaluate(read.condition, { ...facts(), payload: readExact(payload, wantedParts(steps)) }, freshWork())
  }

  it('says for which element it is true, and `not` means for none of them', () => {
    const rows = '{"rows": [{"fee": 1}, {"fee": 5.0, "x": "not read"}, {"fee": 5}]}'
    expect(outcome(one(), rows)).toMatchObject({ matched: true, at: 'payload.rows[1].fee', actual: { text: '5.0' } })
    expect(outcome({ not: one() }, rows)).toMatchObject({ matched: false })
    expect(outcome({ not: one({ value: 6 }) }, rows)).toMatchObject({ matched: true })
    expect(outcome(one({ operator: 'greater_than', value: 9 }), '{"rows": [{"fee": 1}, {"fee": "x"}]}')).toMatchObject({
      matched: false,
      note: 'none of 2 elements; the last one is a text, not a number',
    })
    expect(outcome(one(), '{"rows": {"fee": 5}}')).toMatchObject({ matched: false, note: 'there is no element' })
    expect(outcome({ not: one() }, '{"rows": []}')).toMatchObject({ matched: true })
    const odd = one({ path: 'payload["[*]"][*][1]' })
    expect(outcome(odd, '{"[*]": [[1, 2], [4, 5]]}')).toMatchObject({ at: 'payload["[*]"][1][1]' })
    // Of one element more is wanted than of the others.
    const both = { all: [one({ path: 'payload.rows[1].id' }), one({ value: 7 })] }
    expect(outcome(both, '{"rows": [{"fee": 7}, {"id": 5}]}')).toMatchObject({ matched: true })
    expect(outcome(both, '{"rows": [{"fee": 6}, {"id": 5, "fee": 7}]}')).toMatchObject({ matched: true })
  })
})

describe('what was not tried', () => {
  it('a payload with more values than a plan may examine', async () => {
    const ask = async (condition: unknown, payload: string) => {
      const read = readConditions(readExact(JSON.stringify(condition)))
      if ('issues' in read) throw new Error('refused')
      const wanted = wantedParts(read.leaves.map(({ path }) => path.steps))
      return evaluate(
        read.condition,
        { ...facts(), ...(await payloadFacts(Buffer.from(payload), wanted)) },
        freshWork(),
      )
    }
    const many = `{"rows": [${'{},'.repeat(500_000)}{}], "country": "IT"}`
    expect(await ask({ not: { path: 'payload.rows[*].fee', operator: 'equal', value: 1 } }, many)).toMatchObject({
      matched: false,
      undecided: true,
      of: [{ note: 'was not tried: the payload has more than 500000 values at the paths of the rules' }],
    })
    // What is not looked at does not count.
    expect(await ask({ path: 'payload.country', operator: 'equal', value: 'IT' }, many)).toMatchObject({
      matched: true,
    })
  })

  const undecided = { path: 'payload.text', operator: 'matches', value: 'a' }
  const yes = { path: 'data_type', operator: 'exists', value: true }
  const no = { path: 'data_type', operator: 'exists', value: false }
  it.each([
    [undecided, { matched: false, undecided: true }],
    [{ not: undecided }, { matched: false, undecided: true }],
    [{ all: [undecided, yes] }, { matched: false, undecided: true }],
    [{ not: { all: [undecided, no] } }, { matched: true }],
    [{ any: [undecided, no] }, { matched: false, undecided: true }],
    [{ any: [undecided, yes] }, { matched: true }],
    [{ not: { path: 'payload.list[*]', operator: 'matches', value: 'a' } }, { matched: false, undecided: true }],
  ])('%j: %j', (condition, expected) => {
    const read = readConditions(readExact(JSON.stringify(condition)))
    if ('issues' in read) throw new Error('refused')
    const long = 'b'.repeat(10_001)
    const { matched, undecided } = evaluate(
      read.condition,
      facts(JSON.stringify({ text: long, list: [long] })),
      freshWork(),
    )
    expect({ matched, ...(undecided ? { undecided } : {}) }).toEqual(expected)
  })

  it.each([
    ['a long text', { text: 'a'.repeat(1_000_000) }, { path: 'payload.text', operator: 'contains', value: 'b' }],
    ['a long list', { list: Array(50_000).fill(1) }, { path: 'payload.list', operator: 'contains', value: 2 }],
    ['many elements', { list: Array(50_000).fill(1) }, { path: 'payload.list[*]', operator: 'equal', value: 2 }],
    ['many empty lists', { list: Array(50_000).fill([]) }, { path: 'payload.list[*][*]', operator: 'equal', value: 2 }],
  ])('%s is examined within bounds, however many rules ask', (_title, payload, condition) => {
    const read = readConditions(readExact(JSON.stringify({ not: condition })))
    if ('issues' in read) throw new Error('refused')
    const given = facts(JSON.stringify(payload))
    const work = { left: freshWork().left / 10 }
    const outcomes = Array.from({ length: 1000 }, () => evaluate(read.condition, given, work))
    // Without a bound all of them, which takes minutes.
    expect(outcomes.filter(({ undecided }) => !undecided).length).toBeLessThan(20)
    expect(outcomes[0]).toMatchObject({ matched: true })
    expect(outcomes.at(-1)).toMatchObject({
      matched: false,
      undecided: true,
      of: [{ note: 'was not tried: the rules cost too much in total' }],
    })
  })
})

describe('an invalid condition is refused, with the path to the problem', () => {
  const leaf = (over: Record<string, unknown>) => ({ path: 'payload.a', operator: 'equal', value: 1, ...over })
  it.each([
    [
      { all: [leaf({}), leaf({ operator: 'equals' })] },
      'all.1.operator: is not a known operator, did you mean "equal"?',
    ],
    [leaf({ operator: '>' }), `operator: is not a known operator: ${OPERATOR_NAMES.join(', ')}`],
    [leaf({ operator: 'constructor' }), 'operator: is not a known operator'],
    [
      { any: [{ not: leaf({ path: 'payloads.a' }) }] },
      'any.0.not.path: is not a known path, did you mean "payload.a"?',
    ],
    [leaf({ path: 'body.a' }), 'path: is not a known path; it begins with payload'],
    [leaf({ path: 'payload.a[x]' }), 'path: cannot be read at "[x]"; write payload.items[0].id'],
    [leaf({ path: '$.a' }), 'path: is not a known path'],
    [leaf({ path: 'payload..a' }), 'path: cannot be read at "..a"'],
    [leaf({ path: 'payload.items[**].id' }), 'path: cannot be read at "[**].id"'],
    [leaf({ path: 'data_type[*]' }), 'path: has nothing below data_type'],
    [leaf({ path: 'data_type.x' }), 'path: has nothing below data_type'],
    [leaf({ path: 'time.minute' }), 'path: is not a known time: time.hour'],
    [leaf({ path: 7 }), 'path: must be a text'],
    [{ operator: 'equal', value: 1 }, 'path: is required'],
    [{ path: 'payload.a', value: 1 }, 'operator: is required'],
    [{ path: 'payload.a', operator: 'equal' }, 'value: is required'],
    [leaf({ vaule: 1 }), 'vaule: is not a known field, did you mean "value"?'],
    [leaf({ value: [1] }), 'value: must be a text, a number, true, false or null'],
    [leaf({ operator: 'in', value: 'IT' }), 'value: must be a list with at least one entry'],
    [leaf({ operator: 'in', value: [] }), 'value: must be a list with at least one entry'],
    [leaf({ operator: 'in', value: ['a', {}] }), 'value.1: must be a text, a number, true, false or null'],
    [leaf({ operator: 'greater_than', value: true }), 'value: must be a number or a text'],
    [leaf({ operator: 'between', value: [5] }), 'value: must be a list of two: [low, high]'],
    [leaf({ operator: 'between', value: [5, 'b'] }), 'value: must be two numbers or two texts'],
    [leaf({ operator: 'between', value: [5, 1] }), 'value: must not begin above its end'],
    [leaf({ operator: 'matches', value: '(' }), 'value: is not an RE2 pattern'],
    [leaf({ operator: 'matches', value: '(a)\\1' }), 'value: is not an RE2 pattern'],
    [leaf({ operator: 'matches', value: '(?=a)b' }), 'value: is not an RE2 pattern'],
    [leaf({ operator: 'matches', value: '(a{30}){30}' }), 'value: is too large a pattern'],
    [leaf({ operator: 'starts_with', value: '' }), 'value: must not be empty'],
    [leaf({ operator: 'exists', value: 'yes' }), 'value: must be true or false'],
    [leaf({ path: 'priority', value: 'urgent' }), 'value: must be one of low, normal, high, critical'],
    [leaf({ path: 'time.hour', value: 24 }), 'value: must be a whole number from 0 to 23'],
    [leaf({ path: 'time.hour', operator: 'in', value: [1, '2'] }), 'value.1: must be a whole number from 0 to 23'],
    [leaf({ path: 'time.weekday', value: 'Monday' }), 'value: must be a weekday'],
    [leaf({ path: 'time.weekday', operator: 'greater_than', value: 'monday' }), 'value: weekdays have no order'],
    [leaf({ path: 'time.date', value: '2026-02-30' }), 'value: must be a day'],
    [leaf({ path: 'time.time', value: '9:30' }), 'value: must be a time of day'],
    [leaf({ path: 'time.hour', value: 1, time_zone: 'Rome' }), 'time_zone: must be the name of a time zone'],
    [leaf({ time_zone: 'Europe/Rome' }), 'time_zone: has a meaning only for paths that begin with time'],
    [{ all: [] }, 'all: must be a list with at least one condition'],
    [{ any: leaf({}) }, 'any: must be a list with at least one condition'],
    [{ not: [leaf({})] }, 'not: must be an object'],
    [{ all: [leaf({})], any: [leaf({})] }, 'all: must stand alone, and has any beside it'],
    [{ all: ['payload.a = 1'] }, 'all.0: must be an object: all, any, not, or a path with an operator'],
  ])('%j: %s', (condition, expected) => {
    expect(issues(condition)).toContainEqual(expect.stringContaining(expected))
  })

  it('conditions that are too deep or too many', () => {
    let deep: unknown = leaf({})
    for (let i = 0; i < 10; i++) deep = { not: deep }
    expect(issues(deep)[0]).toContain('is nested deeper than 10')
    expect(issues({ all: Array.from({ length: 201 }, () => leaf({})) })).toEqual([
      ': must have at most 200 conditions in all',
    ])
    const pattern = leaf({ operator: 'matches', value: 'a+' })
    expect(issues({ any: Array.from({ length: 20 }, () => pattern) })).toEqual([])
    expect(issues({ any: Array.from({ length: 21 }, () => pattern) })).toEqual([
      ': must have at most 20 patterns in all; one may say a|b|c',
    ])
  })
})

describe('the payload', () => {
  const read = (text: string, ...paths: (string | number)[][]): Exact | undefined => readExact(text, wantedParts(paths))

  it('is built only for the paths that are asked for', () => {
    const text = '{"a": {"b": [1, {"c": 2, "d": {"e": [3]}}]}, "x": [[[{}]]], "y": "z"}'
    expect(JSON.parse(JSON.stringify(read(text, ['a', 'b', 1, 'c'], ['y'])))).toEqual({
      a: { b: [null, { c: 2 }] },
      y: 'z',
    })
  })

  it('uses the last one of repeated keys', () => {
    expect(JSON.stringify(read('{"a": {"b": 1}, "a": {"c": 2}}', ['a', 'b']))).toBe('{"a":{}}')
    expect(JSON.stringify(read('{"a": {"b": 1}, "a": 2}', ['a', 'b']))).toBe('{"a":2}')
    expect(JSON.stringify(read('{"a": 1, "a": 2}', ['a']))).toBe('{"a":2}')
  })

  it('may be of any depth and any kind', () => {
    expect(read('7', [])).toMatchObject({ text: '7' })
    expect(read('[1, "b"]', [1])).toEqual([undefined, 'b'])
    const deep = `${'['.repeat(400)}${']'.repeat(400)}`
    expect(Array.isArray(read(deep, [0, 0]))).toBe(true)
    expect(read('{"": {"": 1}}', ['', ''])).toMatchObject({ '': { '': { text: '1' } } })
  })
})
