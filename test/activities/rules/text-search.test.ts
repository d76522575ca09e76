// A text within a text: the same answers as the engine's own search, at a cost that is linear.
import { expect, it } from 'vitest'
import { readConditions } from '../../../activities/rules/conditions.ts'
import { type Exact, readExact } from '../../../activities/rules/exact.ts'
import { freshWork } from '../../../activities/rules/operators.ts'
import { textSearch } from '../../../activities/rules/text-search.ts'

/** What a `contains` of this value answers. */
function contains(value: string): (text: string) => unknown {
  const read = readConditions(readExact(JSON.stringify({ path: 'payload', operator: 'contains', value })))
  if ('issues' in read) throw new Error(JSON.stringify(read.issues))
  return (text) => read.leaves[0]!.test(text as Exact, freshWork())
}

it('answers as the engine does, for all texts of few letters', () => {
  let seed = 1
  const random = (below: number) => {
    seed = (seed * 48_271) % 2_147_483_647
    return seed % below
  }
  const some = (length: number) => Array.from({ length }, () => 'ab'[random(2)]).join('')
  let found = 0
  for (let round = 0; round < 20_000; round++) {
    const text = `${some(random(60))}${round % 3 ? '' : 'ü€'}${some(random(60))}`
    const start = random(text.length + 1)
    const wanted = round % 2 ? text.slice(start, start + 17 + random(10)) : some(17 + random(6))
    const is = textSearch(wanted)(text)
    expect([text, wanted, is]).toEqual([text, wanted, text.includes(wanted)])
    if (is) found++
  }
  expect(found).toBeGreaterThan(1000)
  expect(found).toBeLessThan(19_000)
})

it.each([
  ['in the middle', `${'x'.repeat(5000)}0${'x'.repeat(4900)}`, 'x'],
  ['at the start', `0${'x'.repeat(9900)}`, 'x'],
  ['at the end', `${'x'.repeat(9900)}0`, 'x'],
  ['again and again', `${'xy'.repeat(2500)}0${'xy'.repeat(2400)}`, 'xy'],
  ['in a short one', `${'x'.repeat(8)}0${'x'.repeat(7)}`, 'x'],
])('a text that nearly stands in a long one costs about what an honest one does: it differs %s', (_, wanted, piece) => {
  const length = 500_000
  const cost = (value: string, text: string) => {
    const holds = contains(value)
    expect(holds(text.slice(0, 20_000))).toBe(false)
    const costs = [0, 1, 2].map(() => {
      const before = process.cpuUsage()
      for (let time = 0; time < 4; time++) expect(holds(text)).toBe(false)
      const { user, system } = process.cpuUsage(before)
      return user + system
    })
    return Math.min(...costs)
  }
  const honest = cost(
    'a text of some length that is not in it',
    'the report of the month was sent, '.repeat(length / 34),
  )
  expect(cost(wanted, piece.repeat(length / piece.length))).toBeLessThan(10 * honest)
})
