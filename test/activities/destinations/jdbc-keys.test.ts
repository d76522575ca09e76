// The same key more than once in one delivery, in spellings that only the database takes for the same: the later row wins.
import { afterAll, beforeAll, expect, it } from 'vitest'
import {
  DATABASE_KINDS,
  type DatabaseKind,
  startDatabase,
  type TestDatabaseServer,
} from '../../support/receivers/databases.ts'
import { describeWith, INSTALL_MS } from '../../support/receivers/needs.ts'
import { failureOf, SECRET } from './contract.ts'
import { aConfig, aPayload, send } from './writing-rows.ts'

/** The key's type and the keys as JSON; each row but the last of those that are equal must be gone. */
type Case = [type: string, keys: string[], left: number]

const BOTH: Case[] = [
  ['integer', ['7', '"7"'], 1],
  ['integer', ['7', '"7"', '8', '" 7"', '7'], 2],
  ['bigint', ['9007199254740993', '"9007199254740993"', '9007199254740992'], 2],
  ['numeric(10,2)', ['1', '1.0', '"1.00"', '1.001', '2'], 2],
  ['varchar(9)', ['1.0', '"1.0"', '1'], 2],
  ['date', ['"2026-02-28"', '"20260228"', '"2026-02-28T00:00:00Z"'], 1],
  ['timestamp(0)', ['"2026-02-28T10:00:00Z"', '"2026-02-28T12:00:00+02:00"', '"2026-02-28 10:00:00.9"'], 1],
  ['char(4)', ['"x"', '"x "', '"y"'], 2],
]

const CASES: Record<DatabaseKind, Case[]> = {
  PostgreSQL: [
    ...BOTH,
    ['uuid', ['"0190F6A0-0000-7000-8000-00000000000A"', '"0190f6a0000070008000 00000000000a"'.replace(' ', '')], 1],
    ['citext', ['"a"', '"A"', '"b"'], 2],
    ['text collate caseless', ['"a"', '"A"', '"b"'], 2],
    ['varchar(9)', ['"x"', '"x "'], 2],
    ['timestamptz', ['"2026-02-28T10:00:00Z"', '"2026-02-28T05:00:00-05"'], 1],
    ['inet', ['"10.0.0.1"', '"10.0.0.1/32"'], 1],
    ['jsonb', ['{"a":1,"b":2}', '{"b":2,"a":1.0}'], 1],
  ],
  MariaDB: [
    ...BOTH,
    ['uuid', ['"0190F6A0-0000-7000-8000-00000000000A"', '"0190f6a0-0000-7000-8000-00000000000a"'], 1],
    ['varchar(9) collate utf8mb4_general_ci', ['"a"', '"A"', '"á"', '"b"'], 2],
    ['varchar(9) collate utf8mb4_bin', ['"a"', '"A"'], 2],
    ['varchar(9)', ['"x"', '"x "'], 1],
    ['tinyint', ['true', '1', '"1"'], 1],
    ["enum('a','b')", ['"a"', '"A"'], 1],
  ],
}

