// Whose turn it is at the shaping processes.
import { describe, expect, it } from 'vitest'
import { createQueue } from '../../../activities/shaping/fair-queue.ts'

function aQueue(slots: number) {
  const clock = { now: 0 }
  const queue = createQueue<string>(slots, () => clock.now)
  const add = (...jobs: string[]) => {
    for (const job of jobs) queue.add(job[0]!, job)
  }
  return { clock, queue, add }
}

describe('tenants that share a few slots', () => {
  it('take turns, in the order in which they came', () => {
    const { queue, add } = aQueue(4)
    add('a1', 'a2', 'b1', 'c1')
    expect([queue.next(), queue.next(), queue.next(), queue.next(), queue.next()]).toEqual([
      'a1',
      'b1',
      'c1',
      'a2',
      undefined,
    ])
  })

  it('a single tenant never has all slots', () => {
    const { queue, add } = aQueue(2)
    add('a1', 'a2')
    expect([queue.next(), queue.next(), queue.hasNext(), queue.size()]).toEqual(['a1', undefined, false, 1])
    add('b1')
    expect(queue.next()).toBe('b1')
    queue.done('a', 1)
    expect(queue.next()).toBe('a2')
  })

  it('slow tenants together never have all slots, however many they are', () => {
    const { clock, queue, add } = aQueue(2)
    add('a1', 'b1')
    expect([queue.next(), queue.next()]).toEqual(['a1', 'b1'])
    queue.done('a', 20_000)
    queue.done('b', 20_000)
    add('a2', 'b2')
    expect([queue.next(), queue.next()]).toEqual(['a2', undefined])
    add('c1')
    expect(queue.next()).toBe('c1')
    queue.done('c', 5)
    expect(queue.hasNext()).toBe(false)
    queue.done('a', 5)
    expect(queue.next()).toBe('b2')
    // What was slow is forgotten in time.
    clock.now = 300_000
    add('a3')
    expect(queue.next()).toBe('a3')
  })

  it('are removed when they no longer wait', () => {
    const { queue, add } = aQueue(1)
    add('a1', 'a2', 'b1')
    queue.drop('a', 'a1')
    queue.drop('b', 'b1')
    queue.drop('b', 'unknown')
    expect([queue.next(), queue.size()]).toEqual(['a2', 0])
  })

  it('a tenant gets the slot if there is only one', () => {
    const { queue, add } = aQueue(1)
    add('a1', 'b1')
    expect(queue.next()).toBe('a1')
    queue.done('a', 5000)
    expect(queue.next()).toBe('b1')
    queue.done('b', 1)
    add('a2')
    expect(queue.next()).toBe('a2')
  })

  it('are slow as soon as their work takes long; then one of them gives way to a tenant without running work', () => {
    const { queue, add } = aQueue(2)
    add('a1', 'b1')
    expect([queue.next(), queue.next()]).toEqual(['a1', 'b1'])
    add('c1')
    queue.takes('a', 1500)
    expect(queue.isCrowded()).toBe(false)
    queue.takes('b', 1200)
    expect(queue.isCrowded()).toBe(true)
    // The one that gave way waits among the slow ones, at the front of its own line.
    queue.done('b', 1200)
    add('b2')
    queue.putBack('b', 'b1')
    expect([queue.next(), queue.isCrowded(), queue.next()]).toEqual(['c1', false, undefined])
    queue.done('a', 20_000)
    expect(queue.next()).toBe('b1')
  })

  it('may run long work until a tenant without running work waits', () => {
    const { queue, add } = aQueue(2)
    add('a1', 'b1')
    expect([queue.next(), queue.next()]).toEqual(['a1', 'b1'])
    queue.takes('a', 300)
    queue.takes('b', 200)
    add('c1')
    expect(queue.isCrowded()).toBe(false)
    queue.takes('b', 300)
    expect(queue.isCrowded()).toBe(true)
    queue.done('b', 300)
    queue.preempted('b')
    queue.putBack('b', 'b1')
    // Long work that came to its end makes nobody slow.
    queue.done('a', 900)
    add('a2')
    expect([queue.next(), queue.next()]).toEqual(['c1', 'b1'])
    queue.done('c', 5)
    expect(queue.next()).toBe('a2')
  })

  it('that are slow run in the order of the time that they have used, not of their arrival', () => {
    const { queue, add } = aQueue(2)
    add('a1', 'b1', 'c1')
    for (const [tenant, took] of [
      ['a', 20_000],
      ['b', 1500],
      ['c', 5],
    ] as const) {
      queue.next()
      queue.done(tenant, took)
    }
    add('a2', 'b2')
    expect(queue.next()).toBe('b2')
  })

  it('keep their position while no process is free, and can be served out of order', () => {
    const { queue, add } = aQueue(3)
    add('a1', 'b1', 'c1', 'c2')
    expect(queue.next((tenant) => tenant !== 'a')).toBe('b1')
    expect(queue.nextOf('c')).toBe('c1')
    expect(queue.nextOf('unknown')).toBeUndefined()
    expect(queue.next()).toBe('a1')
    // A tenant never has all slots, out of turn neither.
    add('c3')
    expect([queue.nextOf('c'), queue.nextOf('c')]).toEqual(['c2', undefined])
  })
})
