// Limits the API's use of the shaping processes: each request has a time limit, and the waiting payloads of one tenant cannot
// fill the memory.
import type { Shaper } from '../../activities/shaping/shaper.ts'
import { ShapingError } from '../../activities/shaping/shaping-error.ts'
import { createSlots } from '../../db/slots.ts'
import { ApiError } from '../http/errors.ts'

/** The maximum of waiting payloads of one tenant: bytes and number. */
const MAX_BYTES = 67_108_864
const MAX_COUNT = 500
const AGAIN_S = 5
/** A request is answered within this time. */
const LONGEST_MS = 60_000

/**
 * The same with the API's errors: 429 if too many payloads of the tenant wait, 503 if there is no result in time.
 * @param longestMs tests shorten it
 */
export function boundedShaper(shaper: Shaper, longestMs = LONGEST_MS): Shaper {
  // If no payload of the tenant waits, one of any size is accepted.
  const waiting = createSlots(({ amount = 0 }, { tenant: { claims, amount: bytes } }) =>
    claims.size > 0 && (bytes + amount > MAX_BYTES || claims.size >= MAX_COUNT) ? 'full' : undefined,
  )

  async function bounded<T>(
    tenantId: string,
    bytes: number,
    signal: AbortSignal | undefined,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const claim = { tenant: tenantId, amount: bytes }
    if (waiting.take(claim)) throw tooMany()
    const late = AbortSignal.timeout(longestMs)
    try {
      return await work(signal ? AbortSignal.any([signal, late]) : late)
    } catch (error) {
      if (error instanceof ShapingError) throw error
      throw new ApiError('SERVICE_UNAVAILABLE', 'the request could not be checked in time, try again', [], {
        cause: error,
        refusal: 'overload',
      })
    } finally {
      waiting.release(claim)
    }
  }

  return {
    shape: (tenantId, shapes, payload, words, signal, options) =>
      bounded(tenantId, payload.length, signal, (until) =>
        shaper.shape(tenantId, shapes, payload, words, until, options),
      ),
    check: (tenantId, schema, document, signal) =>
      bounded(tenantId, document.length, signal, (until) => shaper.check(tenantId, schema, document, until)),
    checkSchema: (tenantId, schema, signal) =>
      bounded(tenantId, 0, signal, (until) => shaper.checkSchema(tenantId, schema, until)),
    checkShape: (tenantId, shape, signal) =>
      bounded(tenantId, 0, signal, (until) => shaper.checkShape(tenantId, shape, until)),
    close: () => shaper.close(),
  }
}

function tooMany(): ApiError {
  const why = `too many payloads of this tenant are being checked, try again in ${AGAIN_S} s`
  return new ApiError('RATE_LIMIT_EXCEEDED', why, [], { retryAfterSeconds: AGAIN_S })
}
