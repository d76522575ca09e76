// Strategies on the real servers: failover after a permanent failure, and load balancing.
import { describe, expect, it } from 'vitest'
import { plan } from '../../activities/distribution/plan.ts'
import { endDeliveriesOf } from '../../db/destinations/deleted.ts'
import { deleteDestination, findDestination } from '../../db/destinations/destinations.ts'
import { requestCancel } from '../../db/distributions/commands.ts'
import { jobId } from '../../db/distributions/job-id.ts'
import type { DistributionRef } from '../../workflows/messages.ts'
import {
  byName,
  distribute,
  ended,
  paths,
  receiver,
  retry,
  rows,
  rule,
  sql,
  system,
  tenant,
  useRuling,
} from '../support/ruling.ts'
import { ABOUT } from '../support/system.ts'

useRuling()

describe('failover', () => {
  const group = (...destinations: string[]) => rule('routing', { destinations, strategy: 'failover' })

  it('uses the next destination only after a permanent failure; unneeded ones are skipped without an error', async () => {
    await group('a', 'b', 'c')
    receiver.reply(byName({ a: 422 }))
    const ref = await distribute()
    expect(await ended(ref)).toMatchObject({ status: 'completed', error_code: null })
    expect(await rows(ref)).toEqual(['a failed REJECTED', 'b success', 'c skipped'])
    expect((await system.deliveries(ref))[2]?.error_message).toMatch(/^Not needed/)
    expect(paths()).toEqual(['a', 'b'])
  })

  it('retries the first destination before it uses the second', async () => {
    await group('a', 'b')
    receiver.reply(byName({ a: 503 }))
    const ref = await distribute({ max_retries: 2 })
    expect(await ended(ref)).toMatchObject({ status: 'completed' })
    expect(paths()).toEqual(['a', 'a', 'a', 'b'])
  })

  it('does not use the other destinations when the first one accepts', async () => {
    await group('a', 'b', 'c')
    const ref = await distribute()
    expect(await ended(ref)).toMatchObject({ status: 'completed' })
    expect(await rows(ref)).toEqual(['a success', 'b skipped', 'c skipped'])
    expect(paths()).toEqual(['a'])
  })

  it('fails when all destinations failed; a retry starts with the first one again', async () => {
    await group('a', 'b')
    receiver.reply({ status: 422 })
    const ref = await distribute()
    expect(await ended(ref)).toMatchObject({ status: 'failed', error_code: 'REJECTED' })
    expect(await rows(ref)).toEqual(['a failed REJECTED', 'b failed REJECTED'])
    receiver.reply({})
    expect(await retry(ref)).toMatchObject({ destinations: expect.arrayContaining(['a', 'b']) })
    await expect.poll(async () => (await system.job(ref)).status).toBe('completed')
    expect(await rows(ref)).toEqual(['a success', 'b skipped'])
    expect(paths()).toEqual(['a', 'b', 'a'])
  })

  it('a retry does not repeat a served group, unless the retry is forced or names it', async () => {
    await group('a', 'b')
    await rule('routing', { destinations: ['c'] })
    receiver.reply(byName({ a: 422, c: 422 }))
    const ref = await distribute()
    expect(await ended(ref)).toMatchObject({ status: 'failed' })
    expect(await rows(ref)).toEqual(['a failed REJECTED', 'b success', 'c failed REJECTED'])
    receiver.reply({})
    expect(await retry(ref)).toMatchObject({ destinations: ['c'] })
    await expect.poll(async () => (await system.job(ref)).status).toBe('completed')
    expect(await retry(ref, { destinations: ['a'] })).toMatchObject({ destinations: ['a'] })
    await expect.poll(() => rows(ref)).toEqual(['a success', 'b success', 'c success'])
    await ended(ref)
    receiver.requests.length = 0
    expect(await retry(ref, { force: true })).toMatchObject({ outcome: 'reset' })
    await expect.poll(() => rows(ref)).toEqual(['a success', 'b skipped', 'c success'])
    expect(paths().sort()).toEqual(['a', 'c'])
  })

  it('a failed destination that another rule also selects fails the distribution, and a retry repeats it', async () => {
    await group('a', 'b')
    await rule('routing', { destinations: ['b'] })
    receiver.reply(byName({ b: 422 }))
    const ref = await distribute()
    expect(await ended(ref)).toMatchObject({ status: 'failed', error_code: 'REJECTED' })
    expect(await rows(ref)).toEqual(['a success', 'b failed REJECTED'])
    receiver.reply({})
    expect(await retry(ref)).toMatchObject({ destinations: ['b'] })
    await expect.poll(() => rows(ref)).toEqual(['a success', 'b success'])
    expect(await ended(ref)).toMatchObject({ status: 'completed' })
    expect(paths().sort()).toEqual(['a', 'b', 'b'])
  })

  it('with ordering: "block", a failure does not block the key when the group delivered to another destination', async () => {
    await group('a', 'b')
    receiver.reply(({ path, body }) => ({ status: path === '/a' && body.toString() === '1' ? 422 : 200 }))
    const first = await distribute({ payload_text: '1', ordering_key: 'k', ordering_blocks: true })
    const second = await distribute({ payload_text: '2', ordering_key: 'k', ordering_blocks: true })
    expect(await ended(first)).toMatchObject({ status: 'completed' })
    expect(await ended(second)).toMatchObject({ status: 'completed' })
    expect(await rows(first)).toEqual(['a failed REJECTED', 'b success'])
    expect(await rows(second)).toEqual(['a success', 'b skipped'])
  })

  it('a standby that waits for its next attempt is skipped after a manual retry delivers to the first destination', async () => {
    await group('a', 'b')
    receiver.reply(({ path }) => (path === '/a' ? { status: 422 } : { status: 503, headers: { 'retry-after': '3' } }))
    const ref = await distribute()
    await expect.poll(() => rows(ref)).toEqual(['a failed REJECTED', 'b waiting DESTINATION_UNAVAILABLE'])
    receiver.reply(byName({ b: 503 }))
    expect(await retry(ref, { destinations: ['a'] })).toMatchObject({ destinations: ['a'] })
    expect(await ended(ref)).toMatchObject({ status: 'completed' })
    expect(await rows(ref)).toEqual(['a success', 'b skipped'])
    expect(paths().at(-1)).toBe('a')
  })

  it('a cancel also ends the standby deliveries', async () => {
    await group('a', 'b')
    receiver.reply({ status: 503, headers: { 'retry-after': '30' } })
    const ref = await distribute()
    await expect.poll(async () => (await system.deliveries(ref))[0]?.status).toBe('waiting')
    await system.as(tenant, (db) => requestCancel(db, jobId(ref.distribution_id), null))
    await system.runs.signalCancel(ref, ABOUT)
    expect(await ended(ref)).toMatchObject({ status: 'cancelled' })
    expect(await rows(ref)).toEqual(['a cancelled CANCELLED', 'b cancelled CANCELLED'])
    receiver.reply({})
    await retry(ref)
    await expect.poll(() => rows(ref)).toEqual(['a success', 'b skipped'])
  })

  it('expires as a whole', async () => {
    await group('a', 'b')
    receiver.reply({ status: 503, headers: { 'retry-after': '30' } })
    const ref = await distribute({ timeout_seconds: 2 })
    expect(await ended(ref)).toMatchObject({ status: 'failed', error_code: 'EXPIRED' })
    expect(await rows(ref)).toEqual(['a failed EXPIRED', 'b failed EXPIRED'])
    expect(paths()).toEqual(['a'])
  })

  it('a destination disabled while it waits is replaced by the next one', async () => {
    await group('a', 'b')
    receiver.reply(byName({ a: 503 }))
    const ref = await distribute({ max_retries: 50 })
    await expect.poll(async () => (await system.deliveries(ref))[0]?.attempts).toBeGreaterThan(0)
    await sql("update destinations set status = 'inactive' where name = 'a'")
    expect(await ended(ref)).toMatchObject({ status: 'completed' })
    expect(await rows(ref)).toEqual(['a skipped DESTINATION_DISABLED', 'b success'])
  })

  it('a disabled destination waits when no other one can take over', async () => {
    await sql("update destinations set status = 'maintenance' where name = 'b'")
    await group('a', 'b', 'c')
    receiver.reply(({ path }) => (path === '/a' ? { status: 503, headers: { 'retry-after': '1' } } : {}))
    const ref = await distribute({ max_retries: 50 })
    await expect.poll(async () => (await system.deliveries(ref))[0]?.attempts).toBeGreaterThan(0)
    await sql("update destinations set status = 'inactive' where name in ('a', 'c')")
    await expect
      .poll(async () => (await system.deliveries(ref))[0]?.error_code, { timeout: 25_000 })
      .toBe('DESTINATION_DISABLED')
    expect(await rows(ref)).toEqual(['a waiting DESTINATION_DISABLED', 'b pending', 'c pending'])
    receiver.reply({})
    await sql("update destinations set status = 'active' where name = 'b'")
    expect(await ended(ref)).toMatchObject({ status: 'completed' })
    expect(await rows(ref)).toEqual(['a skipped DESTINATION_DISABLED', 'b success', 'c skipped'])
  })

  it('a destination deleted while it waits is replaced by the next one', async () => {
    await group('a', 'b')
    receiver.reply(({ path }) => (path === '/a' ? { status: 503, headers: { 'retry-after': '3600' } } : {}))
    const ref = await distribute()
    await expect.poll(async () => (await system.deliveries(ref))[0]?.status).toBe('waiting')
    await system.as(tenant, async (db) => {
      const gone = await findDestination(db, 'a')
      await deleteDestination(db, gone!.id)
      await endDeliveriesOf(db, gone!.id, 10)
    })
    await system.runs.signalReread(ref)
    expect(await ended(ref)).toMatchObject({ status: 'completed' })
    expect(await rows(ref)).toEqual(['a failed DESTINATION_DELETED', 'b success'])
  })

  it('keeps the order of a key at each destination; an unused standby delays nothing', async () => {
    await group('a', 'b')
    // The first is taken by a, so that its b stands by in vain; the others are refused there.
    receiver.reply(({ path, body }) => ({ status: path === '/a' && body.toString() !== '1' ? 422 : 200, after_ms: 30 }))
    const refs: DistributionRef[] = []
    for (const payload_text of ['1', '2', '3']) refs.push(await distribute({ payload_text, ordering_key: 'k' }))
    for (const ref of refs) expect(await ended(ref)).toMatchObject({ status: 'completed' })
    const seen = (name: string) =>
      receiver.requests.filter(({ path }) => path === name).map(({ body }) => body.toString())
    expect([seen('/a'), seen('/b')]).toEqual([
      ['1', '2', '3'],
      ['2', '3'],
    ])
  })

  it('a destination disabled or deleted before its turn is skipped', async () => {
    await group('a', 'b', 'c')
    receiver.reply(async ({ path }) => {
      if (path === '/a') {
        await sql("update destinations set status = 'inactive' where name = 'b'")
        return { status: 422 }
      }
      return {}
    })
    const ref = await distribute()
    expect(await ended(ref)).toMatchObject({ status: 'completed' })
    expect(await rows(ref)).toEqual(['a failed REJECTED', 'b skipped DESTINATION_DISABLED', 'c success'])
  })
})

