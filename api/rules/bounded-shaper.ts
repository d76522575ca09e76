// The shaping processes as the API uses them: nobody waits for ever, and one tenant's payloads cannot fill the memory while
// they do.
import type { Shaper } from '../../activities/shaping/shaper.ts'
import { ShapingError } from '../../activities/shaping/shaping-error.ts'
import { ApiError } from '../http/errors.ts'

/** What waits of one tenant at once: payloads of this size together, and so many. */
const MOST_BYTES = 67_108_864
const MOST = 500
const AGAIN_S = 5
/** A request is answered by then, come what may. */
const LONGEST_MS = 60_000

/**
 * The same, with its answers in the API's words: 429 for a tenant that has too much waiting, 503 where nothing was found out.
 * @param longestMs tests shorten it
 */
export function boundedShaper(shaper: Shaper, longestMs = LONGEST_MS): Shaper {
  const waiting = new Map<string, { bytes: number; count: number }>()

  async function bounded<T>(
    tenantId: string,
    bytes: number,
    signal: AbortSignal | undefined,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const own = waiting.get(tenantId) ?? { bytes: 0, count: 0 }
    if (own.count > 0 && (own.bytes + bytes > MOST_BYTES || own.count >= MOST)) throw tooMany()
    waiting.set(tenantId, own)
    own.bytes += bytes
    own.count += 1
    const late = AbortSignal.timeout(longestMs)
    try {
      return await work(signal ? AbortSignal.any([signal, late]) : late)
    } catch (error) {
      if (error instanceof ShapingError) throw error
      throw new ApiError('SERVICE_UNAVAILABLE', 'what was sent could not be looked at in time, try again', [], {
        cause: error,
      })
    } finally {
      own.bytes -= bytes
      own.count -= 1
      if (own.count === 0) waiting.delete(tenantId)
    }
  }

  return {
    shape: (tenantId, shapes, payload, words, signal, options) =>
      bounded(tenantId, payload.length, signal, (until) =>
        shaper.shape(tenantId, shapes, payload, words, until, options),
      ),
    check: (tenantId, schema, document, signal) =>
      bounded(tenantId, document.length, signal, (until) => shaper.check(tenantId, schema, document, until)),
    judge: (tenantId, schema, signal) => bounded(tenantId, 0, signal, (until) => shaper.judge(tenantId, schema, until)),
    judgeShape: (tenantId, shape, signal) =>
      bounded(tenantId, 0, signal, (until) => shaper.judgeShape(tenantId, shape, until)),
    close: () => shaper.close(),
  }
}

function tooMany(): ApiError {
  const why = `too many payloads of this tenant are being looked at, try again in ${AGAIN_S} s`
  return new ApiError('RATE_LIMIT_EXCEEDED', why, [], { retryAfterSeconds: AGAIN_S })
}
