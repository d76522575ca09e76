// What every protocol must keep, against a real receiver. Each `<protocol>.test.ts` says how to start one.
import { randomUUID } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import { describe, expect, it } from 'vitest'
import type { Destination, Message, Surroundings } from '../../activities/destinations/destination.ts'
import { createEgress } from '../../activities/destinations/egress.ts'
import { DeliveryError } from '../../activities/destinations/errors.ts'

/** A destination that is really there, in one of its moods. */
export interface Site {
  /** A resolved configuration that leads to it, with `SECRET` as its secret. */
  config: unknown
  /** What has arrived. */
  arrived(): { body: Buffer; delivery_id: string }[]
  /** Resolves when the receiver has begun to handle a delivery that will never end. */
  busy(): Promise<unknown>
  /** Resolves when no connection is open. */
  disconnected(): Promise<unknown>
  close(): Promise<unknown>
}

export type Mood = 'accepting' | 'rejecting' | 'hanging' | 'locked' | 'absent'

/** Stands in every site's configuration, and may come to light nowhere else. */
export const SECRET = 'contract-secret-4711'

/** Loopback is allowed, for that is where receivers are. */
export const surroundings: Surroundings = { egress: createEgress({ allow: ['127.0.0.0/8', '::1/128'] }) }

/** A message with what a test does not care for filled in. */
export function aMessage(given: Partial<Message> = {}): Message {
  return {
    tenant_id: 'acme',
    distribution_id: 'dist_0190f6a0-0000-7000-8000-000000000001',
    data_type: 'aggregated_report',
    delivery_id: randomUUID(),
    attempt_number: 1,
    body: Buffer.from('{"report_id":"r-1", "big": 9223372036854775807, "price": 1.0, "esc": "\\u00e9\\/"}'),
    content_type: 'application/json',
    compression: 'none',
    ...given,
  }
}

/** The error of a delivery that must fail. */
export async function failureOf(attempt: Promise<unknown>): Promise<DeliveryError> {
  const error = await attempt.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (!(error instanceof DeliveryError)) throw new Error('expected a DeliveryError', { cause: error })
  return error
}

/** Signals nothing. One for all of a file, hence without Node's limit of listeners. */
export const never = new AbortController().signal
setMaxListeners(0, never)

/** @param forbidden a resolved configuration that leads to 169.254.169.254 */
export function contract(destination: Destination, start: (mood: Mood) => Promise<Site>, forbidden: unknown): void {
  const deliver = (site: Site, message = aMessage(), signal = never) =>
    destination.deliver(site.config as never, message, signal, surroundings)

  async function at<T>(mood: Mood, run: (site: Site) => Promise<T>): Promise<T> {
    const site = await start(mood)
    try {
      return await run(site)
    } finally {
      await site.close()
    }
  }

  describe(`the contract of ${destination.protocol}`, () => {
    it('delivers once: the exact bytes, under the delivery id', () =>
      at('accepting', async (site) => {
        const message = aMessage()
        await deliver(site, message)
        expect(site.arrived()).toHaveLength(1)
        expect(site.arrived()[0]!.body.equals(message.body)).toBe(true)
        expect(site.arrived()[0]!.delivery_id).toBe(message.delivery_id)
      }))

    it('FIELD-REPORT 1: a repeat carries the same bytes and the same delivery id', () =>
      at('accepting', async (site) => {
        const message = aMessage()
        await deliver(site, message)
        await deliver(site, { ...message, attempt_number: 2 })
        const [first, second] = site.arrived()
        expect(second).toEqual(first)
      }))

    it.each([
      ['rejecting', 'REJECTED', false],
      ['absent', 'DESTINATION_UNAVAILABLE', true],
      ['hanging', 'TIMEOUT', true],
      ['locked', 'UNAUTHORIZED', false],
    ] as const)('FIELD-REPORT 22: a destination that is %s means %s, tried again: %s', (mood, code, retryable) =>
      at(mood, async (site) => {
        const began = performance.now()
        const error = await failureOf(deliver(site))
        expect(error).toMatchObject({ code, retryable })
        expect(performance.now() - began).toBeLessThan(5_000)
        if (mood === 'hanging') await site.disconnected()
      }),
    )

    it('FIELD-REPORT 23: an abort closes the socket and comes back as its reason', () =>
      at('hanging', async (site) => {
        const controller = new AbortController()
        const reason = new Error('cancelled')
        const attempt = deliver(site, aMessage(), controller.signal).catch((error: unknown) => error)
        await site.busy()
        const began = performance.now()
        controller.abort(reason)
        expect(await attempt).toBe(reason)
        await site.disconnected()
        expect(performance.now() - began).toBeLessThan(2_000)
      }))

    it('an abort that came before sends nothing', () =>
      at('accepting', async (site) => {
        const reason = new Error('cancelled')
        await expect(deliver(site, aMessage(), AbortSignal.abort(reason))).rejects.toBe(reason)
        expect(site.arrived()).toEqual([])
      }))

    it('FIELD-REPORT 44: cloud metadata is out of reach, for delivery and probe', async () => {
      const denied = { code: 'EGRESS_DENIED', retryable: false }
      const attempt = destination.deliver(forbidden as never, aMessage(), never, surroundings)
      expect(await failureOf(attempt)).toMatchObject(denied)
      expect(await failureOf(destination.probe(forbidden as never, never, surroundings))).toMatchObject(denied)
    })

    it.each([
      ['accepting', undefined],
      ['absent', 'DESTINATION_UNAVAILABLE'],
      ['locked', 'UNAUTHORIZED'],
    ] as const)('a probe of one that is %s answers %s', (mood, code) =>
      at(mood, async (site) => {
        const probe = destination.probe(site.config as never, never, surroundings)
        if (code === undefined) await probe
        else expect(await failureOf(probe)).toMatchObject({ code })
        expect(site.arrived()).toEqual([])
        await site.disconnected()
      }),
    )

    it.each(['accepting', 'rejecting', 'hanging', 'locked', 'absent'] as const)(
      'no secret comes back from one that is %s',
      (mood) =>
        at(mood, async (site) => {
          const outcome = await deliver(site).catch((error: DeliveryError) => ({
            ...error,
            message: error.message,
            cause: null,
          }))
          expect(JSON.stringify(outcome)).not.toContain(SECRET)
        }),
    )
  })
}
