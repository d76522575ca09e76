import { expect, it } from 'vitest'
import { isRecent } from '../../temporal-config/client/health.ts'

const HOUR = 3_600_000

it('a worker polls when its last poll is recent, or when it has polled since Temporal was asked before', () => {
  const now = Date.now()
  expect(isRecent('none', 0)).toBe(false)
  expect(isRecent('recent', now - 30_000)).toBe(true)
  expect(isRecent('gone', now - 2 * HOUR, 0)).toBe(false)
  // Temporal's clock is two hours behind the database's.
  expect(isRecent('behind', now - 2 * HOUR, 0)).toBe(false)
  expect(isRecent('behind', now - 2 * HOUR + 60_000, 60_000)).toBe(true)
  expect(isRecent('behind', now - 2 * HOUR + 60_000, 120_000)).toBe(true)
  expect(isRecent('behind', now - 2 * HOUR + 60_000, 151_000)).toBe(false)
})
