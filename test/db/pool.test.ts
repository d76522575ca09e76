// What a transaction does when its connection is lost.
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { isUnavailable } from '../../db/availability.ts'
import { createPool, type Pool, withTenant } from '../../db/pool.ts'
import { createTestDatabase, type TestDatabase } from '../support/postgres.ts'
import { startProxy, type TcpProxy } from '../support/proxy.ts'

let database: TestDatabase
let pool: Pool
let proxy: TcpProxy
let proxied: Pool

beforeAll(async () => {
  database = await createTestDatabase()
  pool = createPool({ connectionString: database.url, max: 2, application_name: 'pool-test' })
  const url = new URL(database.url)
  proxy = await startProxy({ host: url.hostname, port: Number(url.port) })
  url.hostname = '127.0.0.1'
  url.port = String(proxy.port)
  proxied = createPool({ connectionString: url.href, max: 1, application_name: 'pool-test-proxied' })
})
afterAll(async () => {
  await Promise.all([pool.end(), proxied.end()])
  await proxy.close()
  await database.close()
})

describe('a transaction', () => {
  it('whose connection ends between two statements fails, and the process continues', async () => {
    const work = withTenant(pool, 'acme', async (db) => {
      const { rows } = await db.query<{ pid: number }>('select pg_backend_pid() as pid')
      // Not events.once: it rejects when an error comes first, and the statement below would never be asked.
      const ended = new Promise<void>((resolve) => (db as pg.PoolClient).once('end', resolve))
      await pool.query('select pg_terminate_backend($1)', [rows[0]!.pid])
      await ended
      await turn()
      await db.query('select 1')
    })
    await expect(work).rejects.toThrow()
    expect(await withTenant(pool, 'acme', (db) => db.query('select 1'))).toMatchObject({ rowCount: 1 })
  })

  it('does not hold its locks for ever when its process has vanished', async () => {
    const { rows } = await withTenant(pool, 'acme', (db) => db.query('show idle_in_transaction_session_timeout'))
    expect(rows).toEqual([{ idle_in_transaction_session_timeout: '1min' }])
    expect((await pool.query('show idle_in_transaction_session_timeout')).rows).toEqual([
      { idle_in_transaction_session_timeout: '0' },
    ])
  })

  it.each([
    ['after a migration that changes a column', 'alter table destinations alter column status type varchar(24)'],
    ['after their session has lost its statements', null],
  ])('with planned statements goes on after one failure that may be repeated: %s', async (_, change) => {
    const own = createPool({ connectionString: database.url, max: 3, application_name: 'pool-test-plans' })
    let changed = false
    const statusOf = () =>
      withTenant(
        own,
        'acme',
        async (db) => {
          const { rows } = await db.query('select status from destinations where name = $1', ['a'])
          // Long enough for three transactions at once to have a connection each.
          if (!changed) await sleep(100)
          return rows
        },
        { planOnce: true },
      )
    expect(await Promise.all([statusOf(), statusOf(), statusOf()])).toEqual([[], [], []])
    if (change) {
      const owner = new pg.Client({ connectionString: database.adminUrl })
      await owner.connect()
      await owner.query(change)
      await owner.end()
    } else await withTenant(own, 'acme', (db) => db.query('deallocate all'))
    changed = true
    const outcomes: unknown[] = []
    for (let i = 0; i < 8; i += 1) outcomes.push(await statusOf().catch(isUnavailable))
    expect(outcomes).toEqual([true, [], [], [], [], [], [], []])
    await own.end()
  })

  it('on a connection that died silently fails soon, and a new connection replaces it', async () => {
    await withTenant(proxied, 'acme', (db) => db.query('select 1'))
    proxy.silence()
    await expect(withTenant(proxied, 'acme', (db) => db.query('select 1'))).rejects.toThrow('timeout')
    proxy.mend()
    expect(await withTenant(proxied, 'acme', (db) => db.query('select 1'))).toMatchObject({ rowCount: 1 })
  }, 30_000)
})

