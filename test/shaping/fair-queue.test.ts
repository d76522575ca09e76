// Whose turn it is at the shaping processes.
import { describe, expect, it } from 'vitest'
import { createQueue } from '../../activities/shaping/fair-queue.ts'

function aQueue(seats: number) {
  const clock = { now: 0 }
  const queue = createQueue<string>(seats, () => clock.now)
  const add = (...jobs: string[]) => {
    for (const job of jobs) queue.add(job[0]!, job)
  }
  return { clock, queue, add }
}

describe('tenants at a few seats', () => {
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

  it('never have all seats alone', () => {
    const { queue, add } = aQueue(2)
    add('a1', 'a2')
    expect([queue.next(), queue.next(), queue.hasTurn(), queue.size()]).toEqual(['a1', undefined, false, 1])
    add('b1')
    expect(queue.next()).toBe('b1')
    queue.done('a', 1)
    expect(queue.next()).toBe('a2')
  })

  it('that have been slow never have all seats together, however many they are', () => {
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
    expect(queue.hasTurn()).toBe(false)
    queue.done('a', 5)
    expect(queue.next()).toBe('b2')
    // What was slow is forgotten in time.
    clock.now = 300_000
    add('a3')
    expect(queue.next()).toBe('a3')
  })

  it('leave when they wait no longer', () => {
    const { queue, add } = aQueue(1)
    add('a1', 'a2', 'b1')
    queue.drop('a', 'a1')
    queue.drop('b', 'b1')
    queue.drop('b', 'unknown')
    expect([queue.next(), queue.size()]).toEqual(['a2', 0])
  })

  it('with one seat alone have that one', () => {
    const { queue, add } = aQueue(1)
    add('a1', 'b1')
    expect(queue.next()).toBe('a1')
    queue.done('a', 5000)
    expect(queue.next()).toBe('b1')
    queue.done('b', 1)
    add('a2')
    expect(queue.next()).toBe('a2')
  })
})
