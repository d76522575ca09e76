import { describe, expect, it } from 'vitest'
import { circuitDelay } from '../../activities/delivery/circuit.ts'
import { BACKGROUND, createWorkerSlots, type WorkerSlot } from '../../activities/delivery/worker-slots.ts'
import { slotRetryDelay } from '../../activities/webhooks/send.ts'

function slots() {
  const clock = { now: 1_000_000 }
  const made = createWorkerSlots(
    () => clock.now,
    () => 0,
  )
  /** So many that want a slot at once; those that got one. */
  const take = (count: number, tenant = 'acme', key = `${tenant}/a`): WorkerSlot[] =>
    Array.from({ length: count }, () => made.slot()).filter((slot) => slot.take(tenant, key).taken)
  return { clock, made, take }
}

describe('the share of a destination', () => {
  it('is limited to some of the slots until it is known to be fast', () => {
    const { take } = slots()
    expect(take(100)).toHaveLength(20)
    expect(take(10)).toHaveLength(0)
    expect(take(10, 'acme', 'acme/b')).toHaveLength(10)
  })

  it('grows with fast sends, and never to all of the slots', () => {
    const { clock, take } = slots()
    for (let round = 0; round < 10; round++) {
      const slots = take(100)
      clock.now += 50
      for (const slot of slots) slot.end()
    }
    expect(take(200)).toHaveLength(80)
  })

  it('is small again once its sends are slow, and gets no slot while twenty sends hang', () => {
    const { clock, take } = slots()
    for (let i = 0; i < 60; i++) for (const slot of take(1)) slot.end()
    const quick = take(100)
    expect(quick.length).toBe(80)
    clock.now += 5000
    for (const slot of quick.slice(0, 61)) slot.leave()
    expect(take(5)).toHaveLength(5)
    quick[70]!.end()
    expect(take(5)).toHaveLength(0)
  })

  it('leaves slots to other tenants, however many destinations of one hang', () => {
    const { clock, take } = slots()
    for (const name of ['a', 'b', 'c']) expect(take(30, 'acme', `acme/${name}`)).toHaveLength(20)
    clock.now += 2000
    expect(take(30, 'acme', 'acme/d')).toHaveLength(0)
    expect(take(30, 'globex', 'globex/a')).toHaveLength(20)
  })

  it('leaves slots to other tenants, even before any send can be slow', () => {
    const { clock, take } = slots()
    const names = ['a', 'b', 'c', 'd', 'e']
    const taken = names.flatMap((name) => take(30, 'acme', `acme/${name}`))
    expect(taken).toHaveLength(60)
    expect(take(30, 'globex', 'globex/a')).toHaveLength(20)
    for (const slot of taken) slot.end()
    clock.now += 10
    // Known to be fast, all of them, and yet not all slots.
    expect(names.flatMap((name) => take(30, 'acme', `acme/${name}`))).toHaveLength(80)
  })

  it('leaves slots to other tenants, however many tenants have destinations that hang', () => {
    const { clock, take } = slots()
    const hostile = ['a', 'b', 'c'].map((tenant) =>
      ['1', '2', '3'].flatMap((name) => take(20, tenant, `${tenant}/${name}`)),
    )
    expect(hostile.map((slots) => slots.length)).toEqual([60, 20, 1])
    clock.now += 60_000
    // A new tenant gets a slot, and once it is known to be fast it is not held up at all.
    const [first] = take(5, 'quick', 'quick/a')
    clock.now += 20
    first!.end()
    expect(take(10, 'quick', 'quick/a')).toHaveLength(10)
    // Of those that hang, who has most gets none before the others have as many.
    for (const slot of hostile[0]!.splice(0, 15)) slot.leave()
    expect(take(30, 'a', 'a/4')).toHaveLength(0)
    expect(take(30, 'b', 'b/4')).toHaveLength(14)
  })

  it('of the same destination name in two tenants has two shares', () => {
    const { take } = slots()
    expect(take(30, 'acme', 'acme/same')).toHaveLength(20)
    expect(take(30, 'globex', 'globex/same')).toHaveLength(20)
  })

  it('is free again when nothing was sent, once', () => {
    const { take } = slots()
    const [first] = take(20)
    first!.leave()
    first!.leave()
    first!.end()
    expect(take(5)).toHaveLength(1)
  })

  it('spreads the retries of refused sends over time, with longer delays when sends take longer', () => {
    const { clock, made, take } = slots()
    take(20)
    const delays = () =>
      Array.from({ length: 100 }, () => {
        const taken = made.slot().take('acme', 'acme/a')
        return taken.taken ? 0 : taken.delay_ms
      })
    expect(Math.max(...delays())).toBeCloseTo(100 * 10, -2)
    clock.now += 20_000
    // They hang for 20 s: a slot becomes free each second at best.
    expect(Math.max(...delays())).toBeGreaterThan(90_000)
    for (let i = 0; i < 10; i++) expect(Math.max(...delays())).toBeLessThanOrEqual(120_000)
  })

  it('gives thousands of deliveries that wait for an open circuit different delays', () => {
    const { made } = slots()
    const delays = Array.from({ length: 2000 }, () => made.slot().apart('acme/a', 60_000))
    expect(Math.min(...delays)).toBe(60_000)
    expect(new Set(delays).size).toBe(2000)
    expect(Math.max(...delays)).toBeCloseTo(60_000 + 2000 * 100, -3)
  })
})

