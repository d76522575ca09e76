// What is known of an attempt before it begins.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { closeLostAttempt, openAttempt } from '../../db/distributions/attempts.ts'
import { requestRetry } from '../../db/distributions/commands.ts'
import { createPool, type Db, type Pool, withTenant } from '../../db/pool.ts'
import { createTestDatabase, type TestDatabase } from '../support/postgres.ts'
import { aPlannedJob } from './planned-job.ts'

let database: TestDatabase
let pool: Pool

beforeAll(async () => {
  database = await createTestDatabase()
  pool = createPool({ connectionString: database.url, max: 5, application_name: 'attempts' })
})
afterAll(async () => {
  await pool.end()
  await database.close()
})

const asAcme = <T>(work: (db: Db) => Promise<T>) => withTenant(pool, 'acme', work)
const BY_ONE = { configuration_version: null, worker: 'one' }

const plannedJob = () => asAcme(aPlannedJob)

describe('an attempt', () => {
  it('is a repeat under the delivery id of an earlier one, and none under the new id of a success', async () => {
    const id = await plannedJob()
    const open = async () => {
      const attempt = await asAcme((db) => openAttempt(db, id, 'a', BY_ONE))
      await asAcme((db) => closeLostAttempt(db, id, 'a'))
      return attempt
    }
    expect(await open()).toMatchObject({ attempt_number: 1, is_repeat: false })
    expect(await open()).toMatchObject({ attempt_number: 2, is_repeat: true })
    await asAcme((db) =>
      db.query(`update distribution_deliveries set status = 'success' where distribution_job_id = $1`, [id]),
    )
    await asAcme((db) => requestRetry(db, id, { force: true }))
    expect(await open()).toMatchObject({ attempt_number: 3, is_repeat: false })
    expect(await open()).toMatchObject({ attempt_number: 4, is_repeat: true })
  })
})
