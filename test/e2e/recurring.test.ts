// Recurring distributions on the real servers: made by Temporal's schedule, once per time, and by the rows alone.
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { fire } from '../../activities/recur.ts'
import { sweep } from '../../activities/sweep.ts'
import {
  deleteRecurring,
  findRecurring,
  insertRecurring,
  pauseRecurring,
  type RecurringContent,
  type RecurringRow,
} from '../../db/recurring.ts'
import { recurringScheduleId } from '../../temporal-config/names.ts'
import { type HttpReceiver, startHttpReceiver } from '../support/receivers/http.ts'
import { createTestSystem, restTo, type TestSystem } from '../support/system.ts'

vi.setConfig({ testTimeout: 90_000 })

let system: TestSystem
let receiver: HttpReceiver
let count = 0

beforeAll(async () => {
  system = await createTestSystem()
  await system.tenant('acme')
  receiver = await startHttpReceiver()
  await system.startWorkers()
})
afterAll(async () => {
  const { schedule } = system.temporal.client
  for await (const { scheduleId } of schedule.list()) {
    if (scheduleId.startsWith('schedule/')) await schedule.getHandle(scheduleId).delete()
  }
  await system.close()
  await receiver.close()
})
beforeEach(() => receiver.reply({}))

async function recurring(path: string, given: Partial<RecurringContent> = {}): Promise<RecurringRow> {
  const content: RecurringContent = {
    name: `recurring-${count++}`,
    description: null,
    cron: null,
    // The API asks for at least 10 s.
    interval_seconds: 10,
    time_zone: 'UTC',
    overlap: 'skip',
    catchup_seconds: 60,
    paused: false,
    submission: '{}',
    payload_text: '{"b":1,"a":1.0}',
    metadata_text: '{}',
    template: {
      data_type: 'report',
      priority: 'normal',
      payload_queryable: true,
      destinations: [restTo('a', `${receiver.url}/${path}`)],
      callback_url: null,
      max_retries: 0,
      timeout_seconds: 60,
      options: {},
      ordering_key: null,
      ordering_blocks: false,
    },
    ...given,
  }
  return (await system.as('acme', (db) => insertRecurring(db, 'acme', content)))!
}

const ref = (row: RecurringRow) => ({ tenant_id: 'acme', schedule_id: row.id })
const handleOf = (row: RecurringRow) => system.temporal.client.schedule.getHandle(recurringScheduleId(ref(row)))
const arrived = (path: string) => receiver.requests.filter((request) => request.path === `/${path}`)
const again = async (row: RecurringRow) => (await system.as('acme', (db) => findRecurring(db, row.id)))!

async function isThere(row: RecurringRow): Promise<boolean> {
  return await handleOf(row)
    .describe()
    .then(() => true)
    .catch(() => false)
}

