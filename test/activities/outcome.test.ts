import { describe, expect, it } from 'vitest'
import { BACKOFF } from '../../activities/delivery/backoff.ts'
import { Aborted, logLevelOf, outcomeOf } from '../../activities/delivery/outcome.ts'
import { DeliveryError } from '../../activities/destinations/errors.ts'

const opened = { attempt: { id: 'a', attempt_number: 1 }, retriesLeft: true, failures: 1 }
const UNFIT = 'a\u0000b\ud800c'
const FIT = 'a\ufffdb\ufffdc'

it('a lost attempt is never the last one', () => {
  const last = { ...opened, retriesLeft: false }
  expect(outcomeOf(last, new DeliveryError('WORKER_LOST', 'x'), BACKOFF)).toMatchObject({ status: 'retry' })
  expect(outcomeOf(last, new DeliveryError('TIMEOUT', 'x'), BACKOFF)).toMatchObject({ status: 'failed' })
})

it.each([
  ['a success', { status: 200, body: '' }, 'info'],
  ['a refusal by the receiver', new DeliveryError('REJECTED', 'x'), 'info'],
  ['a destination that cannot be reached', new DeliveryError('DESTINATION_UNAVAILABLE', 'x'), 'info'],
  ['a configuration that does not work', new DeliveryError('MISCONFIGURED', 'x'), 'info'],
  ['an answer that no destination should give', new DeliveryError('UNEXPECTED', 'x'), 'warn'],
  ['a worker that stops', new Aborted('x'), 'warn'],
  ['an error of our own', new TypeError('x'), 'error'],
])('the level of the log line of an attempt: %s', (_what, sent, level) => {
  expect(logLevelOf(sent)).toBe(level)
})

describe('the answer of a destination that is stored with an attempt', () => {
  it('can be stored: NUL and lone surrogates become the replacement character', () => {
    const metadata = { [UNFIT]: [{ text: UNFIT, number: 1.5, none: null, flag: true }] }
    const expected = { [FIT]: [{ text: FIT, number: 1.5, none: null, flag: true }] }
    expect(outcomeOf(opened, { status: 200, body: UNFIT, metadata }, BACKOFF)).toMatchObject({
      status: 'success',
      response_body: FIT,
      metadata: expected,
    })
    const response = { status: 451, body: UNFIT }
    const failure = new DeliveryError('DESTINATION_UNAVAILABLE', UNFIT, { response, metadata, progress: metadata })
    expect(outcomeOf(opened, failure, BACKOFF)).toMatchObject({
      status: 'retry',
      message: FIT,
      response_body: FIT,
      metadata: expected,
      progress: expected,
    })
  })

  it('is not changed otherwise, not even surrogate pairs and written escapes', () => {
    const metadata = { text: 'ü😀 \\u0000', list: [1, 'x'] }
    expect(outcomeOf(opened, { status: null, body: null, metadata }, BACKOFF)).toMatchObject({
      response_body: null,
      metadata,
    })
  })
})
