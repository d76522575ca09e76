import { expect, it } from 'vitest'
import { Turns } from '../../workflows/turns.ts'

it('a notification is for the destinations that it names, or for all if it names none', () => {
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