describe('load balance', () => {
  it('rotates between the destinations, however many distributions are planned at once', async () => {
    await rule('routing', { destinations: ['a', 'b', 'c'], strategy: 'load_balance' })
    const refs = await Promise.all(Array.from({ length: 12 }, () => system.submit({ tenant_id: tenant })))
    // Each with a cache of its own, as workers have.
    const plans = await Promise.all(refs.map((ref) => plan(system.pool, ref)))
    const chosen = plans.flatMap((one) => one?.deliveries.map(({ name }) => name) ?? [])
    expect(chosen.sort().join('')).toBe('aaaabbbbcccc')
  })

  it('chooses by weight, and prefers the destination that fails least', async () => {
    await rule(
      'routing',
      { destinations: ['a', 'b'], strategy: 'load_balance', balance: 'weighted', weights: { a: 3 } },
      { path: 'payload', operator: 'equal', value: 1 },
    )
    await rule(
      'routing',
      { destinations: ['a', 'b'], strategy: 'load_balance', balance: 'least_failing' },
      { path: 'payload', operator: 'equal', value: 2 },
    )
    for (let i = 0; i < 4; i++) await ended(await distribute({ payload_text: '1' }))
    expect(paths().sort().join('')).toBe('aaab')
    receiver.reply(byName({ a: 422 }))
    await ended(await distribute({ destinations: [{ name: 'a' }] }))
    receiver.requests.length = 0
    for (let i = 0; i < 3; i++) await ended(await distribute({ payload_text: '2' }))
    expect(paths().join('')).toBe('bbb')
    // One whose circuit is open comes last, whatever it did before.
    await sql(
      `insert into destination_circuits (tenant_id, target, opened_at, open_until)
       select tenant_id, id::text, now(), now() + interval '1 hour' from destinations where name = 'b'`,
    )
    receiver.reply({})
    await ended(await distribute({ payload_text: '2' }))
    expect(paths().at(-1)).toBe('a')
  })
})
