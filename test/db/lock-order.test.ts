// Who locks what first: job, delivery, attempt. Transactions that meet on one delivery wait for each other, and no one is
// thrown out by the server as a deadlock's victim.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { closeAttempt, closeLostAttempt, openAttempt } from '../../db/distributions/attempts.ts'
import { lockDelivery } from '../../db/distributions/deliveries.ts'
import { endDistribution } from '../../db/distributions/end.ts'
import { createPool, type Db, type Pool, withTenant } from '../../db/pool.ts'
import { createTestDatabase, type TestDatabase } from '../support/postgres.ts'
import { aPlannedJob } from './planned-job.ts'

let database: TestDatabase
let pool: Pool

beforeAll(async () => {
  database = await createTestDatabase()
  pool = createPool({ connectionString: database.url, max: 5, application_name: 'lock-order' })
})
afterAll(async () => {
  await pool.end()
  await database.close()
})

const asAcme = <T>(work: (db: Db) => Promise<T>) => withTenant(pool, 'acme', work)
const BY_ONE = { configuration_version: null, worker: 'one' }

const plannedJob = () => asAcme(aPlannedJob)

/** Resolves when a transaction of this database waits for another one's lock. */
async function somebodyWaits(): Promise<void> {
  await expect
    .poll(async () => {
      const { rows } = await pool.query(
        `select count(*)::int as waiting from pg_stat_activity
          where datname = current_database() and wait_event_type = 'Lock'`,
      )
      return rows[0].waiting
    })
    .toBe(1)
}

describe('the order of locks', () => {
  it('a lost worker that closes its attempt waits for the worker that takes over its delivery', async () => {
    const id = await plannedJob()
    const attempt = await asAcme((db) => openAttempt(db, id, 'a', BY_ONE))
    let late: Promise<unknown> | undefined
    await asAcme(async (db) => {
      await lockDelivery(db, id, 'a')
      late = asAcme((other) =>
        closeAttempt(other, id, 'a', {
          attempt_id: attempt.id,
          attempt_number: 1,
          status: 'success',
          code: null,
          message: null,
          response_status: 200,
          response_body: null,
          retry_delay_ms: null,
          completed_at: new Date().toISOString(),
          gone: false,
          metadata: {},
        }),
      )
      await somebodyWaits()
      expect(await closeLostAttempt(db, id, 'a')).toBe(1)
    })
    expect(await late).toBeNull()
  })

  it('ending a distribution waits for an attempt that is just being opened, and closes it', async () => {
    const id = await plannedJob()
    let ended: ReturnType<typeof endDistribution> | undefined
    await asAcme(async (db) => {
      await lockDelivery(db, id, 'a')
      ended = asAcme((other) => endDistribution(other, id, { round: 1, cause: 'cancelled' }))
      await somebodyWaits()
      await openAttempt(db, id, 'a', BY_ONE)
    })
    expect(await ended).toMatchObject({ outcome: 'final', status: 'cancelled' })
    const { rows } = await asAcme((db) =>
      db.query('select status from distribution_attempts where distribution_job_id = $1', [id]),
    )
    expect(rows).toEqual([{ status: 'cancelled' }])
  })
})
