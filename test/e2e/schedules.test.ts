// Schedules on the real servers: Temporal's schedule creates one distribution per time, as the rows say.
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { submitScheduled, syncSchedule } from '../../activities/schedules/submit.ts'
import { sweep } from '../../activities/upkeep/sweep.ts'
import { claimIdempotencyKey } from '../../db/distributions/idempotency.ts'
import { withoutTenant } from '../../db/pool.ts'
import {
  deleteSchedule,
  dueSchedules,
  findSchedule,
  insertSchedule,
  pauseSchedule,
  type ScheduleContent,
  type ScheduleRow,
} from '../../db/schedules/schedules.ts'
import { restoreSchedules } from '../../temporal-config/client/schedules.ts'
import { scheduleIdOf } from '../../workflows/names.ts'
import { type HttpReceiver, startHttpReceiver } from '../support/receivers/http.ts'
import { createTestSystem, restTo, type TestSystem } from '../support/system.ts'
import { NAMESPACE } from '../support/temporal.ts'

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
    // It may be gone already: Temporal's list is late.
    if (scheduleId.startsWith('schedule/'))
      await schedule
        .getHandle(scheduleId)
        .delete()
        .catch(() => {})
  }
  await system.close()
  await receiver.close()
})
beforeEach(() => receiver.reply({}))

