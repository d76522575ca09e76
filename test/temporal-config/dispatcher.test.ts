import pino from 'pino'
import { describe, expect, it, vi } from 'vitest'
import { createDispatcher } from '../../temporal-config/client/dispatcher.ts'
import type { Runs } from '../../workflows/client.ts'
import { DispatcherUnavailable } from '../../workflows/client.ts'

const REF = { tenant_id: 'acme', distribution_id: 'dist_1' }
const ABOUT = { data_type: 'report', priority: 'normal' as const }
const UP = { temporal: true, missing_search_attributes: [], worker_polling: true }

function runsThat(given: Partial<Runs>): Runs {
  const unexpected = async () => {
    throw new Error('not expected')
  }
  return {
    start: unexpected,
    startAgain: unexpected,
    signalCancel: unexpected,
    signalLook: unexpected,
    signalRetry: unexpected,
    signalTurn: unexpected,
    wake: unexpected,
    describe: unexpected,
    notify: unexpected,
    startBatch: unexpected,
    setRecurring: unexpected,
    describeRecurring: unexpected,
    announce: unexpected,
    healthCheck: unexpected,
    probe: unexpected,
    ...given,
  }
}

function dispatcherOf(runs: Partial<Runs> | undefined, options: { patienceMs?: number; pauseMs?: number } = {}) {
  return createDispatcher({
    runs: () => runs && runsThat(runs),
    health: async () => UP,
    logger: pino({ level: 'silent' }),
    patienceMs: 50,
    pauseMs: 200,
    ...options,
  })
}

describe('the dispatcher', () => {
  it('says that a run was started', async () => {
    const start = vi.fn(async () => {})
    expect(await dispatcherOf({ start }).start(REF, ABOUT)).toBe('started')
    expect(start).toHaveBeenCalledWith(REF, ABOUT)
  })

  it('waits for a call that hangs only as long as its patience, and lets it finish behind', async () => {
    let finish = () => {}
    const finished = vi.fn()
    const start = () =>
      new Promise<void>((resolve) => {
        finish = () => {
          finished()
          resolve()
        }
      })
    expect(await dispatcherOf({ start }).start(REF, ABOUT)).toBe('deferred')
    finish()
    expect(finished).toHaveBeenCalled()
  })

  it('while Temporal is slow, calls go on but nobody waits, until one comes through', async () => {
    const finishers: (() => void)[] = []
    const start = vi.fn(() => new Promise<void>((resolve) => finishers.push(resolve)))
    const dispatcher = dispatcherOf({ start }, { patienceMs: 300 })
    expect(await dispatcher.start(REF, ABOUT)).toBe('deferred')
    const soon = new Promise((resolve) => setTimeout(resolve, 100, 'waited'))
    expect(await Promise.race([dispatcher.start(REF, ABOUT), soon])).toBe('deferred')
    expect(start).toHaveBeenCalledTimes(2)
    for (const finish of finishers) finish()
    await new Promise(setImmediate)
    start.mockImplementation(async () => {})
    expect(await dispatcher.start(REF, ABOUT)).toBe('started')
  })

  it('leaves Temporal alone for a while after a failure, then tries again', async () => {
    const start = vi.fn(async () => {
      throw new Error('14 UNAVAILABLE')
    })
    const dispatcher = dispatcherOf({ start })
    expect(await dispatcher.start(REF, ABOUT)).toBe('deferred')
    expect(await dispatcher.start(REF, ABOUT)).toBe('deferred')
    expect(start).toHaveBeenCalledTimes(1)
    await vi.waitFor(async () => {
      await dispatcher.start(REF, ABOUT)
      expect(start).toHaveBeenCalledTimes(2)
    })
  })

  it('goes on after a call that Temporal itself has refused: the next one is another tenant’s', async () => {
    // As the SDK knows them.
    const refused = Object.assign(new Error('3 INVALID_ARGUMENT: too long'), { code: 3, details: '', metadata: {} })
    const start = vi.fn(async () => {
      throw new Error('failed to start', { cause: refused })
    })
    const dispatcher = dispatcherOf({ start })
    for (const times of [1, 2]) {
      expect(await dispatcher.start(REF, ABOUT)).toBe('deferred')
      expect(start).toHaveBeenCalledTimes(times)
    }
  })

  it('defers everything while nothing has answered at the address yet', async () => {
    const dispatcher = dispatcherOf(undefined)
    expect(await dispatcher.start(REF, ABOUT)).toBe('deferred')
    expect(await dispatcher.cancel(REF, ABOUT)).toBe('deferred')
    expect(await dispatcher.retry(REF, ABOUT)).toBe('deferred')
    await expect(dispatcher.probe({ tenant_id: 'acme', destination_id: 'd' }, 50)).rejects.toBeInstanceOf(
      DispatcherUnavailable,
    )
  })

  it('a probe that no worker answers is unavailable, in time', async () => {
    const dispatcher = dispatcherOf({ probe: () => new Promise(() => {}) })
    await expect(dispatcher.probe({ tenant_id: 'acme', destination_id: 'd' }, 50)).rejects.toBeInstanceOf(
      DispatcherUnavailable,
    )
  })

  it('a health check that fails counts as not healthy', async () => {
    const dispatcher = createDispatcher({
      runs: () => undefined,
      health: async () => {
        throw new Error('away')
      },
      logger: pino({ level: 'silent' }),
    })
    expect(await dispatcher.health()).toMatchObject({ temporal: false, worker_polling: false })
  })
})
