import pino from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { maintain } from '../../activities/upkeep/maintain.ts'
import { runSteps, StepsFailed } from '../../activities/upkeep/steps.ts'
import { createPool, type Pool } from '../../db/pool.ts'
import { createMetrics } from '../../temporal-config/process/metrics.ts'
import { createTestDatabase, type TestDatabase } from '../support/postgres.ts'

function watched() {
  const lines: Record<string, unknown>[] = []
  const metrics = createMetrics()
  const logger = pino({ level: 'debug' }, { write: (line: string) => void lines.push(JSON.parse(line)) })
  const failures = async () =>
    Object.fromEntries((await metrics.failedSteps.get()).values.map(({ labels, value }) => [labels.step, value]))
  return { lines, metrics, logger, failures }
}

describe('steps', () => {
  it('run one after another, and one that fails hides none behind it', async () => {
    const { lines, failures, ...deps } = watched()
    const done: string[] = []
    const step = (name: string, fails = false): [string, () => Promise<void>] => [
      name,
      async () => {
        done.push(name)
        if (fails) throw new Error(`${name} broke`)
      },
    ]
    const run = runSteps(
      deps,
      'maintain',
      [step('a'), step('b', true), step('c'), step('d', true), step('e')],
      () => {},
    )
    await expect(run).rejects.toThrow(new StepsFailed('Failed: b, d'))
    expect(done).toEqual(['a', 'b', 'c', 'd', 'e'])
    // The others are there from the start, at 0.
    expect(await failures()).toEqual({ a: 0, b: 1, c: 0, d: 1, e: 0 })
    expect(lines.map(({ step, err }) => [step, (err as Error).message])).toEqual([
      ['b', 'b broke'],
      ['d', 'd broke'],
    ])
  })

  it('end at once when the worker stops', async () => {
    const { failures, ...deps } = watched()
    const done: string[] = []
    const stop = new Error('The worker stops')
    const run = runSteps(
      deps,
      'sweep',
      [
        ['a', async () => Promise.reject(stop)],
        ['b', async () => void done.push('b')],
      ],
      () => {
        throw stop
      },
    )
    await expect(run).rejects.toBe(stop)
    expect(done).toEqual([])
    expect(await failures()).toEqual({ a: 0, b: 0 })
  })
})

describe('the maintenance', () => {
  let database: TestDatabase
  let pool: Pool
  let owner: Pool
  beforeAll(async () => {
    database = await createTestDatabase()
    pool = createPool({ connectionString: database.url, max: 3, application_name: 'test' })
    owner = createPool({ connectionString: database.adminUrl, max: 1, application_name: 'test' })
  })
  afterAll(async () => {
    await pool.end()
    await owner.end()
    await database.close()
  })

  it('refreshes the second view and prunes also when the first view is gone', async () => {
    await owner.query('alter materialized view distribution_summary_mv rename to gone_mv')
    await owner.query('refresh materialized view destination_health_mv with no data')
    await owner.query(
      "insert into api_rate_limits (tenant_id, scope, arrival) values ('acme', 'old', now() - interval '9 days')",
    )
    const { failures, ...deps } = watched()
    const run = maintain({ ...deps, pool } as unknown as Parameters<typeof maintain>[0], () => {})
    await expect(run).rejects.toThrow('Failed: distribution_summary_mv')
    expect(await failures()).toEqual({
      ...{ partitions: 0, distribution_summary_mv: 1, destination_health_mv: 0, forget_limits: 0 },
    })
    const { rows } = await owner.query(
      "select ispopulated, (select count(*)::int from api_rate_limits) as left from pg_matviews where matviewname = 'destination_health_mv'",
    )
    expect(rows).toEqual([{ ispopulated: true, left: 0 }])
  })
})
