// The limits of a request's work in the shaping processes, and the answers when it exceeds them.
import { expect, it } from 'vitest'
import type { Shaper } from '../../activities/shaping/shaper.ts'
import { ShapingError } from '../../activities/shaping/shaping-error.ts'
import { boundedShaper } from '../../api/rules/bounded-shaper.ts'

const MB = 1_048_576

/** One that answers `check` when it is told to, and as it is told to. */
function aShaper(longestMs?: number) {
  const open: ((error?: Error) => void)[] = []
  const check: Shaper['check'] = (_tenant, _schema, _document, signal) =>
    new Promise((resolve, reject) => {
      open.push((error) => (error ? reject(error) : resolve([])))
      signal?.addEventListener('abort', () => reject(signal.reason))
    })
  const bounded = boundedShaper({ check } as Shaper, longestMs)
  return { open, check: (tenant: string, bytes: number) => bounded.check(tenant, true, Buffer.alloc(bytes)) }
}

it('one tenant that has too much waiting is refused, and no other', async () => {
  const { open, check } = aShaper()
  const waiting = [check('a', 40 * MB), check('b', 40 * MB), check('a', 20 * MB)]
  await expect(check('a', 10 * MB)).rejects.toMatchObject({ code: 'RATE_LIMIT_EXCEEDED', retryAfterSeconds: 5 })
  for (const answer of open) answer()
  expect(await Promise.all(waiting)).toEqual([[], [], []])
  // A single one is taken, whatever its size.
  const again = check('a', 100 * MB)
  open.at(-1)!()
  expect(await again).toEqual([])
})

it('a shaping that takes too long or is lost is a 503; an error that the payload causes is returned unchanged', async () => {
  await expect(aShaper(20).check('a', 1)).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' })
  for (const [error, expected] of [
    [new Error('the shaping process ended (SIGKILL)'), { code: 'SERVICE_UNAVAILABLE' }],
    [new ShapingError('limits', 'it took longer than 20 s'), { step: 'limits' }],
  ] as const) {
    const { open, check } = aShaper()
    const lost = check('a', 1)
    open[0]!(error)
    await expect(lost).rejects.toMatchObject(expected)
  }
})
