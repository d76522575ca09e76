import {
  ApplicationFailure,
  CancelledFailure,
  defaultFailureConverter,
  defaultPayloadConverter,
} from '@temporalio/common'
import { MockActivityEnvironment } from '@temporalio/testing'
import pino from 'pino'
import { describe, expect, it } from 'vitest'
import { safeFailures } from '../../activities/interceptor.ts'

const lines: string[] = []
const logger = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) })

/** What an activity that throws this lets Temporal see. */
function thrownBy(error: unknown): Promise<unknown> {
  const activity = new MockActivityEnvironment({}, { interceptors: [safeFailures(logger)] })
  return activity
    .run(() => Promise.reject(error))
    .then(
      () => undefined,
      (thrown: unknown) => thrown,
    )
}

describe('the border to the history', () => {
  it('lets nothing of a driver’s error through but a reference to the log', async () => {
    const cause = new Error('password authentication failed: hunter2')
    const thrown = await thrownBy(new Error('connect postgres://app:hunter2@db', { cause }))
    const failure = JSON.stringify(defaultFailureConverter.errorToFailure(thrown, defaultPayloadConverter))
    expect(failure).not.toContain('hunter2')
    expect(failure).not.toMatch(/\.ts:\d+/)
    const reference = /reference ([0-9a-f-]{36})/.exec(failure)?.[1]
    expect(lines.some((line) => reference !== undefined && line.includes(reference))).toBe(true)
    expect(thrown).toMatchObject({ type: 'UNEXPECTED', nonRetryable: false })
  })

  it('keeps our own failures, without their stack', async () => {
    const thrown = await thrownBy(ApplicationFailure.nonRetryable('the destination answered 404', 'REJECTED'))
    expect(thrown).toMatchObject({ message: 'the destination answered 404', type: 'REJECTED', nonRetryable: true })
    expect(JSON.stringify(defaultFailureConverter.errorToFailure(thrown, defaultPayloadConverter))).not.toMatch(
      /\.ts:\d+/,
    )
  })

  it('lets a cancellation through', async () => {
    expect(await thrownBy(new CancelledFailure('cancelled'))).toBeInstanceOf(CancelledFailure)
  })
})