describe('webhooks that wait for a receiver that hangs', () => {
  it('are tried some ten times a second, however many they are, and sooner if there are few', () => {
    const clock = { now: 1_000_000 }
    const made = createWorkerSlots(
      () => clock.now,
      () => 0.5,
      BACKGROUND,
    )
    const key = 'acme receiver.example'
    const held = Array.from({ length: 5 }, () => made.slot())
    for (const slot of held) expect(slot.take('acme', key).taken).toBe(true)
    const ask = () => {
      const slot = made.slot()
      const taken = slot.take('acme', key)
      return taken.taken ? 0 : slotRetryDelay(slot, key, taken.delay_ms)
    }
    expect(ask()).toBeLessThan(1000)
    clock.now += 15_000
    const delays = Array.from({ length: 8000 }, ask).sort((a, b) => a - b)
    expect(delays[0]).toBeLessThan(10_000)
    // The busiest ten seconds.
    const asked = delays.map((from, i) => delays.findIndex((later, j) => j > i && later >= from + 10_000) - i)
    expect(Math.max(...asked)).toBeLessThan(130)
  })
})

describe('the delay before an open circuit', () => {
  const closed = { probe_wait_ms: 0, own: false }
  it('lasts at least until a probe is allowed, and grows to a quarter of an hour while the circuit stays open', () => {
    const settings = { failures: 5, open_seconds: 60 }
    const first = { ...closed, wait_ms: 60_000, openings: 1 }
    expect(circuitDelay(first, settings, () => 0)).toBe(60_000)
    expect(circuitDelay(first, settings, () => 1)).toBe(72_000)
    const latest = [2, 3, 4, 5, 30].map((openings) => circuitDelay({ ...first, openings }, settings, () => 1))
    expect(latest).toEqual([120_000, 240_000, 480_000, 900_000, 900_000])
    expect(circuitDelay({ ...first, openings: 30 }, settings, () => 0)).toBe(60_000)
  })

  it('is short while another delivery is the probe', () => {
    const trying = { ...closed, wait_ms: 0, probe_wait_ms: 40_000, openings: 1 }
    expect(circuitDelay(trying, null, () => 0)).toBe(15_000)
    expect(circuitDelay({ ...trying, probe_wait_ms: 3000 }, null, () => 0)).toBe(3000)
  })
})
