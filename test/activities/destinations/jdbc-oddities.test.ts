// Databases that are set up in ways that JDBC cannot write to, or that have a mind of their own.
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, expect, it, describe as suite } from 'vitest'
import { type Batch, batchesOf } from '../../../activities/destinations/jdbc/batches.ts'
import { rowsOf } from '../../../activities/destinations/jdbc/rows.ts'
import { DATABASE_KINDS, startDatabase, type TestDatabaseServer } from '../../support/receivers/databases.ts'
import { describeWith, INSTALL_MS } from '../../support/receivers/needs.ts'
import { startSwallower } from '../../support/swallow.ts'
import { failureOf, SECRET } from './contract.ts'
import { aConfig, aPayload, send } from './writing-rows.ts'

suite('a small payload of many rows, and a table of many columns', () => {
  it('is made into cells piece by piece', async () => {
    const names = Array.from({ length: 1000 }, (_, at) => `c${at}`)
    const url = 'jdbc:postgresql://database.test/reports'
    const mapped = aConfig({ url, table: 't', columns: Object.fromEntries(names.map((name) => [name, 'a'])) })
    const rows = await rowsOf(mapped, aPayload(`[${Array.from({ length: 100_000 }, () => '{"a":1}').join(',')}]`))
    expect(rows.count).toBe(100_000)
    const batches = batchesOf(rows.each(), { size: 10_000, column: (name) => ({ name, type: 'integer' }) })
    for (const first of [1, 101]) {
      const { value } = batches.next()
      expect(value).toMatchObject({ first })
      expect((value as Batch).rows).toHaveLength(100)
    }
  })
})

