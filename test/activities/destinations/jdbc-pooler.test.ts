// A PostgreSQL behind PgBouncer in transaction mode: deliveries do what they do on a connection of their own, and leave
// nothing behind for whoever gets the connection next.
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { startDatabase, type TestDatabaseServer } from '../../support/receivers/databases.ts'
import { describeWith, INSTALL_MS } from '../../support/receivers/needs.ts'
import { type Pgbouncer, startPgbouncer } from '../../support/receivers/pgbouncer.ts'
import { failureOf, SECRET } from './contract.ts'
import { aConfig, aPayload, send } from './writing-rows.ts'

const describe = await describeWith('pgbouncer')

const SETTINGS = {
  statement_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  TimeZone: 'Asia/Tokyo',
  DateStyle: 'SQL, DMY',
  IntervalStyle: 'sql_standard',
  bytea_output: 'escape',
  search_path: 'public',
  work_mem: '3MB',
}

describe('PostgreSQL behind a pooler', () => {
  let server: TestDatabaseServer
  let pooler: Pgbouncer
  let table: string
  let tables = 0

  beforeAll(async () => {
    server = await startDatabase('PostgreSQL', { password: SECRET })
    for (const [name, value] of Object.entries(SETTINGS)) {
      await server.ask(`alter role ${server.user} set ${name} = '${value}'`, 'admin')
    }
    await server.ask('create schema elsewhere', 'user')
    pooler = await startPgbouncer({ port: server.port, users: [{ name: server.user, password: SECRET }] })
  }, INSTALL_MS)
  afterAll(async () => {
    await pooler?.close()
    await server?.close()
  })
  beforeEach(async () => {
    tables += 1
    table = `t${tables}`
    await server.ask(`create table ${table} (id integer primary key, delivery varchar(64), at timestamptz)`)
  })

  const config = (given: Record<string, unknown> = {}) =>
    aConfig({ url: server.url({ port: pooler.port }), table, ...given })
  const url = () => `postgres://${server.user}:${SECRET}@127.0.0.1/reports`

  async function leavesNothing(): Promise<void> {
    for (const found of await pooler.settings(url(), Object.keys(SETTINGS))) expect(found).toMatchObject(SETTINGS)
    expect(await server.ask("select 1 as one from pg_locks where locktype = 'advisory'", 'admin')).toEqual([])
  }

  it.each([
    ['a ledger', {}],
    ['a column of its own', { delivery_id_column: 'delivery' }],
    ['upserts', { mode: 'upsert', key_columns: ['id'] }],
    ['a column of its own, at repeatable read', { delivery_id_column: 'delivery', isolation_level: 'repeatable_read' }],
    ['settings in the URL', { parameters: '&options=-c%20work_mem%3D9MB%20--search-path%3Delsewhere,public' }],
    ['a schema in the URL', { parameters: '&currentSchema=public,elsewhere' }],
  ])('with %s: many at once, and repeats', async (_title, { parameters = '', ...given }: Record<string, unknown>) => {
    const own = config({ ...given, url: `${server.url({ port: pooler.port })}${parameters}` })
    const messages = Array.from({ length: 24 }, (_, id) => aPayload([{ id, at: '2026-02-28 10:00:00' }]))
    await Promise.all(messages.map((message) => send(own, message)))
    const again = await Promise.all(messages.map((message) => send(own, { ...message, attempt_number: 2 })))
    for (const { metadata } of again) expect(metadata).toMatchObject({ rows: 0, repeat: true })
    const at = "to_char(at at time zone 'UTC', 'YYYY-MM-DD HH24:MI') as at"
    expect(await server.ask(`select count(*) as n, min(id) as least, ${at} from ${table} group by at`)).toEqual([
      { n: '24', least: '0', at: '2026-02-28 10:00' },
    ])
    await leavesNothing()
  })

  it.each(['read_committed', 'repeatable_read', 'serializable'])(
    'attempts of one delivery at the same time, at %s, write once between them',
    async (isolation_level) => {
      const own = config({ delivery_id_column: 'delivery', isolation_level })
      const message = aPayload([{ id: 1 }, { id: 2 }])
      const outcomes = await Promise.allSettled(Array.from({ length: 8 }, () => send(own, message)))
      const done = outcomes.filter((outcome) => outcome.status === 'fulfilled').map(({ value }) => value.metadata)
      expect(done.filter((metadata) => metadata?.repeat === false)).toHaveLength(1)
      expect(await server.ask(`select id from ${table} order by id`)).toEqual([{ id: '1' }, { id: '2' }])
      await leavesNothing()
    },
  )

  it('a refusal, a column that does not exist and a time-out leave nothing either', async () => {
    const refused = await failureOf(send(config(), aPayload([{ id: 1, at: '01/02/2026' }])))
    expect(refused).toMatchObject({ code: 'REJECTED' })
    expect(await failureOf(send(config(), aPayload([{ id: 99_999_999_999 }])))).toMatchObject({ code: 'REJECTED' })
    expect(await failureOf(send(config(), aPayload([{ no: 1 }])))).toMatchObject({ code: 'MISCONFIGURED' })
    const blocker = await server.session()
    await blocker.ask(`begin; lock table ${table}`)
    const late = config({ delivery_id_column: 'delivery', timeout_seconds: 0.5 })
    expect(await failureOf(send(late, aPayload({ id: 1 })))).toMatchObject({ code: 'TIMEOUT' })
    await blocker.ask('rollback')
    await blocker.end()
    await expect
      .poll(async () => (await server.ask("select 1 as one from pg_locks where locktype = 'advisory'", 'admin')).length)
      .toBe(0)
    await leavesNothing()
  })
})
