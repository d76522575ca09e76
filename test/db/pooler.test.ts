// Our own database behind PgBouncer in transaction mode: the API and the workers do what they always do, and whoever gets a
// connection next finds nothing of it.
import { afterAll, beforeAll, expect, it } from 'vitest'
import { knownMigrations, migrate } from '../../db/upkeep/migrate.ts'
import { type ApiUnderTest, aSubmission, startApi } from '../api/api-under-test.ts'
import { createEmptyDatabase, startTestServer, type TestServer } from '../support/postgres.ts'
import { describeWith, INSTALL_MS } from '../support/receivers/needs.ts'
import { receiverPerTest } from '../support/receivers/per-test.ts'
import { type Pgbouncer, startPgbouncer } from '../support/receivers/pgbouncer.ts'
import { createTestSystem, restTo, type TestSystem } from '../support/system.ts'

const describe = await describeWith('pgbouncer')
const NAMES = ['statement_timeout', 'idle_in_transaction_session_timeout', 'app.tenant_id', 'lock_timeout']

describe('our database behind a pooler', () => {
  let pooler: Pgbouncer | undefined

  async function behindPooler(url: string): Promise<string> {
    pooler ??= await startPgbouncer({
      port: Number(new URL(url).port),
      users: [{ name: 'test_login', password: 'test' }],
    })
    return pooler.through(url)
  }

  async function leavesNothing(url: string): Promise<void> {
    const found = await pooler!.settings(url, NAMES)
    expect(found).toHaveLength(3)
    for (const settings of found) {
      expect(settings).toMatchObject({
        statement_timeout: '0',
        idle_in_transaction_session_timeout: '0',
        lock_timeout: '0',
      })
      // Once a transaction has set it, PostgreSQL knows it as empty.
      expect(settings['app.tenant_id'] ?? '').toBe('')
    }
  }

  describe('the API', () => {
    let server: TestServer
    let api: ApiUnderTest
    let url: string

    beforeAll(async () => {
      server = await startTestServer()
      const port = Number(new URL(server.url).port)
      pooler = await startPgbouncer({
        port,
        users: ['test_login', 'test_owner'].map((name) => ({ name, password: 'test' })),
      })
      api = await startApi({
        server,
        databaseUrl: (own) => {
          url = own
          return pooler!.through(own)
        },
      })
    }, INSTALL_MS)
    afterAll(async () => {
      await api?.close()
      await pooler?.close()
      pooler = undefined
      await server?.stop()
    })

    it('many parallel calls of two tenants each see only the rows of their own tenant', async () => {
      const calls = Array.from({ length: 40 }, (_, at) => {
        const key = at % 2 === 0 ? api.keys.acme.operator : api.keys.other.operator
        return api.call('POST', '/distribution/submit', aSubmission({ payload: { at } }), { key })
      })
      const accepted = await Promise.all(calls)
      expect(accepted.map(({ status }) => status)).toEqual(Array.from({ length: 40 }, () => 202))
      const lists = await Promise.all(
        [api.keys.acme.viewer, api.keys.other.viewer].map((key) =>
          api.call('GET', '/distribution/list?limit=100', undefined, { key }),
        ),
      )
      for (const [at, { body }] of lists.entries()) {
        const own = accepted.filter((_, number) => number % 2 === at).map(({ body }) => body.distribution_id)
        expect(body.distributions.map((each: { distribution_id: string }) => each.distribution_id).sort()).toEqual(
          own.sort(),
        )
      }
      await leavesNothing(url)
    })

    it('migrations ask for a direct connection, and change nothing', async () => {
      const own = await createEmptyDatabase({ server })
      await expect(migrate(pooler!.through(own.adminUrl))).rejects.toThrow('need a direct connection to PostgreSQL')
      await expect(migrate(own.adminUrl)).resolves.toHaveLength(knownMigrations().length)
      await own.close()
    })

    it('writes of every kind, and refusals, leave nothing', async () => {
      const key = api.keys.acme.admin
      const statuses = await Promise.all([
        api.call('GET', '/tenants/acme', undefined, { key }),
        api.call('GET', '/destinations', undefined, { key }),
        api.call('GET', '/distribution/status/00000000-0000-7000-8000-000000000000', undefined, { key }),
        api.call('POST', '/distribution/submit', { data_type: 1 }, { key }),
        api.call('POST', '/distribution/submit', aSubmission(), { key, headers: { 'Idempotency-Key': 'a' } }),
        api.call('POST', '/distribution/submit', aSubmission(), { key, headers: { 'Idempotency-Key': 'a' } }),
      ])
      for (const { status } of statuses) expect(status).toBeLessThan(500)
      await leavesNothing(url)
    })
  })

  describe('workers', () => {
    let system: TestSystem
    const aReceiver = receiverPerTest()

    beforeAll(async () => {
      system = await createTestSystem({ workerDatabaseUrl: behindPooler })
      await system.tenant('acme')
      await system.startWorkers()
    }, INSTALL_MS)
    afterAll(async () => {
      await system?.close()
      await pooler?.close()
    })

    it('deliver, and try again', async () => {
      const receiver = await aReceiver([{ status: 503 }, ...Array.from({ length: 20 }, () => ({ status: 200 }))])
      const refs = await Promise.all(
        Array.from({ length: 8 }, () => system.distribute({ destinations: [restTo('a', receiver.url)] })),
      )
      for (const ref of refs) {
        await expect.poll(async () => (await system.job(ref)).status, { timeout: 20_000 }).toBe('completed')
      }
      await leavesNothing(system.database.url)
    })
  })
})
