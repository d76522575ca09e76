import { describe, expect, it } from 'vitest'
import { BACKOFF, retryDelay } from '../../activities/backoff.ts'

const none = () => 0
const most = () => 1

describe('retryDelay', () => {
  it('doubles from one second to its limit', () => {
    expect([1, 2, 3, 4, 5].map((failures) => retryDelay(failures, undefined, BACKOFF, none))).toEqual([
      1000, 2000, 4000, 8000, 16000,
    ])
    expect(retryDelay(50, undefined, BACKOFF, none)).toBe(BACKOFF.max_ms)
  })

  it('FIELD-REPORT 14: jitter never takes a wait below what the destination asked for', () => {
    for (let i = 0; i < 1000; i += 1) {
      expect(retryDelay(1, 30_000)).toBeGreaterThanOrEqual(30_000)
      expect(retryDelay(3, undefined)).toBeGreaterThanOrEqual(4000)
    }
    expect(retryDelay(1, 30_000, BACKOFF, most)).toBe(36_000)
  })

  it('FIELD-REPORT 14: honours a wish up to one hour', () => {
    expect(retryDelay(1, 86_400_000, BACKOFF, none)).toBe(3_600_000)
  })

  it('keeps its own delay when the wish is shorter, and goes at once when asked to', () => {
    expect(retryDelay(5, 1000, BACKOFF, none)).toBe(16_000)
    expect(retryDelay(5, 0, BACKOFF, none)).toBe(0)
  })
})