describe('a recurring distribution', () => {
  it('is made at its times, from the exact bytes', async () => {
    const row = await recurring('times')
    await system.runs.setRecurring(row)
    await expect.poll(() => arrived('times').length, { timeout: 60_000 }).toBeGreaterThanOrEqual(2)
    expect(arrived('times')[0]!.body.toString()).toBe('{"b":1,"a":1.0}')
    const { rows } = await system.as('acme', (db) =>
      db.query<{ occasion: string }>(
        `select options #>> '{schedule,occasion}' as occasion from distribution_jobs
          where options #>> '{schedule,id}' = $1`,
        [row.id],
      ),
    )
    // The times of the schedule, not those at which somebody came to it.
    for (const { occasion } of rows) expect(Date.parse(occasion) % 10_000).toBe(0)
    expect((await again(row)).last_distribution_id).toMatch(/^dist_/)
    await system.runs.setRecurring({ ...row, deleted: true })
  })

  it('a firing that is repeated, and repeated at once, makes no second one', async () => {
    const row = await recurring('once', { paused: false })
    const at = '2026-01-01T00:00:00.000Z'
    const fired = await Promise.all(Array.from({ length: 5 }, () => fire(system.deps, { ...ref(row), at })))
    expect(new Set(fired.map(({ distribution_id }) => distribution_id)).size).toBe(1)
    await expect.poll(() => arrived('once').length).toBe(1)
    const other = await fire(system.deps, { ...ref(row), at: '2026-01-01T00:00:10.000Z' })
    expect(other.distribution_id).not.toBe(fired[0]!.distribution_id)
  })

  it('leaves times out while the one before is not final, and not with allow_all', async () => {
    receiver.reply((request) => (request.path === '/skip' || request.path === '/all' ? { after_ms: 60_000 } : {}))
    const [skip, all] = [await recurring('skip'), await recurring('all', { overlap: 'allow_all' })]
    for (const row of [skip, all]) await system.runs.setRecurring(row)
    for (const row of [skip, all]) {
      await expect.poll(async () => (await again(row)).last_fired_at, { timeout: 30_000 }).not.toBeNull()
      await handleOf(row).trigger()
      await handleOf(row).trigger()
    }
    await expect.poll(() => arrived('all').length, { timeout: 30_000 }).toBeGreaterThanOrEqual(2)
    expect(arrived('skip')).toHaveLength(1)
    for (const row of [skip, all]) await system.runs.setRecurring({ ...row, deleted: true })
  })

  it('makes none while it is paused, or once it is deleted', async () => {
    const row = await recurring('paused')
    await system.as('acme', (db) => pauseRecurring(db, row.id, true))
    const at = '2026-01-01T00:00:00.000Z'
    expect(await fire(system.deps, { ...ref(row), at })).toEqual({ distribution_id: null, wait: false })
    await system.runs.setRecurring(await again(row))
    expect((await handleOf(row).describe()).state.paused).toBe(true)
    await system.as('acme', (db) => pauseRecurring(db, row.id, false))
    await system.runs.setRecurring(await again(row))
    expect((await handleOf(row).describe()).state.paused).toBe(false)
    await system.as('acme', (db) => deleteRecurring(db, row.id))
    expect(await fire(system.deps, { ...ref(row), at })).toEqual({ distribution_id: null, wait: false })
  })

  it('by cron, in its time zone, is what Temporal shows as next', async () => {
    const row = await recurring('cron', { cron: '30 6 * * *', interval_seconds: null, time_zone: 'Asia/Tokyo' })
    await system.runs.setRecurring(row)
    await expect.poll(async () => (await system.runs.nextRuns(ref(row))).length).toBeGreaterThan(0)
    const [next] = await system.runs.nextRuns(ref(row))
    expect(next!.toISOString()).toMatch(/T21:30:00/)
    await system.runs.setRecurring({ ...row, deleted: true })
    expect(await system.runs.nextRuns(ref(row))).toEqual([])
  })
})

describe('the sweep', () => {
  it('makes a schedule that nobody told Temporal of, and removes a deleted one', async () => {
    const row = await recurring('swept', { paused: true })
    await system.as('acme', (db) =>
      db.query('update recurring_distributions set check_at = clock_timestamp() where id = $1', [row.id]),
    )
    expect(await isThere(row)).toBe(false)
    await sweep(system.deps, { all: false }, () => {})
    expect(await isThere(row)).toBe(true)
    expect((await again(row)).in_sync).toBe(true)
    await system.as('acme', (db) => deleteRecurring(db, row.id))
    await system.as('acme', (db) =>
      db.query('update recurring_distributions set check_at = clock_timestamp() where id = $1', [row.id]),
    )
    await sweep(system.deps, { all: false }, () => {})
    expect(await isThere(row)).toBe(false)
  })

  it('makes all of them again when Temporal has lost its data', async () => {
    const row = await recurring('lost', { paused: true })
    await sweep(system.deps, { all: true }, () => {})
    expect(await isThere(row)).toBe(true)
    await handleOf(row).delete()
    await sweep(system.deps, { all: false }, () => {})
    expect(await isThere(row)).toBe(false)
    await sweep(system.deps, { all: true }, () => {})
    expect(await isThere(row)).toBe(true)
  })
})
