// Rules that ask for much: other work has its turn meanwhile, and the answer is the same.
import { expect, it } from 'vitest'
import { type Exact, readExact } from '../../../activities/rules/exact.ts'
import { planByRules } from '../../../activities/rules/plan.ts'
import { ruleSet } from '../../../activities/rules/rule.ts'
import { leastOf } from '../../support/loop.ts'
import { FACTS } from './planning.ts'

const LOOKUPS = { destinations: async () => [], turns: async () => new Map(), failures: async () => new Map() }

function planOf(rules: number, conditions: unknown, payload: Exact) {
  const set = ruleSet(
    Array.from({ length: rules }, (_, at) => ({
      id: `r${at}`,
      version: '1',
      shared: false,
      name: `r${at}`,
      rule_type: 'filtering' as const,
      priority: at,
      conditions: JSON.stringify(conditions),
      actions: { drop: true },
    })),
  )
  return planByRules(set, { ...FACTS, payload }, [], [], LOOKUPS)
}

const question = (path: string, operator: string, value: unknown) => ({ path, operator, value })
const texts = (count: number, length: number) => readExact(JSON.stringify(Array(count).fill('x'.repeat(length))))!
const any = (count: number, path: string, operator: string, value: (at: number) => unknown) => ({
  any: Array.from({ length: count }, (_, at) => question(path, operator, value(at))),
})

it.each<[string, number, unknown, Exact]>([
  ['of many rules', 100, question('payload[*]', 'contains', 'the text that is not there'), texts(500, 1000)],
  ['of one rule', 1, any(200, 'payload[*]', 'contains', (at) => `the text ${at} that is not there`), texts(300, 1000)],
  ['of one question', 1, question('payload[*]', 'contains', 'the text that is not there'), texts(60_000, 1000)],
  [
    'of one question about lists of lists',
    1,
    question('payload[*][*]', 'equal', 'a'),
    Array(900).fill(Array(1000).fill('b')),
  ],
])('the questions %s hold the loop for a small part of their time', async (_, rules, conditions, payload) => {
  const plan = () => planOf(rules, conditions, payload)
  const { considered } = await plan()
  expect(considered).toHaveLength(rules)
  expect(considered.every(({ outcome }) => outcome?.matched === false)).toBe(true)
  const held = await leastOf(3, plan)
  expect(held.longest).toBeLessThan(held.total / 3)
})
