// The explanation of a plan, and the cache of the rules.
import { describe, expect, it } from 'vitest'
import { explain, KEPT, SHOWN } from '../../../activities/rules/explanation.ts'
import { createRuleCache } from '../../../activities/rules/rule-cache.ts'
import type { StoredRule } from '../../../db/rules/rules.ts'
import { FRANCE, ITALY, planned, route } from './planning.ts'

describe('the explanation', () => {
  it('says of each rule which condition failed, on which value', async () => {
    const conditions = { all: [ITALY, { path: 'payload.total', operator: 'greater_than', value: 5 }] }
    const explanation = explain(await planned({ rules: [route(['a'], {}, conditions), route(['b'])] }), SHOWN)
    // Kept in brief, an `all` that does not hold shows what it failed by.
    const [, brief] = explain(await planned({ rules: [route(['a'], {}, conditions), route(['b'])] }), KEPT).rules
    expect(brief?.conditions?.all).toMatchObject([{ path: 'payload.total', matched: false }])
    expect(explanation.rules).toMatchObject([
      { name: 'r1', matched: true },
      {
        name: 'r0',
        matched: false,
        conditions: {
          all: [
            { path: 'payload.country', operator: 'equal', value: '"IT"', actual: '"IT"', matched: true },
            {
              path: 'payload.total',
              operator: 'greater_than',
              value: '5',
              missing: true,
              matched: false,
              note: 'is missing, not a number',
            },
          ],
        },
      },
    ])
    expect(explanation.destinations).toMatchObject([{ name: 'b', rule: 'r1' }])
  })

  it('is bounded, keeps what matched, and counts what it leaves out', async () => {
    const many = Array.from({ length: 2000 }, () =>
      route(['a'], {}, { any: [FRANCE, { path: 'payload.country', operator: 'equal', value: 'x'.repeat(5000) }] }),
    )
    const explanation = explain(await planned({ rules: [...many, route(['b'])] }), KEPT)
    expect(explanation.rules[0]).toMatchObject({ name: 'r2000', matched: true })
    expect(explanation.rules.length + explanation.rules_omitted).toBe(2001)
    expect(explanation.destinations).toHaveLength(1)
    expect(Buffer.byteLength(JSON.stringify(explanation))).toBeLessThan(30_000)
  })

  it('names a rule whose conditions have no room', async () => {
    const conditions = { any: Array.from({ length: 100 }, (_, i) => ({ ...FRANCE, value: `${i}${'x'.repeat(300)}` })) }
    const rules = [
      route(['a'], {}, { not: conditions }),
      route(['b'], {}, { not: conditions }),
      route(['c'], {}, ITALY),
    ]
    const { rules: kept, rules_omitted, destinations } = explain(await planned({ rules }), KEPT)
    expect(kept).toMatchObject([
      { name: 'r0', matched: true, note: 'its conditions are left out because of their size' },
      { name: 'r1', matched: true, note: 'its conditions are left out because of their size' },
      { name: 'r2', matched: true, conditions: { matched: true } },
    ])
    expect({ rules_omitted, destinations: destinations.length }).toEqual({ rules_omitted: 0, destinations: 3 })
  })

  it('and the warnings are bounded', async () => {
    const names = Array.from({ length: 900 }, (_, i) => `d${i}`)
    const reason = 'r'.repeat(500)
    const plan = await planned({
      registered: names,
      rules: [route(names), { rule_type: 'filtering', actions: { drop: true, destinations: names, reason } }],
    })
    expect(plan.warnings).toHaveLength(101)
    expect(plan.warnings[100]).toBe('800 more warnings are left out')
    expect(Math.max(...plan.warnings.map(({ length }) => length))).toBe(501)
  })

  it('holds no values where they are sealed', async () => {
    const text = JSON.stringify(
      explain(await planned({ rules: [route(['a'], {}, ITALY)] }), { ...KEPT, values: false }),
    )
    expect(text).toContain('payload.country')
    expect(text).not.toContain('IT')
  })
})

describe('remembered rules', () => {
  const stored = (name: string, version: string): StoredRule => ({
    id: name,
    name,
    version,
    shared: false,
    rule_type: 'routing',
    priority: 0,
    conditions: '{}',
    actions: { destinations: ['a'] },
  })

  it('are removed from the cache when they need too much memory, the least recently used first', async () => {
    const rules = createRuleCache()
    const huge = (name: string): StoredRule => ({ ...stored(name, '1'), actions: { x: 'x'.repeat(12 * 1024 * 1024) } })
    const loaded: string[] = []
    const ask = (tenant: string) =>
      rules.get(tenant, { enabled: 1, fingerprint: '1' }, async () => {
        loaded.push(tenant)
        return [huge(tenant)]
      })
    for (const tenant of ['a', 'b', 'a', 'c', 'a', 'b']) await ask(tenant)
    expect(loaded.join('')).toBe('abcb')
  })

  it('are loaded again when the fingerprint changes; unchanged rules stay the same objects', async () => {
    const rules = createRuleCache()
    let loads = 0
    const load =
      (...rows: StoredRule[]) =>
      async () => {
        loads += 1
        return rows
      }
    const state = (fingerprint: string) => ({ enabled: 2, fingerprint })
    const first = await rules.get('acme', state('1'), load(stored('x', '1'), stored('y', '1')))
    expect(await rules.get('acme', state('1'), load())).toBe(first)
    const second = await rules.get('acme', state('2'), load(stored('x', '1'), stored('y', '2')))
    expect(second.rules[0]).toBe(first.rules[0])
    expect(second.rules[1]).not.toBe(first.rules[1])
    expect(loads).toBe(2)
    expect((await rules.get('other', state('2'), load())).rules).toEqual([])
    expect((await rules.get('acme', { enabled: 0, fingerprint: '0' }, load())).rules).toEqual([])
    expect(loads).toBe(3)
  })
})