describe('a pool', () => {
  it('closes even if its server is frozen', async () => {
    const url = new URL(database.url)
    Object.assign(url, { hostname: '127.0.0.1', port: String(proxy.port) })
    const ending = createPool({ connectionString: url.href, max: 2, application_name: 'pool-test-ending' })
    await Promise.all([1, 2].map(() => withTenant(ending, 'acme', (db) => db.query('select pg_sleep(0.1)'))))
    proxy.silence()
    const began = performance.now()
    await ending.end()
    proxy.mend()
    expect(performance.now() - began).toBeLessThan(10_000)
  }, 30_000)

  it('drops a connection to a read-only server, and uses a writable one next', async () => {
    const server = new pg.Client({ connectionString: database.superuserUrl })
    await server.connect()
    const one = createPool({ connectionString: database.url, max: 1, application_name: 'pool-test-standby' })
    const write = () =>
      withTenant(one, 'acme', (db) => db.query(`insert into api_rate_limits select * from api_rate_limits limit 0`))
    try {
      await server.query(`alter database ${database.name} set default_transaction_read_only = on`)
      await expect(write()).rejects.toMatchObject({ code: '25006' })
      await server.query('set default_transaction_read_only = off')
      await server.query(`alter database ${database.name} reset default_transaction_read_only`)
      expect(await write()).toMatchObject({ command: 'INSERT' })
    } finally {
      await one.end()
      await server.end()
    }
  })
})

describe('the transactions of one tenant', () => {
  it('never hold all connections: others go on, and its own wait or fail after 3 s', async () => {
    const five = createPool({ connectionString: database.url, max: 5, application_name: 'pool-test-five' })
    let letGo = () => {}
    const held = new Promise<void>((resolve) => {
      letGo = resolve
    })
    const begun: number[] = []
    const hold = (n: number) =>
      withTenant(five, 'greedy', async () => {
        begun.push(n)
        await held
      })
    try {
      const holding = [1, 2, 3, 4].map(hold)
      await expect.poll(() => begun.length).toBe(4)
      const refused = expect(hold(5)).rejects.toMatchObject({
        code: 'TENANT_BUSY',
        message: 'too many transactions of this tenant at once',
      })
      expect(await withTenant(five, 'acme', (db) => db.query('select 1'))).toMatchObject({ rowCount: 1 })
      await refused
      const waiting = hold(6)
      letGo()
      await Promise.all([...holding, waiting])
      expect(begun.slice(4)).toEqual([6])
    } finally {
      letGo()
      await five.end()
    }
  })

  it('fail as a database that is away when it does not answer', async () => {
    const url = new URL(database.url)
    Object.assign(url, { hostname: '127.0.0.1', port: String(proxy.port) })
    const five = createPool({ connectionString: url.href, max: 5, application_name: 'pool-test-silent' })
    let begun = 0
    try {
      const holding = [1, 2, 3, 4].map(() =>
        withTenant(five, 'greedy', async (db) => {
          begun += 1
          await db.query('select pg_sleep(20)')
        }).catch((error: unknown) => error),
      )
      await expect.poll(() => begun).toBe(4)
      proxy.silence()
      await expect(withTenant(five, 'greedy', (db) => db.query('select 1'))).rejects.toMatchObject({
        code: 'POOL_TIMEOUT',
      })
      for (const error of await Promise.all(holding)) expect(error).toMatchObject({ code: 'DATABASE_UNAVAILABLE' })
    } finally {
      proxy.mend()
      await five.end()
    }
  }, 30_000)

  it('time out together with those of others when the pool is full for all', async () => {
    const two = createPool({ connectionString: database.url, max: 2, application_name: 'pool-test-full' })
    const held = await Promise.all([two.connect(), two.connect()])
    try {
      await expect(withTenant(two, 'acme', (db) => db.query('select 1'))).rejects.toMatchObject({
        code: 'POOL_TIMEOUT',
      })
    } finally {
      for (const client of held) client.release()
      await two.end()
    }
  })
})