for (const kind of DATABASE_KINDS) {
  const isPostgres = kind === 'PostgreSQL'
  const describe = await describeWith(...(kind === 'MariaDB' ? (['mariadb'] as const) : []))

  describe(`keys in several spellings on ${kind}`, () => {
    let server: TestDatabaseServer
    let tables = 0

    beforeAll(async () => {
      server = await startDatabase(kind, { password: SECRET })
      if (!isPostgres) return
      await server.ask('create extension citext', 'admin')
      await server.ask(
        "create collation public.caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        'admin',
      )
    }, INSTALL_MS)
    afterAll(() => server?.close())

    async function aTable(columns: string): Promise<string> {
      tables += 1
      await server.ask(`create table t${tables} (${columns})`)
      return `t${tables}`
    }
    const upsert = (table: string, keys = ['k'], given = {}) =>
      aConfig({ url: server.url(), table, mode: 'upsert', key_columns: keys, ...given })

    it.each(CASES[kind])('%s: of %j the later row of each key wins', async (type, keys, left) => {
      const table = await aTable(`k ${type} primary key, n integer`)
      const rows = keys.map((key, n) => `{"k": ${key}, "n": ${n}}`)
      await send(upsert(table), aPayload(`[${rows.join(',')}]`))
      const found = await server.ask(`select n from ${table}`)
      expect(found).toHaveLength(left)
      // The last row of all is never overwritten.
      expect(found.map(({ n }) => n)).toContain(String(keys.length - 1))
    })

    it('the later row wins over an earlier delivery, an earlier statement and an earlier row', async () => {
      const table = await aTable('k integer primary key, n integer')
      await send(upsert(table), aPayload([{ k: 7, n: 0 }]))
      const rows = Array.from({ length: 50 }, (_, n) => (n % 2 === 0 ? { k: n % 10, n } : { k: `0${n % 10}`, n }))
      await send(upsert(table, ['k'], { batch_size: 7 }), aPayload(rows))
      const expected = Array.from({ length: 10 }, (_, k) => ({ k: String(k), n: String(40 + k) }))
      expect(await server.ask(`select k, n from ${table} order by k`)).toEqual(expected)
    })

    it('keys of several columns', async () => {
      const table = await aTable('a integer, b varchar(9), n integer, primary key (a, b)')
      const rows = [
        { a: 1, b: 'x', n: 1 },
        { a: '1', b: 'y', n: 2 },
        { a: '01', b: 'x', n: 3 },
        { n: 4, b: 'y', a: 1 },
      ]
      await send(upsert(table, ['a', 'b']), aPayload(rows))
      expect(await server.ask(`select b, n from ${table} order by b`)).toEqual([
        { b: 'x', n: '3' },
        { b: 'y', n: '4' },
      ])
    })

    it('null is no key', async () => {
      const table = await aTable('k integer unique, n integer')
      await send(
        upsert(table),
        aPayload([
          { k: null, n: 1 },
          { k: null, n: 2 },
          { k: 1, n: 3 },
          { k: '1', n: 4 },
        ]),
      )
      expect(await server.ask(`select n from ${table} order by n`)).toEqual([{ n: '1' }, { n: '2' }, { n: '4' }])
    })

    it('insert refuses the second one, and ignore keeps the first', async () => {
      const table = await aTable('k integer primary key, n integer')
      const payload = aPayload([
        { k: 7, n: 1 },
        { k: '7', n: 2 },
      ])
      expect(await failureOf(send(aConfig({ url: server.url(), table }), payload))).toMatchObject({ code: 'REJECTED' })
      expect(await server.ask(`select n from ${table}`)).toEqual([])
      const receipt = await send(
        aConfig({ url: server.url(), table, mode: 'ignore' }),
        aPayload([
          { k: 7, n: 1 },
          { k: '7', n: 2 },
        ]),
      )
      expect(receipt.metadata).toMatchObject({ rows: 1 })
      expect(await server.ask(`select n from ${table}`)).toEqual([{ n: '1' }])
    })

    it('a value that does not fit is named by its row beside keys in two spellings, and nothing is written', async () => {
      const table = await aTable('k integer primary key, n smallint')
      const rows = [
        { k: 1, n: 1 },
        { k: '1', n: 2 },
        { k: '01', n: 3 },
        { k: 2, n: 70_001 },
      ]
      const error = await failureOf(send(upsert(table), aPayload(rows)))
      expect(error).toMatchObject({ code: 'REJECTED', retryable: false })
      expect(error.message).toContain('column "n"')
      expect(error.message).toContain('row 4')
      expect(await server.ask(`select n from ${table}`)).toEqual([])
    })

    if (isPostgres)
      it('plainly distinct keys are one statement, and a few equal ones cost a few more', async () => {
        const table = await aTable('k integer primary key, n integer')
        await server.ask(`create table log_${tables} (at bigserial)`)
        await server.ask(`create function count_${tables}() returns trigger language plpgsql as
          $$ begin insert into log_${tables} default values; return null; end $$`)
        await server.ask(
          `create trigger counts after insert on ${table} for each statement execute function count_${tables}()`,
        )
        const statements = async (rows: unknown[]) => {
          await server.ask(`truncate log_${tables}`)
          await send(upsert(table), aPayload(rows))
          return (await server.ask(`select 1 as one from log_${tables}`)).length
        }
        const rows = Array.from({ length: 500 }, (_, k) => ({ k: String(k), n: k }))
        expect(await statements(rows)).toBe(1)
        expect(await statements([...rows.slice(1), { k: '001', n: -1 }])).toBeLessThanOrEqual(10)
        expect(await server.ask(`select n from ${table} where k = 1`)).toEqual([{ n: '-1' }])
      })
  })
}
