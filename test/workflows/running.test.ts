import { describe, expect, it, vi } from 'vitest'
import { RunningDeliveries } from '../../workflows/running.ts'

function aDelivery() {
  let end = () => {}
  let fail = (_error: unknown) => {}
  const done = new Promise<void>((resolve, reject) => {
    end = resolve
    fail = reject
  })
  const delivery = { done, stop: vi.fn(), protocol: 'REST', isHeld: () => false, round: 1 }
  return { delivery, end: () => end(), fail: (error: unknown) => fail(error) }
}

describe('RunningDeliveries', () => {
  it('holds a delivery until it has ended', async () => {
    const running = new RunningDeliveries()
    const one = aDelivery()
    running.add('a', one.delivery, () => {})
    expect(running.has('a')).toBe(true)
    expect(running.empty).toBe(false)
    one.end()
    await vi.waitFor(() => expect(running.empty).toBe(true))
  })

  it('hands an error on and lets the delivery go', async () => {
    const running = new RunningDeliveries()
    const one = aDelivery()
    const onError = vi.fn()
    running.add('a', one.delivery, onError)
    one.fail(new Error('a bug'))
    await vi.waitFor(() => expect(running.empty).toBe(true))
    expect(onError).toHaveBeenCalledWith(new Error('a bug'))
  })

  it('reports the end of a delivery whose row was opened again in a later round', async () => {
    const running = new RunningDeliveries()
    const [one, two] = [aDelivery(), aDelivery()]
    const [onOne, onTwo] = [vi.fn(), vi.fn()]
    running.add('a', one.delivery, () => {}, onOne)
    running.add('b', two.delivery, () => {}, onTwo)
    running.note('a', 2)
    running.note('b', 1)
    running.note('c', 2)
    expect(onOne).not.toHaveBeenCalled()
    one.end()
    two.end()
    await vi.waitFor(() => expect(running.empty).toBe(true))
    expect(onOne).toHaveBeenCalledOnce()
    expect(onTwo).not.toHaveBeenCalled()
  })

  it('stops one by its name, and knows when there is none', async () => {
    const running = new RunningDeliveries()
    const [one, two] = [aDelivery(), aDelivery()]
    running.add('a', one.delivery, () => {})
    running.add('b', two.delivery, () => {})
    running.stop('b')
    running.stop('c')
    expect(one.delivery.stop).not.toHaveBeenCalled()
    expect(two.delivery.stop).toHaveBeenCalledOnce()
  })

  it('stops all that is running and nothing that has ended', async () => {
    const running = new RunningDeliveries()
    const [one, two] = [aDelivery(), aDelivery()]
    running.add('a', one.delivery, () => {})
    running.add('b', two.delivery, () => {})
    one.end()
    await vi.waitFor(() => expect(running.has('a')).toBe(false))
    running.stopAll()
    expect(one.delivery.stop).not.toHaveBeenCalled()
    expect(two.delivery.stop).toHaveBeenCalledOnce()
  })
})