for (const kind of DATABASE_KINDS) {
  const describe = await describeWith(...(kind === 'MariaDB' ? (['mariadb'] as const) : []))
  const isPostgres = kind === 'PostgreSQL'

  describe(`oddities of ${kind}`, () => {
    let server: TestDatabaseServer
    let table: string
    let tables = 0

    beforeAll(async () => {
      server = await startDatabase(kind, { password: SECRET })
    }, INSTALL_MS)
    afterAll(() => server?.close())
    beforeEach(() => {
      tables += 1
      table = `t${tables}`
    })

    const config = (given: Record<string, unknown> = {}) => aConfig({ url: server.url(), table, ...given })

    // PostgreSQL is asked for nothing after the commit: its lock ends with the transaction.
    if (!isPostgres)
      it('an answer that is lost after the commit is no failure any more', async () => {
        await server.ask(`create table ${table} (id integer, delivery varchar(40))`)
        const swallower = await startSwallower({ host: '127.0.0.1', port: server.port }, /release_lock/)
        const url = server.url({ port: swallower.port })
        const { metadata } = await send(config({ url, delivery_id_column: 'delivery' }), aPayload({ id: 1 }))
        expect(metadata).toMatchObject({ rows: 1, repeat: false })
        await expect.poll(() => swallower.swallowed()).toBe(1)
        await send(config({ url, delivery_id_column: 'delivery' }), aPayload({ id: 2 }))
        expect(await server.ask(`select id from ${table} order by id`)).toEqual([{ id: '1' }, { id: '2' }])
        await swallower.close()
      })

    it('an answer that is lost after a repeat was seen is no failure either', async () => {
      await server.ask(`create table ${table} (id integer)`)
      const message = aPayload({ id: 1 }, { tenant_id: randomUUID() })
      await send(config(), message)
      const swallower = await startSwallower({ host: '127.0.0.1', port: server.port }, /rollback\0?$/)
      const { metadata } = await send(config({ url: server.url({ port: swallower.port }) }), message)
      expect(metadata).toMatchObject({ rows: 0, repeat: true })
      await expect.poll(() => swallower.swallowed()).toBe(1)
      await swallower.close()
    })

    it('a row that shows the same text in many columns is REJECTED before it fills the memory', async () => {
      const names = Array.from({ length: 200 }, (_, at) => `c${at}`)
      await server.ask(`create table ${table} (${names.map((name) => `${name} text`).join(', ')})`)
      const columns = Object.fromEntries(names.map((name) => [name, 'text']))
      const payload = [{ text: 'x' }, { text: 'x'.repeat(1024 * 1024) }]
      const error = await failureOf(send(config({ columns }), aPayload(payload)))
      expect(error).toMatchObject({ code: 'REJECTED', retryable: false })
      expect(error.message).toBe('row 2 is larger than 64 MiB')
      expect(await server.ask(`select c0 from ${table}`)).toEqual([])
    })

    it('a value that is nested deeper than can be written is REJECTED', async () => {
      await server.ask(`create table ${table} (id integer, value ${isPostgres ? 'text' : 'longtext'})`)
      const value = `${'['.repeat(3500)}${']'.repeat(3500)}`
      const error = await failureOf(send(config(), aPayload(`{"id": 1, "value": ${value}}`)))
      expect(error).toMatchObject({ code: 'REJECTED', retryable: false })
    })

    it.each([
      ['no key at all', ''],
      ['a key of more than the delivery', ', primary key (delivery_id, distribution_id)'],
      isPostgres ? ['a key for some rows', ''] : ['a key of the first letters alone', ', primary key (delivery_id(8))'],
    ])('a ledger with %s is MISCONFIGURED, for it could not tell a repeat', async (what, key) => {
      await server.ask(`create table ${table} (id integer)`)
      const ledger_table = `ledger_${tables}`
      await server.ask(
        `create table ${ledger_table} (delivery_id varchar(100) not null, distribution_id varchar(100), row_count integer${key})`,
      )
      if (what === 'a key for some rows') {
        await server.ask(`create unique index on ${ledger_table} (delivery_id) where row_count > 5`)
      }
      const error = await failureOf(send(config({ ledger_table }), aPayload({ id: 1 })))
      expect(error).toMatchObject({ code: 'MISCONFIGURED', retryable: false })
      expect(error.message).toContain(ledger_table)
      expect(await server.ask(`select * from ${table}`)).toEqual([])
    })

    it('rows that are large together are written in several statements', async () => {
      await server.ask(`create table ${table} (id integer, text ${isPostgres ? 'text' : 'longtext'})`)
      const payload = Array.from({ length: 9 }, (_, at) => ({ id: at + 1, text: 'x'.repeat(1024 * 512) }))
      const { metadata } = await send(config(), aPayload(payload))
      expect(metadata).toMatchObject({ rows: 9 })
      expect(await server.ask(`select count(*) as n, sum(length(text)) as l from ${table}`)).toEqual([
        { n: '9', l: String(9 * 1024 * 512) },
      ])
      const error = await failureOf(send(config(), aPayload([...payload, { id: 'none', text: 'x' }])))
      expect(error).toMatchObject({ code: 'REJECTED' })
      expect(error.message).toContain('column "id", row 10')
    })

    const UNWRITABLE: [what: string, statement: string, row: object][] = [
      [
        'a view of two tables',
        'create view NAME as select a.y, b.id from base a join base b on a.id = b.id',
        { id: 1, y: 2 },
      ],
      ['a view that counts', 'create view NAME as select count(*) as id from base', { id: 1 }],
      ['a view of an expression', 'create view NAME as select id + 1 as id from base', { id: 1 }],
      [
        'a column that is computed',
        `create table NAME (y integer, id integer ${isPostgres ? 'generated always ' : ''}as (y * 2) stored)`,
        { id: 1, y: 2 },
      ],
    ]
    if (isPostgres) {
      UNWRITABLE.push(['an identity', 'create table NAME (id integer generated always as identity)', { id: 1 }])
    }

    it.each(UNWRITABLE)('%s is MISCONFIGURED', async (_what, statement, row) => {
      await server.ask('create table if not exists base (id integer primary key, y integer)')
      await server.ask(statement.replace('NAME', table))
      const error = await failureOf(send(config(), aPayload(row)))
      expect(error).toMatchObject({ code: 'MISCONFIGURED', retryable: false })
      expect(error.message).toContain('does not support this way of writing')
    })

    it('a row that no partition takes, and one that a view does not show, are REJECTED', async () => {
      const partition = isPostgres ? '' : ' (partition p values less than (10))'
      await server.ask(`create table ${table} (id integer) partition by range (id)${partition}`)
      expect(await failureOf(send(config(), aPayload({ id: 10 })))).toMatchObject({
        code: 'REJECTED',
        retryable: false,
      })
      await server.ask(`create table rows_${tables} (id integer)`)
      await server.ask(`create view view_${tables} as select id from rows_${tables} where id < 10 with check option`)
      const error = await failureOf(send(config({ table: `view_${tables}` }), aPayload({ id: 10 })))
      expect(error).toMatchObject({ code: 'REJECTED', retryable: false })
    })

    it('a view that leaves out a column without default is final', async () => {
      await server.ask(`create table ${table} (id integer, y integer not null)`)
      await server.ask(`create view view_${tables} as select id from ${table}`)
      const error = await failureOf(send(config({ table: `view_${tables}` }), aPayload({ id: 1 })))
      expect(error).toMatchObject({ code: 'REJECTED', retryable: false })
    })

    it('a trigger that cannot work is final', async () => {
      await server.ask(`create table ${table} (id integer)`)
      if (isPostgres) {
        await server.ask(`create function f${tables}() returns trigger language plpgsql as $$ begin end $$`)
        await server.ask(`create trigger x before insert on ${table} for each row execute function f${tables}()`)
      } else {
        await server.ask(`create trigger x${tables} before insert on ${table} for each row update ${table} set id = 2`)
      }
      expect((await failureOf(send(config(), aPayload({ id: 1 })))).retryable).toBe(false)
    })

    if (!isPostgres) {
      it('a ledger whose engine has no transactions is MISCONFIGURED, and nothing is entered', async () => {
        await server.ask(`create table ${table} (id integer)`)
        await server.ask(
          `create table ledger_${tables} (delivery_id varchar(100) primary key, distribution_id varchar(100), row_count integer) engine = MyISAM`,
        )
        // The entry would outlast the refusal, and the next attempt would take it for a success.
        const error = await failureOf(send(config({ ledger_table: `ledger_${tables}` }), aPayload({ id: 'x' })))
        expect(error).toMatchObject({ code: 'MISCONFIGURED', retryable: false })
        expect(error.message).toContain(`ledger_${tables}`)
        expect(await server.ask(`select * from ledger_${tables}`)).toEqual([])
      })

      it('a trigger’s changes to the session do not affect the next delivery', async () => {
        await server.ask(`create table ${table} (id integer, at timestamp null)`)
        await server.ask(
          `create trigger x${tables} after insert on ${table} for each row set session time_zone = '+05:00'`,
        )
        for (const id of [1, 2]) await send(config(), aPayload({ id, at: '2026-06-01T10:00:00Z' }))
        expect(await server.ask(`select id, at from ${table} order by id`)).toEqual([
          { id: '1', at: '2026-06-01 10:00:00' },
          { id: '2', at: '2026-06-01 10:00:00' },
        ])
      })

      it('a server that has no prepared statements left is tried again', async () => {
        await server.ask(`create table ${table} (id integer)`)
        await server.ask('set global max_prepared_stmt_count = 0', 'admin')
        const error = await failureOf(send(config(), aPayload({ id: 1 }, { tenant_id: randomUUID() })))
        expect(error.retryable).toBe(true)
        await server.ask('set global max_prepared_stmt_count = default', 'admin')
      })
    }

    if (isPostgres) {
      it('a trigger’s changes to the session do not affect the next delivery', async () => {
        await server.ask(`create table ${table} (id integer, path text default current_setting('search_path'))`)
        await server.ask(
          `create function f${tables}() returns trigger language plpgsql as $$ begin
             create temp table left_behind (id integer);
             perform set_config('search_path', 'pg_catalog', false);
             return null;
           end $$`,
        )
        await server.ask(`create trigger x after insert on ${table} for each statement execute function f${tables}()`)
        for (const id of [1, 2]) await send(config(), aPayload({ id }))
        expect(await server.ask(`select id, path from ${table} order by id`)).toEqual([
          { id: '1', path: '"$user", public' },
          { id: '2', path: '"$user", public' },
        ])
      })
    }
  })
}
