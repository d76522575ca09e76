import pino from 'pino'
import { describe, expect, it, vi } from 'vitest'
import { createDispatcher } from '../../temporal-config/client/dispatcher.ts'
import type { Dispatcher, Runs } from '../../workflows/client.ts'
import { NOT_EXPECTED } from '../support/runs.ts'

const REF = { tenant_id: 'acme', distribution_id: 'dist_1' }
const ABOUT = { data_type: 'report', priority: 'normal' as const }
const UP = { temporal: true, missing_search_attributes: [], worker_polling: true }

function dispatcherOf(runs: Partial<Runs> | undefined, options: { patienceMs?: number; pauseMs?: number } = {}) {
  return createDispatcher({
    runs: () => runs && { ...NOT_EXPECTED, ...runs },
    health: async () => UP,
    logger: pino({ level: 'silent' }),
    patienceMs: 50,
    pauseMs: 200,
    ...options,
  })
}

const started = (dispatcher: Dispatcher) => dispatcher.tell('start', REF, (runs) => runs.start(REF, ABOUT))

describe('the dispatcher', () => {
  it('says that a run was started', async () => {
    const start = vi.fn(async () => {})
    expect(await started(dispatcherOf({ start }))).toBe(true)
    expect(start).toHaveBeenCalledWith(REF, ABOUT)
  })

  it('waits for a call that hangs for a limited time, and lets it finish in the background', async () => {
    let finish = () => {}
    const finished = vi.fn()
    const start = () =>
      new Promise<void>((resolve) => {
        finish = () => {
          finished()
          resolve()
        }
      })
    expect(await started(dispatcherOf({ start }))).toBe(false)
    finish()
    expect(finished).toHaveBeenCalled()
  })

  it('while Temporal is slow, calls are made without waiting, until one succeeds in time', async () => {
    const finishers: (() => void)[] = []
    const start = vi.fn(() => new Promise<void>((resolve) => finishers.push(resolve)))
    const dispatcher = dispatcherOf({ start }, { patienceMs: 300 })
    expect(await started(dispatcher)).toBe(false)
    const soon = new Promise((resolve) => setTimeout(resolve, 100, 'waited'))
    expect(await Promise.race([started(dispatcher), soon])).toBe(false)
    expect(start).toHaveBeenCalledTimes(2)
    for (const finish of finishers) finish()
    await new Promise(setImmediate)
    start.mockImplementation(async () => {})
    expect(await started(dispatcher)).toBe(true)
  })

  it('makes no call for a while after a failure, then tries again', async () => {
    const start = vi.fn(async () => {
      throw new Error('14 UNAVAILABLE')
    })
    const dispatcher = dispatcherOf({ start })
    expect(await started(dispatcher)).toBe(false)
    expect(await started(dispatcher)).toBe(false)
    expect(start).toHaveBeenCalledTimes(1)
    await vi.waitFor(async () => {
      await started(dispatcher)
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
      expect(await started(dispatcher)).toBe(false)
      expect(start).toHaveBeenCalledTimes(times)
    }
  })

  it('defers everything while nothing has answered at the address yet', async () => {
    const dispatcher = dispatcherOf(undefined)
    expect(await started(dispatcher)).toBe(false)
    expect(await dispatcher.ask('probe', REF, (runs) => runs.describe(REF))).toBeNull()
  })

  it('a query that Temporal does not answer in time returns no answer', async () => {
    const dispatcher = dispatcherOf({ describe: () => new Promise(() => {}) })
    expect(await dispatcher.ask('describe', REF, (runs) => runs.describe(REF), 50)).toBeNull()
  })

  it('a query that fails has no answer, and the next query is still sent', async () => {
    const describe = vi.fn(async () => {
      throw new Error('the run failed')
    })
    const dispatcher = dispatcherOf({ describe, start: async () => {} })
    expect(await dispatcher.ask('describe', REF, (runs) => runs.describe(REF))).toBeNull()
    expect(await started(dispatcher)).toBe(true)
  })

  it('a query returns the answer of Temporal', async () => {
    const dispatcher = dispatcherOf({ describe: async () => ({ state: 'running' }) })
    expect(await dispatcher.ask('describe', REF, (runs) => runs.describe(REF))).toEqual({ state: 'running' })
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
