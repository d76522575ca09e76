// What JDBC adds to the contract, on real servers: rows and columns of a payload, ways to write them, one transaction
// and one effect per delivery, and what a refusal means.
import { randomUUID } from 'node:crypto'
import { inspect } from 'node:util'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import type { Message } from '../../../activities/destinations/destination.ts'
import {
  DATABASE_KINDS,
  type Session,
  startDatabase,
  type TestDatabaseServer,
} from '../../support/receivers/databases.ts'
import { describeWith, INSTALL_MS } from '../../support/receivers/needs.ts'
import { startSwallower } from '../../support/swallow.ts'
import { failureOf, SECRET } from './contract.ts'
import { aConfig, aPayload, send } from './writing-rows.ts'

const ORDER = {
  order: { id: 7, customer: { name: 'Ann' } },
  items: [
    { sku: 'a', amounts: [1, 2], tags: { 'odd.key': 'x' } },
    { sku: 'b', amounts: [3] },
  ],
}

for (const kind of DATABASE_KINDS) {
  const describe = await describeWith(...(kind === 'MariaDB' ? (['mariadb'] as const) : []))
  const isPostgres = kind === 'PostgreSQL'

  describe(`JDBC on ${kind}`, () => {
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
    const create = (columns: string) => server.ask(`create table ${table} (${columns})`)
    const read = (columns = '*') => server.ask(`select ${columns} from ${table} order by 1`)
    const refusal = async (given: Record<string, unknown>, payload: unknown) =>
      failureOf(send(config(given), aPayload(payload)))

    /** Until a session of the product waits for somebody's lock. */
    async function untilWaiting(): Promise<void> {
      const question = isPostgres
        ? "select 1 as one from pg_stat_activity where wait_event_type = 'Lock' and usename = 'distributor'"
        : "select 1 as one from information_schema.innodb_trx where trx_state = 'LOCK WAIT'"
      // InnoDB looks anew only when nobody asked for a tenth of a second.
      await expect.poll(async () => (await server.ask(question, 'admin')).length, { interval: 150 }).toBeGreaterThan(0)
    }

    async function blocking<T>(statements: string[], run: (blocker: Session) => Promise<T>): Promise<T> {
      const blocker = await server.session('admin')
      try {
        await blocker.ask('start transaction')
        for (const statement of statements) await blocker.ask(statement)
        return await run(blocker)
      } finally {
        await blocker.end()
      }
    }

    describe('rows and columns', () => {
      it('an object is one row, and its keys are the columns', async () => {
        await create("id integer, name varchar(20), place varchar(20) default 'here'")
        const receipt = await send(config(), aPayload({ id: 1, name: 'x' }))
        expect(receipt).toEqual({ status: null, body: null, metadata: { table, rows: 1, repeat: false } })
        expect(await read()).toEqual([{ id: '1', name: 'x', place: 'here' }])
      })

      it('rows of different keys are each left to the defaults of the columns that they lack', async () => {
        await create("id integer, name varchar(20) default 'nobody', place varchar(20) default 'here'")
        await send(
          config(),
          aPayload([{ id: 1 }, { id: 2, name: 'x' }, { id: 3, name: null, place: 'there' }, { id: 4 }]),
        )
        expect(await read()).toEqual([
          { id: '1', name: 'nobody', place: 'here' },
          { id: '2', name: 'x', place: 'here' },
          { id: '3', name: null, place: 'there' },
          { id: '4', name: 'nobody', place: 'here' },
        ])
      })

      it('rows_path says where they are, and columns where in a row each value is', async () => {
        await create(
          'sku varchar(9), first_amount integer, last_amount integer, tag varchar(9), doc text, order_id integer, who varchar(99)',
        )
        await send(
          config({
            rows_path: 'items',
            columns: {
              sku: 'sku',
              first_amount: { path: 'amounts[0]', required: true },
              last_amount: 'amounts[1]',
              tag: 'tags["odd.key"]',
              doc: '$',
              order_id: { value: '{payload.order.id}' },
              who: { value: '{payload.order.customer.name} of {tenant_id}' },
            },
          }),
          aPayload(ORDER),
        )
        const shared = { order_id: '7', who: 'Ann of acme' }
        expect(await read()).toEqual([
          { sku: 'a', first_amount: '1', last_amount: '2', tag: 'x', doc: JSON.stringify(ORDER.items[0]), ...shared },
          { sku: 'b', first_amount: '3', last_amount: null, tag: null, doc: JSON.stringify(ORDER.items[1]), ...shared },
        ])
      })

      it('no rows are a success that writes nothing', async () => {
        await create('id integer')
        const receipt = await send(config(), aPayload([]))
        expect(receipt.metadata).toMatchObject({ rows: 0, repeat: false })
        expect(await read()).toEqual([])
      })

      it.each([
        ['a text', '"text"', {}, 'the payload is a text'],
        ['an array with a number', '[{"id": 1}, 2]', {}, 'the payload has a number for row 2'],
        ['no JSON', 'id;name', {}, 'is not JSON'],
        ['nothing at rows_path', '{"a": 1}', { rows_path: 'items' }, '"items" in the payload is missing'],
        ['null at rows_path', '{"items": null}', { rows_path: 'items' }, '"items" in the payload is null'],
        ['an empty row', '[{"id": 1}, {}]', {}, 'row 2 fills no column'],
        [
          'a row without what a column requires',
          '[{"id": 1}, {"id": null}]',
          { columns: { id: { path: 'id', required: true } } },
          'row 2 has no value at "id", which column "id" requires',
        ],
      ])('a payload that is %s is refused for good', async (_title, payload, given, says) => {
        await create('id integer')
        const error = await refusal(given, payload)
        expect(error).toMatchObject({ code: 'REJECTED', retryable: false })
        expect(error.message).toContain(says)
        expect(await read()).toEqual([])
      })

      it('a column that does not exist is MISCONFIGURED and named', async () => {
        await create('id integer')
        const error = await refusal({}, { id: 1, colour: 'red' })
        expect(error).toMatchObject({ code: 'MISCONFIGURED', retryable: false })
        expect(error.message).toContain('no column "colour"')
      })

      it('a column that was added or changed since the last delivery is seen at once', async () => {
        await create('id smallint')
        await send(config(), aPayload({ id: 1 }))
        await server.ask(`alter table ${table} add name varchar(20)`)
        await server.ask(`alter table ${table} ${isPostgres ? 'alter id type bigint' : 'modify id bigint'}`)
        await send(config(), aPayload({ id: 9_000_000_000, name: 'x' }))
        expect(await read()).toEqual([
          { id: '1', name: null },
          { id: '9000000000', name: 'x' },
        ])
      })

      it('names with quotation marks, spaces, upper case and placeholders stay names', async () => {
        const odd = `Odd "T\`able'; drop table x; -- ${tables}`
        const column = `a "b\`c' {x} $1 ?`
        await server.ask(
          `create table ${server.quoted(odd)} (${server.quoted(column)} varchar(20), ${server.quoted('Id')} integer)`,
        )
        const quoted = `"${odd.replaceAll('"', '""')}"`
        await send(
          aConfig({ url: server.url(), table: quoted, columns: { [column]: 'x', Id: 'y' } }),
          aPayload([{ x: "'; drop table x; --", y: 1 }]),
        )
        expect(await server.ask(`select * from ${server.quoted(odd)}`)).toEqual([
          { [column]: "'; drop table x; --", Id: '1' },
        ])
      })

      it('a table of another schema, with a ledger beside it', async () => {
        await server.ask(`create ${isPostgres ? 'schema' : 'database'} ${server.quoted(`Sales ${tables}`)}`, 'admin')
        const schema = server.quoted(`Sales ${tables}`)
        const grants = isPostgres
          ? [`grant all on schema ${schema} to distributor`]
          : [`grant all on ${schema}.* to distributor@'%'`]
        for (const grant of grants) await server.ask(grant, 'admin')
        await server.ask(`create table ${schema}.orders (id integer)`)
        await send(config({ table: `Sales ${tables}.orders` }), aPayload({ id: 1 }))
        expect(await server.ask(`select row_count from ${schema}.distributor_deliveries`)).toEqual([{ row_count: '1' }])
      })
    })

    describe('modes', () => {
      const rows = [
        { id: 1, name: 'new' },
        { id: 2, name: 'two' },
      ]

      it('insert refuses a key that is there, by the name of the constraint and without its value', async () => {
        await create('id integer, name varchar(40), constraint only_names unique (name)')
        await server.ask(`insert into ${table} values (9, 'zq7-secret')`)
        const error = await refusal({}, [
          { id: 1, name: 'fine' },
          { id: 2, name: 'zq7-secret' },
        ])
        expect(error).toMatchObject({ code: 'REJECTED', retryable: false })
        expect(error.message).toContain('constraint "only_names"')
        expect(inspect(error, { showHidden: true, depth: 10 })).not.toContain('zq7')
        expect(await read()).toHaveLength(1)
      })

      it('upsert overwrites what has the same key, and only the columns that it fills', async () => {
        await create('id integer primary key, name varchar(40), kept varchar(9)')
        await server.ask(`insert into ${table} values (1, 'old', 'kept')`)
        const receipt = await send(config({ mode: 'upsert', key_columns: ['id'] }), aPayload(rows))
        expect(receipt.metadata).toMatchObject({ rows: 2 })
        expect(await read()).toEqual([
          { id: '1', name: 'new', kept: 'kept' },
          { id: '2', name: 'two', kept: null },
        ])
      })

      it('upsert lets the later of two rows with one key win', async () => {
        await create('id integer primary key, name varchar(40)')
        const payload = [
          { id: 1, name: 'a' },
          { id: 2, name: 'b' },
          { id: 1, name: 'c' },
        ]
        await send(config({ mode: 'upsert', key_columns: ['id'] }), aPayload(payload))
        expect(await read()).toEqual([
          { id: '1', name: 'c' },
          { id: '2', name: 'b' },
        ])
      })

      it.each([[['id']], [undefined]])(
        'ignore leaves alone what has the same key, with key_columns %s',
        async (keys) => {
          await create('id integer primary key, name varchar(40)')
          await server.ask(`insert into ${table} values (1, 'old')`)
          const receipt = await send(config({ mode: 'ignore', ...(keys && { key_columns: keys }) }), aPayload(rows))
          expect(receipt.metadata).toMatchObject({ rows: 1 })
          expect(await read()).toEqual([
            { id: '1', name: 'old' },
            { id: '2', name: 'two' },
          ])
        },
      )

      it('ignore still refuses a value that does not fit', async () => {
        await create('id integer primary key, name varchar(3)')
        const error = await refusal({ mode: 'ignore', key_columns: ['id'] }, { id: 1, name: 'too long' })
        expect(error).toMatchObject({ code: 'REJECTED' })
        expect(await read()).toEqual([])
      })
    })

    describe('constraints', () => {
      it.each([
        ['id integer not null, name varchar(9)', { id: null, name: 'x' }, 'column "id"'],
        ['id integer not null, name varchar(9)', { name: 'x' }, 'column "id"'],
        ['id integer, constraint small check (id < 10)', { id: 99 }, 'constraint "small"'],
        [
          'id integer primary key, other integer, constraint known foreign key (other) references SELF (id)',
          { id: 1, other: 2 },
          'constraint "known"',
        ],
      ])('%s: %s is REJECTED and names it', async (columns, row, says) => {
        await create(columns.replace('SELF', table))
        const error = await refusal({}, row)
        expect(error).toMatchObject({ code: 'REJECTED', retryable: false })
        expect(error.message).toContain(says)
      })

      it('an error that the database raises by itself is REJECTED, and its words are not told', async () => {
        await create('id integer')
        if (isPostgres) {
          await server.ask(`create function refuse_${tables}() returns trigger language plpgsql as
            $$ begin raise exception 'zq7 %', new.id; end $$`)
          await server.ask(
            `create trigger refuse before insert on ${table} for each row execute function refuse_${tables}()`,
          )
        } else {
          await server.ask(`create trigger refuse_${tables} before insert on ${table} for each row
            signal sqlstate '45000' set message_text = 'zq7 refused'`)
        }
        const error = await refusal({}, { id: 1 })
        expect(error).toMatchObject({ code: 'REJECTED', retryable: false })
        expect(inspect(error, { showHidden: true, depth: 10 })).not.toContain('zq7')
      })
    })

    describe('one transaction', () => {
      it.each([
        ['read_committed', 'read committed', 'READ-COMMITTED'],
        ['repeatable_read', 'repeatable read', 'REPEATABLE-READ'],
        ['serializable', 'serializable', 'SERIALIZABLE'],
      ])('runs at %s', async (isolation_level, postgres, mariadb) => {
        if (isPostgres) await create("id integer, level varchar(40) default current_setting('transaction_isolation')")
        else {
          await create('id integer, level varchar(40)')
          await server.ask(
            `create trigger level_${tables} before insert on ${table} for each row set new.level = @@tx_isolation`,
          )
        }
        await send(config({ isolation_level }), aPayload({ id: 1 }))
        expect(await read()).toEqual([{ id: '1', level: isPostgres ? postgres : mariadb }])
      })

      it('holds 5,000 rows in ten statements', async () => {
        const statements = isPostgres ? 'query varchar(40)' : 'query varchar(40), at_row bigint'
        await create(`id integer primary key, name varchar(40), ${statements}`)
        const rows = Array.from({ length: 5_000 }, (_, id) => ({ id, name: `name ${id}` }))
        const counting = isPostgres ? 'Com_insert' : 'Com_stmt_execute'
        const count = async () =>
          isPostgres ? 0 : Number((await server.ask(`show global status like '${counting}'`, 'admin'))[0]!.Value)
        const before = await count()
        const receipt = await send(config({ batch_size: 500 }), aPayload(rows))
        expect(receipt.metadata).toMatchObject({ rows: 5_000 })
        const [{ n, last } = {}] = await read('count(*) as n, max(id) as last')
        expect([n, last]).toEqual(['5000', '4999'])
        if (isPostgres) {
          // One transaction, and a command of its own for each statement in it.
          expect(
            await read('count(distinct xmin::text) as transactions, count(distinct cmin::text) as statements'),
          ).toEqual([{ transactions: '1', statements: '10' }])
        } else expect((await count()) - before).toBeGreaterThanOrEqual(10)
      })

      it('leaves nothing of 5,000 rows when the last one is refused', async () => {
        await create('id integer primary key, name varchar(40) not null')
        const rows = Array.from({ length: 5_000 }, (_, id) => ({ id, name: id === 4_999 ? null : 'x' }))
        expect(await refusal({}, rows)).toMatchObject({ code: 'REJECTED' })
        expect(await read()).toEqual([])
      })

      it('a row that somebody else changes meanwhile: tried again, and then written', async () => {
        await create('id integer primary key, name varchar(40)')
        await server.ask(`insert into ${table} values (1, 'old')`)
        const upsert = config({ mode: 'upsert', key_columns: ['id'], isolation_level: 'serializable' })
        const message = aPayload({ id: 1, name: 'ours' })
        if (isPostgres) {
          const error = await blocking([`update ${table} set name = 'theirs' where id = 1`], async (blocker) => {
            const attempt = failureOf(send(upsert, message))
            await untilWaiting()
            await blocker.ask('commit')
            return attempt
          })
          expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
          expect(error.message).toContain('SQLSTATE 40001')
        }
        await send(upsert, message)
        expect(await read()).toEqual([{ id: '1', name: 'ours' }])
      })

      it('a deadlock is tried again, and then written', async () => {
        await create('id integer primary key, name varchar(40)')
        // The server ends the transaction that has done less, or noticed first: that is to be ours.
        const heavy = Array.from({ length: 200 }, (_, index) => `(${index + 100}, 'heavy')`).join(', ')
        await server.ask(`insert into ${table} values (1, 'old'), (2, 'old'), ${heavy}`)
        const upsert = config({ mode: 'upsert', key_columns: ['id'], batch_size: 1 })
        const message = aPayload([
          { id: 1, name: 'ours' },
          { id: 2, name: 'ours' },
        ])
        const held = [
          isPostgres ? "set local deadlock_timeout = '60s'" : `update ${table} set name = 'heavier' where id >= 100`,
          `update ${table} set name = 'theirs' where id = 2`,
        ]
        const error = await blocking(held, async (blocker) => {
          const attempt = failureOf(send(upsert, message))
          await untilWaiting()
          await blocker.ask(`update ${table} set name = 'theirs' where id = 1`)
          await blocker.ask('rollback')
          return attempt
        })
        expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
        expect(error.message).toContain(isPostgres ? 'SQLSTATE 40P01' : 'error 1213')
        await send(upsert, message)
        expect(await read('id, name')).toEqual(
          expect.arrayContaining([
            { id: '1', name: 'ours' },
            { id: '2', name: 'ours' },
          ]),
        )
      })

      it('a lock that nobody gives back ends as TIMEOUT, and the next attempt writes once', async () => {
        await create('id integer primary key, name varchar(40)')
        await server.ask(`insert into ${table} values (1, 'old')`)
        const upsert = { mode: 'upsert', key_columns: ['id'] }
        const message = aPayload({ id: 1, name: 'ours' })
        const error = await blocking([`update ${table} set name = 'theirs' where id = 1`], () =>
          failureOf(send(config({ ...upsert, timeout_seconds: 0.8 }), message)),
        )
        expect(error).toMatchObject({ code: 'TIMEOUT', retryable: true })
        expect(error.message).toBe('the destination did not write the rows within 1 s')
        await send(config(upsert), message)
        expect(await read()).toEqual([{ id: '1', name: 'ours' }])
      })
    })

    describe.each([
      ['a ledger', {}],
      ['a column of its own', { delivery_id_column: 'delivery' }],
    ])('one effect, by %s', (_title, given) => {
      beforeEach(() => create('id integer, delivery varchar(64)'))

      const rowsOf = (message: Message) =>
        server.ask(`select id from ${table} where delivery = '${message.delivery_id}' or delivery is null order by id`)

      it('a lost reply to the commit is tried again and writes no second row', async () => {
        const swallower = await startSwallower({ host: '127.0.0.1', port: server.port }, /commit\0?$/)
        try {
          const message = aPayload([{ id: 1 }, { id: 2 }])
          const error = await failureOf(send(config({ ...given, url: server.url({ port: swallower.port }) }), message))
          expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
          expect(swallower.swallowed()).toBe(1)
          const receipt = await send(config(given), { ...message, attempt_number: 2 })
          expect(receipt.metadata).toEqual({ table, rows: 0, repeat: true })
          expect(await rowsOf(message)).toEqual([{ id: '1' }, { id: '2' }])
        } finally {
          await swallower.close()
        }
      })

      it.each(['read_committed', 'repeatable_read', 'serializable'])(
        'attempts at the same time, at %s, write once between them',
        async (isolation_level) => {
          const message = aPayload([{ id: 1 }, { id: 2 }])
          // Its ledger is made in the same moment by all of them.
          const own = 'delivery_id_column' in given ? given : { ledger_table: `made at once ${tables}` }
          const attempt = async (): Promise<unknown> => {
            for (;;) {
              const outcome = await send(config({ ...own, isolation_level }), message).catch((error: unknown) => error)
              if (!(outcome instanceof Error)) return outcome
              expect(outcome).toMatchObject({ retryable: true })
            }
          }
          const receipts = await Promise.all(Array.from({ length: 6 }, attempt))
          const first = receipts.filter((receipt) => inspect(receipt).includes('repeat: false'))
          expect(first).toHaveLength(1)
          expect(await rowsOf(message)).toEqual([{ id: '1' }, { id: '2' }])
        },
      )

      it('another delivery of the same rows writes them again', async () => {
        await send(config(given), aPayload({ id: 1 }))
        await send(config(given), aPayload({ id: 1 }))
        expect(await read('id')).toEqual([{ id: '1' }, { id: '1' }])
      })
    })

    describe('rights', () => {
      const PASSWORD = 'writer-secret-1234'
      let writer: string

      beforeEach(async () => {
        await create('id integer')
        writer = `writer_${tables}`
        if (isPostgres) {
          await server.ask(`create role ${writer} login password '${PASSWORD}'`, 'admin')
          await server.ask(`grant insert on ${table} to ${writer}`, 'admin')
        } else {
          await server.ask(`create user ${writer}@'%' identified by '${PASSWORD}'`, 'admin')
          await server.ask(`grant insert on reports.${table} to ${writer}@'%'`, 'admin')
        }
      })

      const asWriter = (given: Record<string, unknown> = {}) =>
        config({ username: writer, password: PASSWORD, ledger_table: `ledger_${tables}`, ...given })

      it('a ledger that may not be made is UNAUTHORIZED, and says what to do', async () => {
        const error = await failureOf(send(asWriter(), aPayload({ id: 1 })))
        expect(error).toMatchObject({ code: 'UNAUTHORIZED', retryable: false })
        expect(error.message).toMatch(new RegExp(`the ledger table "ledger_${tables}" is missing.* may not create it`))
        expect(error.message).toContain('delivery_id_column')
        expect(await read()).toEqual([])
      })

      it('a ledger made by somebody else needs the right to insert alone', async () => {
        await server.ask(
          `create table ledger_${tables} (delivery_id varchar(255) primary key, distribution_id varchar(255), row_count integer)`,
        )
        await server.ask(`grant insert on ledger_${tables} to ${isPostgres ? writer : `${writer}@'%'`}`, 'admin')
        const message = aPayload({ id: 1 })
        expect((await send(asWriter(), message)).metadata).toMatchObject({ repeat: false })
        expect((await send(asWriter(), message)).metadata).toMatchObject({ repeat: true })
        expect(await read()).toEqual([{ id: '1' }])
      })

      it('a table that may not be written to is UNAUTHORIZED', async () => {
        await server.ask(
          `revoke insert on ${isPostgres ? table : `reports.${table}`} from ${isPostgres ? writer : `${writer}@'%'`}`,
          'admin',
        )
        await server.ask(
          `create table ledger_${tables} (delivery_id varchar(255) primary key, distribution_id varchar(255), row_count integer)`,
        )
        await server.ask(
          `grant insert, select on ledger_${tables} to ${isPostgres ? writer : `${writer}@'%'`}`,
          'admin',
        )
        const error = await failureOf(send(asWriter(), aPayload({ id: 1 })))
        expect(error.retryable).toBe(false)
        // MariaDB does not even show the table to somebody who has no right to it.
        expect(error.code).toBe(isPostgres ? 'UNAUTHORIZED' : 'MISCONFIGURED')
      })

      it('a database that does not exist is final', async () => {
        const url = server.url().replace('/reports', '/no_such_database')
        const error = await failureOf(send(config({ url }), aPayload({ id: 1 })))
        expect(error.retryable).toBe(false)
        expect(['MISCONFIGURED', 'UNAUTHORIZED']).toContain(error.code)
      })

      it('too many connections are THROTTLED and tried again', async () => {
        if (isPostgres) await server.ask(`alter role ${writer} connection limit 0`, 'admin')
        else await server.ask(`alter user ${writer}@'%' with max_user_connections 1`, 'admin')
        const held = isPostgres ? undefined : holdConnection(writer, PASSWORD, server)
        await held?.opened
        const error = await failureOf(
          send(asWriter({ ledger_table: undefined }), aPayload({ id: 1 }, { tenant_id: randomUUID() })),
        )
        await held?.close()
        expect(error).toMatchObject({ code: 'THROTTLED', retryable: true })
      })
    })
  })
}

function holdConnection(user: string, password: string, { port }: TestDatabaseServer) {
  const opened = import('mysql2/promise').then((mysql) =>
    mysql.createConnection({ host: '127.0.0.1', port, user, password }),
  )
  return { opened, close: async () => (await opened).end() }
}
