import { expect, it } from 'vitest'
import { Turns } from '../../workflows/turns.ts'

it('a word is for the destinations that it names, and without names for all', () => {
  const turns = new Turns()
  const [a, b] = [turns.of('a'), turns.of('b')]
  turns.come(['a'])
  expect(turns.of('a')).not.toBe(a)
  expect(turns.of('b')).toBe(b)
  const seen = turns.of('a')
  turns.come()
  expect(turns.of('a')).not.toBe(seen)
  expect(turns.of('b')).not.toBe(b)
})
