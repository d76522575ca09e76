// The one mechanism of fair shares: what is held, who waits, and who is next.
import { describe, expect, it } from 'vitest'
import { createRoundRobin, createSlots } from '../../db/slots.ts'

/** At most `most` slots in all, and one for each tenant. */
function oneEach(most: number) {
  const slots = createSlots((_, { tenant, all }) => tenant.claims.size > 0 || all.claims.size >= most || undefined)
  const got: string[] = []
  const wait = async (name: string, signal?: AbortSignal) => {
    const claim = { tenant: name[0]! }
    await slots.wait(claim, signal)
    got.push(name)
    return claim
  }
  return { slots, got, wait }
}

const settled = () => new Promise((resolve) => setImmediate(resolve))

describe('slots', () => {
  it('are counted by key, by tenant and in all, and forgotten when released', () => {
    const slots = createSlots(() => undefined)
    const [first, second] = [
      { tenant: 'a', key: 'k', amount: 3 },
      { tenant: 'a', amount: 4 },
    ]
    slots.hold(first)
    slots.hold(second)
    slots.grow(first, 10)
    const { key, tenant, all } = slots.held({ tenant: 'a', key: 'k' })
    expect([key.amount, tenant.amount, all.amount, tenant.claims.size]).toEqual([13, 17, 17, 2])
    for (const claim of [first, first, second]) slots.release(claim)
    expect(slots.grow(first, 10)).toBeUndefined()
    const after = slots.held({ tenant: 'a', key: 'k' })
    expect([after.key.claims.size, after.tenant.claims.size, after.all.claims.size, after.all.amount]).toEqual([
      0, 0, 0, 0,
    ])
  })

  it('are refused with the reason of the limit', () => {
    const slots = createSlots(({ amount = 0 }, { all }) => (all.amount + amount > 5 ? 'full' : undefined))
    const claim = { tenant: 'a', amount: 3 }
    expect([slots.take(claim), slots.take({ tenant: 'b', amount: 3 }), slots.grow(claim, 3)]).toEqual([
      undefined,
      'full',
      'full',
    ])
    expect(slots.held({}).all.amount).toBe(3)
  })

  it('go to the tenants in turn, and a tenant that had one last comes after those that wait for their first', async () => {
    const { slots, got, wait } = oneEach(1)
    const claims = ['a1', 'a2', 'a3'].map((name) => wait(name))
    const other = wait('b1')
    await settled()
    expect(got).toEqual(['a1'])
    slots.release(await claims[0]!)
    await settled()
    expect(got).toEqual(['a1', 'b1'])
    slots.release(await other)
    slots.release(await claims[1]!)
    await claims[2]
    expect(got).toEqual(['a1', 'b1', 'a2', 'a3'])
  })

  it('are not given to a tenant that no longer waits', async () => {
    const { slots, got, wait } = oneEach(1)
    const first = await wait('a1')
    const controller = new AbortController()
    const gone = wait('b1', controller.signal)
    const next = wait('c1')
    controller.abort(new Error('too late'))
    await expect(gone).rejects.toThrow('too late')
    await expect(wait('d1', controller.signal)).rejects.toThrow('too late')
    slots.release(first)
    await next
    expect(got).toEqual(['a1', 'c1'])
  })
})

describe('a line of tenants', () => {
  it('skips a tenant that cannot be served, and puts an item back at the front', () => {
    const line = createRoundRobin<string>()
    for (const item of ['a1', 'a2', 'b1']) line.add(item[0]!, item)
    expect(line.next((tenant) => tenant !== 'a')).toBe('b1')
    expect(line.nextOf('a')).toBe('a1')
    line.putBack('a', 'a1')
    expect([line.size(), [...line.tenants()], line.clear(), line.size()]).toEqual([2, ['a'], ['a1', 'a2'], 0])
  })
})