async function aSchedule(path: string, given: Partial<ScheduleContent> = {}): Promise<ScheduleRow> {
  const content: ScheduleContent = {
    name: `schedule-${count++}`,
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
  const row = await system.as('acme', (db) => insertSchedule(db, 'acme', content))
  if (row === null) throw new Error('it could not be made')
  return row
}

const ref = (row: ScheduleRow) => ({ tenant_id: 'acme', schedule_id: row.id })
const handleOf = (row: ScheduleRow) => system.temporal.client.schedule.getHandle(scheduleIdOf(ref(row)))
const arrived = (path: string) => receiver.requests.filter((request) => request.path === `/${path}`)
const again = async (row: ScheduleRow) => (await system.as('acme', (db) => findSchedule(db, row.id)))!

const nextRuns = async (row: ScheduleRow) => (await system.runs.describeSchedule(row)).next_runs
const syncNow = (row: ScheduleRow) => syncSchedule(system.deps, system.runs, ref(row))

async function isThere(row: ScheduleRow): Promise<boolean> {
  return await handleOf(row)
    .describe()
    .then(() => true)
    .catch(() => false)
}

describe('a schedule', () => {
  it('creates distributions at its times, from the exact bytes', async () => {
    const row = await aSchedule('times')
    await system.runs.setSchedule(row)
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
    await system.runs.setSchedule({ ...row, deleted: true })
  })

  it('creates no second distribution when the same time is started again, also concurrently', async () => {
    const row = await aSchedule('once', { paused: false })
    const at = '2026-01-01T00:00:00.000Z'
    const fired = await Promise.all(Array.from({ length: 5 }, () => submitScheduled(system.deps, { ...ref(row), at })))
    expect(new Set(fired.map(({ distribution_id }) => distribution_id)).size).toBe(1)
    await expect.poll(() => arrived('once').length).toBe(1)
    const other = await submitScheduled(system.deps, { ...ref(row), at: '2026-01-01T00:00:10.000Z' })
    expect(other.distribution_id).not.toBe(fired[0]!.distribution_id)
  })

  it('creates the distribution of a time although a caller used the same idempotency key', async () => {
    const row = await aSchedule('named')
    const at = '2026-01-01T00:00:00.000Z'
    const caller = await system.as('acme', (db) =>
      claimIdempotencyKey(db, 'acme', `schedule:${row.id}:${at}`, Buffer.from('x')),
    )
    expect(caller.claimed).toBe(true)
    const made = await submitScheduled(system.deps, { ...ref(row), at })
    expect(made.distribution_id).not.toBeNull()
    expect(await submitScheduled(system.deps, { ...ref(row), at })).toEqual(made)
    await expect.poll(() => arrived('named').length).toBe(1)
  })

  it('skips times while the previous distribution is not final, but not with allow_all', async () => {
    receiver.reply((request) => (request.path === '/skip' || request.path === '/all' ? { after_ms: 60_000 } : {}))
    const [skip, all] = [await aSchedule('skip'), await aSchedule('all', { overlap: 'allow_all' })]
    for (const row of [skip, all]) await system.runs.setSchedule(row)
    for (const row of [skip, all]) {
      await expect.poll(async () => (await again(row)).last_fired_at, { timeout: 30_000 }).not.toBeNull()
      await handleOf(row).trigger()
      await handleOf(row).trigger()
    }
    await expect.poll(() => arrived('all').length, { timeout: 30_000 }).toBeGreaterThanOrEqual(2)
    expect(arrived('skip')).toHaveLength(1)
    for (const row of [skip, all]) await system.runs.setSchedule({ ...row, deleted: true })
  })

  it('creates no distribution while it is paused, or after it was deleted', async () => {
    const row = await aSchedule('paused')
    await system.as('acme', (db) => pauseSchedule(db, row.id, true))
    const at = '2026-01-01T00:00:00.000Z'
    expect(await submitScheduled(system.deps, { ...ref(row), at })).toEqual({ distribution_id: null, wait: false })
    await system.runs.setSchedule(await again(row))
    expect((await handleOf(row).describe()).state.paused).toBe(true)
    await system.as('acme', (db) => pauseSchedule(db, row.id, false))
    await system.runs.setSchedule(await again(row))
    expect((await handleOf(row).describe()).state.paused).toBe(false)
    await system.as('acme', (db) => deleteSchedule(db, row.id))
    expect(await submitScheduled(system.deps, { ...ref(row), at })).toEqual({ distribution_id: null, wait: false })
  })

  it('by cron, in its time zone, is what Temporal shows as next', async () => {
    const row = await aSchedule('cron', { cron: '30 6 * * *', interval_seconds: null, time_zone: 'Asia/Tokyo' })
    await system.runs.setSchedule(row)
    await expect.poll(async () => (await nextRuns(row)).length).toBeGreaterThan(0)
    const [next] = await nextRuns(row)
    expect(next!.toISOString()).toMatch(/T21:30:00/)
    // What is paused has no next time.
    await system.runs.setSchedule({ ...row, paused: true })
    expect(await system.runs.describeSchedule(row)).toEqual({ paused: true, next_runs: [] })
    await system.runs.setSchedule({ ...row, deleted: true })
    expect(await nextRuns(row)).toEqual([])
  })

  it('by cron, on days of the month or of the week when both are given', async () => {
    const row = await aSchedule('either', { cron: '0 0 13 * fri', interval_seconds: null })
    await system.runs.setSchedule(row)
    await expect.poll(async () => (await nextRuns(row)).length).toBe(10)
    const days = (await nextRuns(row)).map((time) => ({ day: time.getUTCDate(), weekday: time.getUTCDay() }))
    expect(days.filter(({ day, weekday }) => weekday === 5 && day !== 13).length).toBeGreaterThan(5)
    for (const { day, weekday } of days) expect(day === 13 || weekday === 5).toBe(true)
    await system.runs.setSchedule({ ...row, deleted: true })
  })

  it('shows why Temporal rejects it, and retries only from time to time', async () => {
    const row = await aSchedule('refused', { time_zone: 'Europe/ROME' })
    await syncNow(row)
    expect(await again(row)).toMatchObject({ problem: expect.stringContaining('unknown time zone'), in_sync: false })
    expect(await withoutTenant(system.pool, (db) => dueSchedules(db, 10, false, null))).not.toContainEqual(
      expect.objectContaining({ id: row.id }),
    )
  })

  it('keeps a pause that was set in Temporal, until it is resumed', async () => {
    const row = await aSchedule('paused-there')
    await system.runs.setSchedule(row)
    await handleOf(row).pause('an emergency')
    await system.runs.setSchedule({ ...row, interval_seconds: 20 })
    expect(await system.runs.describeSchedule(row)).toEqual({ paused: true, next_runs: [] })
    await system.runs.setSchedule(row, true)
    expect((await handleOf(row).describe()).state.paused).toBe(false)
    await system.runs.setSchedule({ ...row, deleted: true })
  })

  it('creates no distribution for a suspended tenant, and shows that', async () => {
    const row = await aSchedule('suspended')
    const status = (to: string) =>
      system.as('acme', (db) => db.query(`update tenants set status = $1 where id = 'acme'`, [to]))
    await status('suspended')
    const at = '2026-01-01T00:00:00.000Z'
    expect(await submitScheduled(system.deps, { ...ref(row), at })).toEqual({ distribution_id: null, wait: false })
    expect((await again(row)).problem).toBe('The tenant is suspended')
    await status('active')
    expect((await submitScheduled(system.deps, { ...ref(row), at })).distribution_id).not.toBeNull()
    expect((await again(row)).problem).toBeNull()
  })

  it('still runs when its destination was deleted, and shows the result', async () => {
    await system.as('acme', (db) =>
      db.query(
        `insert into destinations (tenant_id, name, protocol, configuration, deleted_at)
         values ('acme', 'gone', 'REST', jsonb_build_object('endpoint', $1::text), now())`,
        [receiver.url],
      ),
    )
    const { template } = await aSchedule('by-name')
    const row = await aSchedule('by-name', {
      template: { ...template, destinations: [{ name: 'gone' }], ordering_key: 'by-name' },
    })
    const { distribution_id } = await submitScheduled(system.deps, { ...ref(row), at: '2026-01-01T00:00:00.000Z' })
    await expect.poll(async () => (await again(row)).last_status).toBe('failed')
    const made = { tenant_id: 'acme', distribution_id: distribution_id! }
    expect((await system.deliveries(made))[0]).toMatchObject({ error_code: 'DESTINATION_DELETED' })
    const { rows } = await system.as('acme', (db) =>
      db.query('select ordering_key, schedule_id from distribution_jobs where distribution_id = $1', [distribution_id]),
    )
    expect(rows).toEqual([{ ordering_key: 'by-name', schedule_id: row.id }])
  })

  it('creates no distribution when its payload no longer fits the data type, and reports it once', async () => {
    const row = await aSchedule('unfit', {
      template: { ...(await aSchedule('template')).template, data_type: 'strict' },
    })
    await system.as('acme', async (db) => {
      await db.query(`update tenants set event_url = 'http://127.0.0.1:9/events' where id = 'acme'`)
      await db.query(
        `insert into data_types (id, tenant_id, name, schema_definition) values ('strict', 'acme', 'strict', $1::jsonb)`,
        [JSON.stringify({ type: 'object', properties: { a: { type: 'string' } } })],
      )
    })
    for (const second of ['00', '10']) {
      const fired = await submitScheduled(system.deps, { ...ref(row), at: `2026-01-01T00:00:${second}.000Z` })
      expect(fired).toEqual({ distribution_id: null, wait: false })
    }
    const { problem, last_distribution_id } = await again(row)
    expect(problem).toMatch(/^payload\.a must be string/)
    expect(last_distribution_id).toBeNull()
    const { rows } = await system.as('acme', (db) =>
      db.query(`select body::jsonb as body from webhooks where event_type = 'schedule.failing'`),
    )
    expect(rows.filter(({ body }) => body.schedule === row.name)).toMatchObject([{ body: { reason: problem } }])
    await system.as('acme', (db) => db.query(`update data_types set schema_definition = null where id = 'strict'`))
    expect(
      (await submitScheduled(system.deps, { ...ref(row), at: '2026-01-01T00:00:20.000Z' })).distribution_id,
    ).not.toBeNull()
    expect(await again(row)).toMatchObject({ problem: null, problem_at: null })
    await expect.poll(async () => (await again(row)).last_status).toBe('completed')
  })
})

describe('the sweep', () => {
  it('creates a schedule that Temporal does not know yet, and removes a deleted one', async () => {
    const row = await aSchedule('swept', { paused: true })
    await system.as('acme', (db) =>
      db.query('update distribution_schedules set check_at = clock_timestamp() where id = $1', [row.id]),
    )
    expect(await isThere(row)).toBe(false)
    await sweep(system.deps, { all: false }, () => {})
    expect(await isThere(row)).toBe(true)
    expect((await again(row)).in_sync).toBe(true)
    await system.as('acme', (db) => deleteSchedule(db, row.id))
    await system.as('acme', (db) =>
      db.query('update distribution_schedules set check_at = clock_timestamp() where id = $1', [row.id]),
    )
    await sweep(system.deps, { all: false }, () => {})
    expect(await isThere(row)).toBe(false)
    // Its payload is not kept.
    expect(await system.as('acme', (db) => findSchedule(db, row.id))).toBeNull()
  })

  it('creates all schedules again after Temporal lost its data', async () => {
    const row = await aSchedule('lost', { paused: true })
    await sweep(system.deps, { all: true }, () => {})
    expect(await isThere(row)).toBe(true)
    await handleOf(row).delete()
    await sweep(system.deps, { all: false }, () => {})
    expect(await isThere(row)).toBe(false)
    await sweep(system.deps, { all: true }, () => {})
    expect(await isThere(row)).toBe(true)
  })
})

describe('every worker', () => {
  it('creates again a schedule that was deleted in Temporal, and does not change the others', async () => {
    const [kept, gone] = [await aSchedule('kept', { paused: true }), await aSchedule('gone', { paused: true })]
    for (const row of [kept, gone]) await syncNow(row)
    const { connection } = system.temporal
    const options = { connection, namespace: NAMESPACE, taskQueue: system.taskQueue }
    const restored: string[] = []
    const restore = () =>
      restoreSchedules(options, [ref(kept), ref(gone)], async ({ schedule_id }) => {
        restored.push(schedule_id)
      })
    // Temporal lists what it has made after a while.
    await expect
      .poll(async () => {
        restored.length = 0
        await restore()
        return restored
      })
      .toEqual([])
    await handleOf(gone).delete()
    await expect
      .poll(async () => {
        restored.length = 0
        await restore()
        return restored
      })
      .toEqual([gone.id])
    await syncNow(gone)
    expect(await isThere(gone)).toBe(true)
  })
})

/** As if its times had been accounted for until then. */
async function accountedUntil(row: ScheduleRow, ago: string): Promise<ScheduleRow> {
  await system.as('acme', (db) =>
    db.query('update distribution_schedules set accounted_at = clock_timestamp() - $2::interval where id = $1', [
      row.id,
      ago,
    ]),
  )
  return await again(row)
}

const occasions = async (row: ScheduleRow) => {
  const { rows } = await system.as('acme', (db) =>
    db.query<{ occasion: string }>(
      `select options #>> '{schedule,occasion}' as occasion from distribution_jobs where schedule_id = $1 order by 1`,
      [row.id],
    ),
  )
  return rows.map(({ occasion }) => occasion)
}

describe('where clocks are set back', () => {
  it.each([
    ['America/New_York', '30 1 * * *', '2026-11-01T05:30:00.000Z', '2026-11-01T06:30:00.000Z'],
    ['Europe/London', '30 1 * * *', '2026-10-25T00:30:00.000Z', '2026-10-25T01:30:00.000Z'],
    ['Australia/Lord_Howe', '45 1 * * *', '2026-04-04T14:45:00.000Z', '2026-04-04T15:15:00.000Z'],
    ['Antarctica/Troll', '30 1 * * *', '2026-10-24T23:30:00.000Z', '2026-10-25T01:30:00.000Z'],
  ])(
    'a repeated time of day in %s creates one distribution, at whichever of the two is started first',
    async (time_zone, cron, ...both) => {
      const given = { cron, interval_seconds: null, time_zone, overlap: 'allow_all' as const }
      const row = await aSchedule('back', given)
      for (const at of [...both, ...both]) await submitScheduled(system.deps, { ...ref(row), at })
      expect(await occasions(row)).toEqual([both[0]])
      const other = await aSchedule('back', given)
      await submitScheduled(system.deps, { ...ref(other), at: both[1]! })
      expect(await occasions(other)).toEqual([both[1]])
    },
  )

  it('an hourly schedule creates a distribution in both repeated hours', async () => {
    const row = await aSchedule('back', { cron: '30 * * * *', interval_seconds: null, time_zone: 'America/New_York' })
    const both = ['2026-11-01T05:30:00.000Z', '2026-11-01T06:30:00.000Z']
    for (const at of both) await submitScheduled(system.deps, { ...ref(row), at })
    expect(await occasions(row)).toEqual(both)
  })

  it('Temporal makes one of a time of day and all of every hour, in zones to both sides', async () => {
    for (const [time_zone, from, to] of [
      ['America/New_York', '2026-11-01T04:15:00Z', '2026-11-01T07:15:00Z'],
      ['Europe/London', '2026-10-24T23:15:00Z', '2026-10-25T02:15:00Z'],
    ] as const) {
      const given = { interval_seconds: null, time_zone, overlap: 'allow_all' as const }
      const daily = await aSchedule('back', { ...given, cron: '30 1 * * *' })
      const hourly = await aSchedule('back', { ...given, cron: '30 * * * *' })
      for (const row of [daily, hourly]) {
        await system.runs.setSchedule(row)
        await handleOf(row).backfill({ start: new Date(from), end: new Date(to), overlap: 'ALLOW_ALL' })
      }
      await expect.poll(() => occasions(hourly), { timeout: 30_000 }).toHaveLength(3)
      await expect.poll(() => occasions(daily), { timeout: 30_000 }).toHaveLength(1)
      for (const row of [daily, hourly]) await system.runs.setSchedule({ ...row, deleted: true })
    }
  })

  it('a time that they leave out makes none, also where Temporal comes up with another', async () => {
    const given = { cron: '15 2 * * *', interval_seconds: null, time_zone: 'Australia/Lord_Howe' }
    const row = await aSchedule('forward', given)
    await submitScheduled(system.deps, { ...ref(row), at: '2026-10-03T15:45:00.000Z' })
    expect(await occasions(row)).toEqual([])
  })
})

describe('missed times', () => {
  it('are caught up after Temporal lost its data', async () => {
    const made = await aSchedule('made-up', { overlap: 'allow_all', catchup_seconds: 3600 })
    const row = await accountedUntil(made, '95 seconds')
    await system.runs.setSchedule(row)
    await expect.poll(async () => (await occasions(row)).length, { timeout: 30_000 }).toBeGreaterThanOrEqual(9)
    await system.runs.setSchedule({ ...row, deleted: true })
    expect((await again(row)).missed).toBeNull()
  })

  it('that are too old to catch up are listed once by the schedule, an event and the audit log', async () => {
    await system.as('acme', (db) =>
      db.query(`update tenants set event_url = 'http://127.0.0.1:9/events' where id = 'acme'`),
    )
    const made = await aSchedule('named', { interval_seconds: 60, overlap: 'allow_all' })
    const row = await accountedUntil(made, '1 hour')
    const at = new Date(Math.floor(Date.now() / 60_000) * 60_000)
    for (const _ of [1, 2]) await submitScheduled(system.deps, { ...ref(row), at: at.toISOString() })
    const { missed } = await again(row)
    expect(missed!.count).toBeGreaterThanOrEqual(58)
    expect(missed!.times).toHaveLength(10)
    expect(missed!.reason).toContain('catchup_seconds')
    for (const table of ['webhooks', 'audit_log']) {
      const { rows } = await system.as('acme', (db) =>
        db.query(`select to_jsonb(t)::text as row from ${table} t where to_jsonb(t)::text like '%schedule.missed%'`),
      )
      expect(rows.filter((found) => found.row.includes(row.id))).toHaveLength(1)
    }
    expect(await occasions(row)).toEqual([at.toISOString()])
  })

  it('are counted once when several are created at the same moment', async () => {
    const made = await aSchedule('together', { interval_seconds: 60, overlap: 'allow_all' })
    const row = await accountedUntil(made, '1 hour')
    const last = Math.floor(Date.now() / 60_000) * 60_000
    const ats = Array.from({ length: 5 }, () => new Date(last).toISOString())
    await Promise.all(ats.map((at) => submitScheduled(system.deps, { ...ref(row), at })))
    expect((await again(row)).missed!.count).toBeLessThanOrEqual(60)
  })

  it('during a pause are neither caught up nor listed', async () => {
    const made = await aSchedule('paused-long', { interval_seconds: 60, overlap: 'allow_all', paused: true })
    await accountedUntil(made, '1 hour')
    await system.as('acme', (db) => pauseSchedule(db, made.id, false))
    const row = await again(made)
    expect(Date.now() - row.accounted_at.getTime()).toBeLessThan(30_000)
    await system.runs.setSchedule(row)
    await submitScheduled(system.deps, {
      ...ref(row),
      at: new Date(Math.floor(Date.now() / 60_000) * 60_000).toISOString(),
    })
    expect((await again(row)).missed).toBeNull()
    await system.runs.setSchedule({ ...row, deleted: true })
  })

  it('of a month: a schedule of every minute catches up about a hundred at most', async () => {
    const made = await aSchedule('month', {
      cron: '* * * * *',
      interval_seconds: null,
      overlap: 'allow_all',
      catchup_seconds: 31_536_000,
    })
    const row = await accountedUntil(made, '30 days')
    await system.runs.setSchedule(row)
    expect((await handleOf(row).describe()).policies.catchupWindow).toBeLessThanOrEqual(100 * 60_000)
    await expect.poll(async () => (await occasions(row)).length, { timeout: 60_000 }).toBeGreaterThanOrEqual(99)
    expect((await occasions(row)).length).toBeLessThanOrEqual(102)
    expect((await again(row)).missed!.count).toBeGreaterThan(43_000)
    await system.runs.setSchedule({ ...row, deleted: true })
  })
})
