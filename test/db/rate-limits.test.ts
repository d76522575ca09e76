// The statement behind every rate limit of deliveries: asked by many at once, it never lets more through than it says.
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type AskedLimit, distanceMs, type RateLimit, takeReservation } from '../../db/destinations/rate-limits.ts'
import { giveBackSlot, takeSlot } from '../../db/destinations/slots.ts'
import { createPool, type Pool, withTenant } from '../../db/pool.ts'
import type { TestDatabase } from '../support/postgres.ts'
import { onEachPostgres } from '../support/postgres-versions.ts'

onEachPostgres((database: () => TestDatabase) => {
  let pool: Pool
  beforeAll(() => {
    pool = createPool({ connectionString: database().url, max: 12, application_name: 'test' })
  })
  afterAll(() => pool.end())

  const take = (tenant: string, asked: AskedLimit[], askedBefore = false) =>
    withTenant(pool, tenant, (db) => takeReservation(db, tenant, asked, askedBefore))
  const one = (scope: string, limit: RateLimit): AskedLimit[] => [{ scope, limit }]

  it('allows a burst at once, and then returns how long to wait', async () => {
    const limit = { requests: 1, per_seconds: 60, burst: 2 }
    const reservations = []
    for (let i = 0; i < 5; i++) reservations.push(await take('acme', one('burst', limit)))
    expect(reservations.map(({ go }) => go)).toEqual([true, true, true, false, false])
    const distance = distanceMs(limit)
    expect(reservations[3]!.wait_ms).toBeGreaterThan(distance - 5000)
    expect(reservations[3]!.wait_ms).toBeLessThanOrEqual(distance)
    // Later than the reservation that was denied before, so that the two do not retry at the same time.
    expect(reservations[4]!.wait_ms).toBeGreaterThan(reservations[3]!.wait_ms + distance - 5000)
  })

  it('takes nothing of those that it denies', async () => {
    const limit = { requests: 1, per_seconds: 1 }
    expect((await take('acme', one('denied', limit))).go).toBe(true)
    const waits: number[] = []
    for (let i = 0; i < 20; i++) {
      const reservation = await take('acme', one('denied', { ...limit, requests: 1 }), true)
      if (!reservation.go) waits.push(reservation.wait_ms)
    }
    expect(waits.length).toBeGreaterThan(0)
    await sleep(distanceMs(limit))
    expect((await take('acme', one('denied', limit), true)).go).toBe(true)
  })

  it('holds over many connections that ask at once', async () => {
    const limit = { requests: 10, per_seconds: 1, burst: 5 }
    const began = performance.now()
    let gone = 0
    await Promise.all(
      Array.from({ length: 12 }, async () => {
        while (performance.now() - began < 2000) {
          const reservation = await take('acme', one('crowd', limit), true)
          if (reservation.go) gone += 1
        }
      }),
    )
    const seconds = (performance.now() - began) / 1000
    // Reservations up to half a second ahead may have been given already.
    expect(gone).toBeLessThanOrEqual(1 + 5 + ((seconds + 0.5) * 1000) / distanceMs(limit))
    expect(gone).toBeGreaterThan(10)
  })

  it('of two limits takes of both or of none', async () => {
    const wide = { scope: 'wide', limit: { requests: 100, per_seconds: 1, burst: 100 } }
    const narrow = { scope: 'narrow', limit: { requests: 1, per_seconds: 600 } }
    expect((await take('acme', [narrow, wide])).go).toBe(true)
    const before = await arrival('wide')
    for (let i = 0; i < 3; i++) expect((await take('acme', [narrow, wide])).go).toBe(false)
    expect(await arrival('wide')).toEqual(before)
    expect((await take('acme', [wide])).go).toBe(true)
  })

  it('delays a send by one limit, and counts it at the delayed time in the other too', { retry: 2 }, async () => {
    const id = crypto.randomUUID()
    const narrow = { scope: `narrow/${id}`, limit: { requests: 5, per_seconds: 1 } }
    const wide = { scope: `wide/${id}`, limit: { requests: 20, per_seconds: 1 } }
    // Others of the tenant have the next reservations.
    for (let i = 0; i < 6; i++) await take('acme', [wide], true)
    const sentAt = async () => {
      const reservation = await take('acme', [narrow, wide], true)
      expect(reservation.go).toBe(true)
      return performance.now() + reservation.wait_ms
    }
    const first = await sentAt()
    await sleep(distanceMs(narrow.limit))
    expect((await sentAt()) - first).toBeGreaterThan(distanceMs(narrow.limit) - 60)
  })

  it('that is raised applies at once, also to those who come for the first time', async () => {
    const low = { requests: 1, per_seconds: 3600 }
    expect((await take('acme', one('raised', low))).go).toBe(true)
    for (let i = 0; i < 3; i++) expect((await take('acme', one('raised', low))).go).toBe(false)
    const high = one('raised', { requests: 10, per_seconds: 1 })
    // Taken as full at the moment of the change: no more go at once than the new limit lets through.
    const { wait_ms } = await take('acme', high)
    expect(wait_ms).toBeLessThan(1000)
    await sleep(wait_ms)
    expect((await take('acme', high)).go).toBe(true)
    const began = performance.now()
    const soon = await Promise.all(Array.from({ length: 30 }, () => take('acme', high, true)))
    // On a busy machine time passes between the first of them and the last.
    const withinMs = 500 + performance.now() - began
    expect(soon.filter(({ go }) => go).length).toBeLessThanOrEqual(withinMs / distanceMs(high[0]!.limit) + 2)
    expect(Math.max(...soon.map(({ wait_ms }) => wait_ms))).toBeLessThan(10_000)
  })

  it('that is lowered applies at once', async () => {
    const high = one('lowered', { requests: 100, per_seconds: 1, burst: 100 })
    for (let i = 0; i < 50; i++) await take('acme', high, true)
    const low = one('lowered', { requests: 1, per_seconds: 600 })
    const reservations = await Promise.all(Array.from({ length: 10 }, () => take('acme', low, true)))
    expect(reservations.filter(({ go }) => go).length).toBeLessThanOrEqual(1)
  })

  it('spreads the deliveries out whose reservation is too far in the future', async () => {
    const limit = one('far', { requests: 1, per_seconds: 600 })
    const reservations = []
    for (let i = 0; i < 12; i++) reservations.push(await take('acme', limit))
    const far = reservations.slice(4).map(({ wait_ms }) => wait_ms)
    expect(Math.max(...far)).toBeLessThanOrEqual(900_000)
    expect(Math.min(...far)).toBeGreaterThanOrEqual(450_000)
    expect(Math.max(...far) - Math.min(...far)).toBeGreaterThan(10_000)
  })

  it('the same scope of two tenants is two limits', async () => {
    const limit = { requests: 1, per_seconds: 600 }
    expect((await take('acme', one('same', limit))).go).toBe(true)
    expect((await take('globex', one('same', limit))).go).toBe(true)
    expect((await take('globex', one('same', limit))).go).toBe(false)
  })

  describe('places', () => {
    const slot = (delivery: string, most: number, leaseMs = 60_000) =>
      withTenant(pool, 'acme', (db) => takeSlot(db, 'acme', 'target', delivery, most, leaseMs))

    it('are never held by more than there are, are given back, and are free when their time is over', async () => {
      const taken = await Promise.all(Array.from({ length: 30 }, (_, i) => slot(`a${i}`, 7)))
      expect(taken.filter(Boolean).length).toBeLessThanOrEqual(7)
      for (let i = 0; i < 7; i++) await slot(`b${i}`, 7)
      expect(await slot('c', 7)).toBe(false)
      // One that has a place keeps it: its worker was lost.
      const { rows } = await withTenant(pool, 'acme', (db) => db.query('select holder, slot from destination_slots'))
      expect(rows).toHaveLength(7)
      expect(await slot(rows[0].holder, 7)).toBe(true)
      await withTenant(pool, 'acme', (db) => giveBackSlot(db, 'acme', 'target', rows[0].holder))
      expect(await slot('c', 7, 100)).toBe(true)
      expect(await slot('d', 7)).toBe(false)
      await sleep(150)
      expect(await slot('d', 7)).toBe(true)
      // Fewer places from now on: nobody gets one above.
      expect(await slot('e', 3)).toBe(false)
    })
  })

  async function arrival(scope: string): Promise<unknown> {
    const { rows } = await withTenant(pool, 'acme', (db) =>
      db.query('select arrival from rate_limits where scope = $1', [scope]),
    )
    return rows[0]
  }
})
