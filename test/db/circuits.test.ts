// The transitions of a circuit, tried by many at once and out of order.
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import {
  circuitStates,
  giveBackProbe,
  noteAnswer,
  noteFailure,
  noteSuccess,
  takeProbe,
} from '../../db/destinations/circuits.ts'
import { createPool, type Pool, withTenant } from '../../db/pool.ts'
import type { TestDatabase } from '../support/postgres.ts'
import { onEachPostgres } from '../support/postgres-versions.ts'

onEachPostgres((database: () => TestDatabase) => {
  let pool: Pool
  let count = 0
  beforeAll(() => {
    pool = createPool({ connectionString: database().url, max: 8, application_name: 'test' })
  })
  afterAll(() => pool.end())

  function aCircuit(settings = { failures: 3, open_seconds: 60 }, tenant_id = 'acme') {
    count += 1
    const target = `target-${count}`
    const of = (delivery_id = 'one') => ({ tenant_id, target, delivery_id })
    const as = <T>(work: Parameters<typeof withTenant<T>>[2]) => withTenant(pool, tenant_id, work)
    return {
      target,
      fail: (delivery_id = 'one', counted = true) =>
        as((db) => noteFailure(db, of(delivery_id), { attempt_id: crypto.randomUUID(), counted, settings })),
      succeed: (startedAt = new Date()) => as((db) => noteSuccess(db, of(), startedAt)),
      answer: (delivery_id: string) => as((db) => noteAnswer(db, of(delivery_id))),
      probe: (delivery_id: string, leaseMs = 60_000) => as((db) => takeProbe(db, of(delivery_id), leaseMs)),
      giveBack: (delivery_id: string) => as((db) => giveBackProbe(db, of(delivery_id))),
      state: () => as(async (db) => (await circuitStates(db, [target]))(target)),
      /** The time has come that somebody may try. */
      halfOpen: () =>
        as((db) =>
          db.query('update destination_circuits set open_until = clock_timestamp() where target = $1', [target]),
        ),
      row: () =>
        as(async (db) => (await db.query('select * from destination_circuits where target = $1', [target])).rows[0]),
    }
  }

  it('opens once, by the last of so many failures, however many come at the same time', async () => {
    const circuit = aCircuit({ failures: 10, open_seconds: 60 })
    const noted = await Promise.all(Array.from({ length: 25 }, () => circuit.fail()))
    expect(noted.filter(({ opened }) => opened)).toHaveLength(1)
    expect(await circuit.row()).toMatchObject({ openings: 1, failures_in_a_row: 25 })
  })

  it('opens by the very first failure where one is enough', async () => {
    const circuit = aCircuit({ failures: 1, open_seconds: 60 })
    expect(await circuit.fail()).toMatchObject({ opened: true, failures_in_a_row: 1 })
    expect((await circuit.state()).state).toBe('open')
  })

  it('does not open after failures that do not count for it, but counts them as consecutive failures', async () => {
    const circuit = aCircuit()
    for (let i = 0; i < 5; i++) expect((await circuit.fail('one', false)).opened).toBe(false)
    expect(await circuit.state()).toMatchObject({ state: 'closed', consecutive_failures: 5 })
  })

  it('allows no trial delivery before its time, then one at a time, and the next when the lease expires', async () => {
    const circuit = aCircuit({ failures: 1, open_seconds: 60 })
    await circuit.fail()
    expect(await circuit.probe('early')).toBe(false)
    await circuit.halfOpen()
    const took = await Promise.all(Array.from({ length: 20 }, (_, i) => circuit.probe(`d${i}`, 300)))
    expect(took.filter(Boolean)).toHaveLength(1)
    const holder = `d${took.indexOf(true)}`
    // Its worker was lost, and it is opened again.
    expect(await circuit.probe(holder, 300)).toBe(true)
    expect(await circuit.probe('other', 300)).toBe(false)
    await sleep(350)
    expect(await circuit.probe('other', 60_000)).toBe(true)
    await circuit.giveBack('other')
    expect(await circuit.probe('third')).toBe(true)
  })

  it('opens again when the trial delivery fails, but not when another delivery fails', async () => {
    const circuit = aCircuit({ failures: 1, open_seconds: 60 })
    await circuit.fail()
    await circuit.halfOpen()
    await circuit.probe('trying')
    const before = await circuit.row()
    expect(await circuit.fail('late')).toMatchObject({ opened: false })
    expect(await circuit.row()).toMatchObject({ open_until: before.open_until, probe: 'trying', openings: 1 })
    expect(await circuit.fail('trying')).toMatchObject({ opened: false })
    const after = await circuit.row()
    expect(after).toMatchObject({ probe: null, probe_until: null, openings: 2, opened_at: before.opened_at })
    expect(after.open_until.getTime()).toBeGreaterThan(Date.now() + 50_000)
  })

  it('closes by a success that began after its opening; an older one ends the row of failures alone', async () => {
    const circuit = aCircuit({ failures: 1, open_seconds: 60 })
    const longAgo = new Date(Date.now() - 60_000)
    await circuit.fail()
    expect(await circuit.succeed(longAgo)).toBe(false)
    expect(await circuit.state()).toMatchObject({ state: 'open', consecutive_failures: 0, failing_since: null })
    expect((await circuit.fail()).failing_seconds).toBeLessThan(5)
    expect(await circuit.succeed(new Date(Date.now() + 1000))).toBe(true)
    expect(await circuit.row()).toBeUndefined()
    expect(await circuit.succeed()).toBe(false)
  })

  it('closes when the destination answers the trial delivery, even without success', async () => {
    const circuit = aCircuit({ failures: 1, open_seconds: 60 })
    await circuit.fail()
    await circuit.halfOpen()
    await circuit.probe('trying')
    expect(await circuit.answer('another')).toBe(false)
    expect(await circuit.answer('trying')).toBe(true)
    expect(await circuit.state()).toMatchObject({ state: 'closed', consecutive_failures: 1 })
  })

  it('does not open by failures between which it answers: they are not in a row', async () => {
    const circuit = aCircuit({ failures: 2, open_seconds: 60 })
    for (let i = 0; i < 3; i++) {
      expect(await circuit.fail()).toMatchObject({ opened: false, failures_in_a_row: i + 1 })
      expect(await circuit.answer('one')).toBe(false)
    }
    await circuit.fail()
    expect(await circuit.fail()).toMatchObject({ opened: true })
  })

  it('the same target of two tenants is two circuits', async () => {
    const settings = { failures: 2, open_seconds: 60 }
    const note = (tenant_id: string) =>
      withTenant(pool, tenant_id, (db) =>
        noteFailure(
          db,
          { tenant_id, target: 'REST://shared:443', delivery_id: 'x' },
          { attempt_id: crypto.randomUUID(), counted: true, settings },
        ),
      )
    expect((await note('acme')).opened).toBe(false)
    expect((await note('globex')).opened).toBe(false)
    expect((await note('acme')).opened).toBe(true)
    expect((await note('globex')).opened).toBe(true)
  })
})
