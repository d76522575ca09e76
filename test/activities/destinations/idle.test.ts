import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { keepConnections } from '../../../activities/destinations/network/connections.ts'
import { withinDeadline } from '../../../activities/destinations/network/deadline.ts'
import { createEgress } from '../../../activities/destinations/network/egress.ts'
import { createIdle } from '../../../activities/destinations/network/idle.ts'
import { failureOf, never } from './contract.ts'

const egress = createEgress({ allow: [] })
const other = createEgress({ allow: [] })

describe('idle connections', () => {
  function kept(options: { idleMs?: number; max?: number } = {}) {
    const closed: string[] = []
    const idle = createIdle<string>({ idleMs: 60_000, max: 2, ...options, close: (each) => closed.push(each) })
    return { idle, closed }
  }

  it('are reused only for the same tenant, configuration and egress guard', () => {
    const { idle } = kept()
    idle.give(egress, ['acme', { host: 'a' }], 'one')
    expect(idle.take(egress, ['other', { host: 'a' }])).toBeUndefined()
    expect(idle.take(egress, ['acme', { host: 'b' }])).toBeUndefined()
    expect(idle.take(other, ['acme', { host: 'a' }])).toBeUndefined()
    expect(idle.take(egress, ['acme', { host: 'a' }])).toBe('one')
    expect(idle.take(egress, ['acme', { host: 'a' }])).toBeUndefined()
  })

  it('are limited in number: the least recently used one is closed', () => {
    const { idle, closed } = kept()
    for (const name of ['one', 'two', 'three']) idle.give(egress, name, name)
    expect(closed).toEqual(['one'])
    expect(idle.take(egress, 'one')).toBeUndefined()
    expect(idle.take(egress, 'two')).toBe('two')
  })

  it('are closed after they were unused for idleMs', async () => {
    const { idle, closed } = kept({ idleMs: 20 })
    idle.give(egress, 'key', 'one')
    await expect.poll(() => closed).toEqual(['one'])
    expect(idle.take(egress, 'key')).toBeUndefined()
  })
})

describe('a reused connection', () => {
  interface Fake {
    name: string
    alive: boolean | 'silent'
    destroyed: number
  }

  function source() {
    const made: Fake[] = []
    const connections = keepConnections<Fake>({
      idleMs: 60_000,
      check: ({ alive }) =>
        alive === 'silent' ? new Promise(() => {}) : alive ? Promise.resolve() : Promise.reject(new Error('dead')),
      destroy(connection) {
        connection.destroyed += 1
      },
    })
    const open = async () => {
      const connection: Fake = { name: `c${made.length + 1}`, alive: true, destroyed: 0 }
      made.push(connection)
      return connection
    }
    const use = <T>(work: (connection: Fake, reused: boolean) => Promise<T>, signal = never, timeoutMs = 10_000) =>
      withinDeadline({ timeoutMs, signal }, (attempt) =>
        connections.use({ egress, tenant_id: 'acme', config: {} }, attempt, open, work),
      )
    return { made, use }
  }

  it('is the same one after a success, and a new one after a failure', async () => {
    const { made, use } = source()
    expect(await use(async ({ name }, reused) => [name, reused])).toEqual(['c1', false])
    expect(await use(async ({ name }, reused) => [name, reused])).toEqual(['c1', true])
    await expect(use(() => Promise.reject(new Error('refused')))).rejects.toThrow('refused')
    expect(made[0]!.destroyed).toBeGreaterThan(0)
    expect(await use(async ({ name }, reused) => [name, reused])).toEqual(['c2', false])
  })

  it.each([false, 'silent'] as const)('is never one that is dead (answers: %s)', async (alive) => {
    const { made, use } = source()
    await use(async () => {})
    made[0]!.alive = alive
    expect(await use(async ({ name }) => name)).toBe('c2')
    expect(made[0]!.destroyed).toBeGreaterThan(0)
  })

  it('is a new one when one is silent, for all of them may be, and time is short', async () => {
    const { made, use } = source()
    await Promise.all([1, 2, 3].map(() => use(() => sleep(10))))
    for (const connection of made) connection.alive = 'silent'
    expect(await use(async ({ name }) => name, never, 5_000)).toBe('c4')
    expect(made.filter(({ destroyed }) => destroyed > 0)).toHaveLength(1)
  })

  it('is found among those that have said that they are dead', async () => {
    const { made, use } = source()
    await Promise.all([1, 2, 3].map(() => use(() => sleep(10))))
    for (const connection of made.slice(1)) connection.alive = false
    expect(await use(async ({ name }) => name)).toBe('c1')
  })

  it('is destroyed the moment that time is up, or the caller gives up, however long the work goes on', async () => {
    const { made, use } = source()
    const error = await failureOf(use(() => new Promise(() => {}), never, 20))
    expect(error).toMatchObject({ code: 'TIMEOUT', retryable: true })
    expect(made[0]!.destroyed).toBe(1)
    const controller = new AbortController()
    const reason = new Error('cancelled')
    const attempt = use(() => new Promise(() => {}), controller.signal)
    await expect.poll(() => made.length).toBe(2)
    controller.abort(reason)
    await expect(attempt).rejects.toBe(reason)
    expect(made[1]!.destroyed).toBe(1)
  })

  it('is not given to two attempts at once', async () => {
    const { use } = source()
    await use(async () => {})
    const names = await Promise.all([1, 2].map(() => use(async ({ name }) => sleep(10).then(() => name))))
    expect(new Set(names).size).toBe(2)
  })
})

describe('a deadline', () => {
  it('says what the destination was expected to do', async () => {
    const attempt = withinDeadline({ timeoutMs: 20, signal: never }, ({ expect: expects }) => {
      expects('greet')
      return new Promise(() => {})
    })
    expect((await failureOf(attempt)).message).toBe('the destination did not greet within 1 s')
  })

  it('closes what is registered only after it has passed', async () => {
    const closed: string[] = []
    let late: () => void = () => {}
    const attempt = withinDeadline({ timeoutMs: 20, signal: never }, ({ onStop }) => {
      onStop(() => closed.push('early'))
      onStop(() => closed.push('taken back'))()
      late = () => onStop(() => closed.push('late'))
      return new Promise(() => {})
    })
    await failureOf(attempt)
    late()
    expect(closed).toEqual(['early', 'late'])
  })
})
