// Values that a database would take, but store as other ones: they are stored as they were meant, or refused by the name
// of their column.
import { afterAll, beforeAll, expect, it } from 'vitest'
import { floatKeeps } from '../../../activities/destinations/jdbc/floats.ts'
import { parseJson } from '../../../activities/destinations/jdbc/json.ts'
import { parameterOf } from '../../../activities/destinations/jdbc/mysql/values.ts'
import {
  DATABASE_KINDS,
  type DatabaseKind,
  startDatabase,
  type TestDatabaseServer,
} from '../../support/receivers/databases.ts'
import { describeWith, INSTALL_MS } from '../../support/receivers/needs.ts'
import { failureOf, SECRET } from './contract.ts'
import { aConfig, aPayload, send } from './writing-rows.ts'

/** The column's type, the value as JSON, and what is read back; undefined where it is refused. */
type Case = [type: string, json: string, expected: string | undefined]

const BOTH: Case[] = [
  // Texts, numbers and objects in JSON are what they are in the payload.
  ['json', '"hello"', '"hello"'],
  ['json', '"123"', '"123"'],
  ['json', '"true"', '"true"'],
  ['json', '"null"', '"null"'],
  ['json', '""', '""'],
  ['json', String.raw`"{\"a\":1}"`, String.raw`"{\"a\":1}"`],
  ['json', '[1]', '[1]'],
  ['json', '123', '123'],
  ['json', 'true', 'true'],
  ['json', '9007199254740993', '9007199254740993'],
  // Dates that depend on a setting, or on the century.
  ['date', '"01/02/2026"', undefined],
  ['date', '"01-02-2026"', undefined],
  ['date', '"1.2.2026"', undefined],
  ['date', '"26-02-28"', undefined],
  ['date', '"01/02/03"', undefined],
  ['timestamp', '"01/02/2026 10:00:00"', undefined],
  ['date', '"20260228"', '2026-02-28'],
  ['date', '"2026-2-8"', '2026-02-08'],
  // Counts of seconds, days or milliseconds.
  ['date', '1764091218', undefined],
  ['date', '"1764091218"', undefined],
  ['date', '20260228', undefined],
  ['timestamp', '1764091218', undefined],
  ['timestamp', '"1764091218"', undefined],
  ['timestamp', '1764091218000', undefined],
  ['date', 'true', undefined],
  ['time', '1011', undefined],
  ['time', '"1011"', undefined],
  ['time', '"101112"', undefined],
  ['time', '"2026-02-28 10:11:12"', undefined],
  // What the moment of writing decides.
  ['date', '"now"', undefined],
  ['date', '"today"', undefined],
  ['timestamp', '"tomorrow"', undefined],
  // What a column does not keep of a moment.
  ['date', '"2026-02-28T10:00:00"', undefined],
  ['date', '"2026-02-28T23:00:00-05:00"', undefined],
  ['date', '"2026-02-28T00:00:00.000Z"', '2026-02-28'],
  ['timestamp(6)', '"2026-12-31T23:59:59.9999999Z"', '2026-12-31 23:59:59.999999'],
  ['timestamp(0)', '"2026-12-31 23:59:59.5"', '2026-12-31 23:59:59'],
  ['timestamp(3)', '"2026-12-31 23:59:59.9999"', '2026-12-31 23:59:59.999'],
  ['timestamp(0)', '"2026-12-31T23:59:60Z"', undefined],
  ['time(6)', '"23:59:59.9999999"', '23:59:59.999999'],
  ['time(0)', '"23:59:59.9"', '23:59:59'],
  ['timestamp(0)', '"2026-03-29T01:30:00Z"', '2026-03-29 01:30:00'],
  ['timestamp(0)', '"2026-03-29T02:30:00+01:00"', '2026-03-29 01:30:00'],
  // Texts that lose something.
  ['varchar(3)', '"abc  "', undefined],
  ['varchar(3)', '"ab "', 'ab '],
  ['varchar(3)', '"😀😀😀"', '😀😀😀'],
  ['varchar(3)', '"abcd"', undefined],
  // Numbers.
  ['numeric(10,2)', '"12abc"', undefined],
  ['numeric(10,2)', '""', undefined],
  ['numeric(10,2)', '"1,5"', undefined],
  ['numeric(10,2)', '"1e3"', '1000.00'],
  ['numeric(10,2)', '1.005', '1.01'],
  ['numeric(10,2)', '-1.005', '-1.01'],
  ['numeric(10,2)', '2.675', '2.68'],
  ['integer', '1.5', undefined],
  ['integer', '"1.5"', undefined],
  ['integer', '9007199254740993', undefined],
  ['double precision', '9007199254740993', undefined],
  ['double precision', '"9007199254740993"', undefined],
  ['double precision', '1e400', undefined],
  ['double precision', '1e-400', undefined],
  ['varchar(40)', '1.0', '1.0'],
  ['varchar(40)', '1e21', '1e21'],
  ['varchar(40)', '9007199254740993', '9007199254740993'],
  ['varchar(40)', 'false', 'false'],
  ['numeric(10,2)', 'true', undefined],
  ['double precision', 'true', undefined],
  ['date', '{"year":2026}', undefined],
  ['integer', '[1]', undefined],
  ['integer', '{"a":1}', undefined],
  // Bits.
  ['bit(3)', '"101"', '101'],
  ['bit(3)', '5', '101'],
  ['bit(8)', '5', '00000101'],
  ['bit(8)', '256', undefined],
  ['bit(8)', '101', '01100101'],
  ['bit(3)', '"5"', undefined],
  ['bit(8)', '"A"', undefined],
  ['bit(3)', '-1', undefined],
  ['bit(3)', '[1]', undefined],
]

const CASES: Record<DatabaseKind, Case[]> = {
  PostgreSQL: [
    ...BOTH,
    ['jsonb', '"hello"', '"hello"'],
    ['jsonb', '"123"', '"123"'],
    ['timestamptz', '"26-Nov-25 10:00:00"', undefined],
    ['timestamptz', '"Wed, 25 Nov 2026 19:08:38 GMT"', '2026-11-25 19:08:38+00'],
    ['timestamptz', '"November 25, 2026 7:08:38 PM +0100"', '2026-11-25 18:08:38+00'],
    ['timestamptz', '"20261125T190838.5Z"', '2026-11-25 19:08:38.5+00'],
    ['timestamptz', '"J2451187"', undefined],
    ['timestamptz', '"epoch"', undefined],
    ['timestamptz', '"0044-03-15 10:00:00 BC"', '0044-03-15 10:00:00+00 BC'],
    ['timestamptz(0)', '"2026-12-31T23:59:59.999999999-05:00"', '2027-01-01 04:59:59+00'],
    ['timestamptz', '"-infinity"', '-infinity'],
    ['timetz', '"10:00:00+02"', '10:00:00+02'],
    ['interval', '5', undefined],
    ['interval', '"5"', undefined],
    ['interval', '"-1 02:03:04"', '-1 days +02:03:04'],
    ['money', '12.5', '$12.50'],
    ['money', '"12.50"', '$12.50'],
    ['money', '"12,50"', undefined],
    ['money', 'true', undefined],
    ['bit varying(8)', '"101"', '101'],
    ['bit varying(8)', '101', undefined],
    ['bytea', '"héllo"', '\\x68c3a96c6c6f'],
    ['bytea', '"a\\\\b\\\\134"', '\\x615c625c313334'],
    ['bytea', '"\\\\xzz"', undefined],
    ['bytea', '1.0', '\\x312e30'],
    ['real', '16777217', undefined],
    ['real', '16777216', '1.6777216e+07'],
    ['real', '1e11', '1e+11'],
    ['double precision', '1e22', '1e+22'],
    ['double precision', '"NaN"', 'NaN'],
    ['numeric', '"Infinity"', 'Infinity'],
    ['"char"', '"ab"', undefined],
    ['name', `"${'x'.repeat(64)}"`, undefined],
    ['char(3)', '"a   "', 'a'],
    ['integer', 'true', undefined],
    ['boolean', '2', undefined],
    ['uuid', '"{0190F6A0-0000-7000-8000-00000000000A}"', '0190f6a0-0000-7000-8000-00000000000a'],
    ['cidr', '"10.0.0.1/8"', undefined],
    // In arrays, domains, composite types and ranges too.
    ['date[]', '["2026-02-28","01/02/2026"]', undefined],
    ['date[]', '"{01/02/2026}"', undefined],
    ['date[]', '["2026-02-28",null]', '{2026-02-28,NULL}'],
    ['integer[]', '"{1,2}"', '{1,2}'],
    ['integer[]', '[[1,2],[3,4]]', '{{1,2},{3,4}}'],
    ['bit(4)[]', '[5]', '{0101}'],
    ['money[]', '[1.5]', '{$1.50}'],
    ['timestamp(0)[]', '["2026-12-31T23:59:59.9Z"]', '{"2026-12-31 23:59:59"}'],
    ['day', '"01/02/2026"', undefined],
    ['day', '"2026-02-28"', '2026-02-28'],
    ['local_moment', '"2026-11-25T19:08:38+02:00"', '2026-11-25 17:08:38'],
    ['local_moment', '"1999-11-25T19:08:38+02:00"', undefined],
    ['visit', '{"at":"2026-11-25T19:08:38+02:00","who":"x"}', '("2026-11-25 17:08:38",x)'],
    ['visit', '{"at":"01/02/2026"}', undefined],
    ['visit', '{"who":"x","why":"y"}', undefined],
    ['visit', '"(2026-11-25 19:08:38+02,x)"', undefined],
    ['visit[]', '[{"who":"abc "}]', undefined],
    ['daterange', '"[2026-01-01,2026-02-01)"', '[2026-01-01,2026-02-01)'],
    ['daterange', '"[01/02/2026,)"', undefined],
    ['tsrange', '"[2026-01-01 00:00:00+02,)"', '["2025-12-31 22:00:00",)'],
    ['tstzmultirange', '"{[2026-01-01 00:00:00+02,),empty}"', '{["2025-12-31 22:00:00+00",)}'],
    ['int4range', '"[1,5]"', '[1,6)'],
  ],
  MariaDB: [
    ...BOTH,
    ['longtext check (json_valid(value))', '"hello"', '"hello"'],
    ['varchar(40) check (value is null or json_valid(value))', '"123"', '"123"'],
    ['varchar(40) check (json_valid(value) and json_length(value) > 0)', '"123"', '"123"'],
    ["varchar(40) check (json_valid(value) or value like 'h%')", '"hello"', 'hello'],
    ['varchar(40) check (not json_valid(value))', '"hello"', 'hello'],
    ['varchar(40) check (json_valid(value) = 0)', '"hello"', 'hello'],
    ['varchar(40), constraint asks check (json_valid(value))', '"123"', '"123"'],
    ['longtext', '"hello"', 'hello'],
    ['datetime', '"2026-02-28 26:00:00"', undefined],
    ['datetime', '"0000-00-00 00:00:00"', undefined],
    ['date', '"0000-00-00"', undefined],
    ['date', '"2026-02-30"', undefined],
    ['datetime', '"2026-11-25 19:08:38 America/New_York"', undefined],
    ['datetime', '"2026-11-25"', '2026-11-25 00:00:00'],
    ['datetime(3)', '"20261125T190838.5Z"', '2026-11-25 19:08:38.500'],
    ['timestamp', '"2040-01-01T00:00:00Z"', undefined],
    ['timestamp not null', 'null', undefined],
    ['time', '"-838:59:59"', '-838:59:59'],
    ['year', '26', undefined],
    ['year', '"26"', undefined],
    ['year', 'true', undefined],
    ['year', '2026', '2026'],
    ['bit(1)', '"1"', '1'],
    ['bit(1)', 'true', '1'],
    ['integer unsigned', '-1', undefined],
    ['tinyint unsigned', '256', undefined],
    ['bigint unsigned', '18446744073709551616', undefined],
    ['float', '16777217', undefined],
    ['double', '1e23', '1e23'],
    ['decimal(10,2)', '"NaN"', undefined],
    ['varchar(9) character set utf8mb3', '"😀"', undefined],
    ['varchar(9) character set latin1', '"漢"', undefined],
    ['varchar(9) character set latin1', '"é€"', 'é€'],
    ['tinytext', `"${' '.repeat(300)}"`, undefined],
    ['tinytext', `"${'é'.repeat(128)}"`, undefined],
    ['varchar(9)', '""', ''],
    ['varchar(9)', '"a\\\\b\'"', "a\\b'"],
    ['blob', '"\\\\x00ff"', '\\x00ff'],
    ['blob', 'true', 'true'],
    ['char(4)', '"ab  "', 'ab'],
    ["enum('1','2')", '2', '2'],
    ["enum('x','y')", '1.5', undefined],
    ["enum('x','y')", '"1"', undefined],
    ["enum('x','y')", '""', undefined],
    ["enum('x','y')", '"X"', 'x'],
    ["set('x','y')", '"y,x"', 'x,y'],
    ["set('x','y')", '"x,z"', undefined],
    ['uuid', '"0190F6A0-0000-7000-8000-00000000000A"', '0190f6a0-0000-7000-8000-00000000000a'],
    ['inet6', '"::FFFF:10.0.0.1"', '::ffff:10.0.0.1'],
    ['inet6', '7', undefined],
  ],
}

for (const kind of DATABASE_KINDS) {
  const isPostgres = kind === 'PostgreSQL'
  const describe = await describeWith(...(kind === 'MariaDB' ? (['mariadb'] as const) : []))

  describe(`values that ${kind} would store as other ones`, () => {
    let server: TestDatabaseServer
    let tables = 0

    beforeAll(async () => {
      server = await startDatabase(kind, { password: SECRET })
      if (!isPostgres) {
        // Each of them takes what must be refused, or reads a text in another way.
        const modes = 'ALLOW_INVALID_DATES,EMPTY_STRING_IS_NULL,NO_BACKSLASH_ESCAPES,TIME_ROUND_FRACTIONAL,ANSI_QUOTES'
        await server.ask(`set global sql_mode = '${modes}'`, 'admin')
        await server.ask("set global time_zone = '+09:30'", 'admin')
        await server.ask(
          "set global init_connect = 'set names latin1, sql_auto_is_null = 1, session explicit_defaults_for_timestamp = 0'",
          'admin',
        )
        return
      }
      await server.ask('create domain day as date')
      await server.ask("create domain local_moment as timestamp(0) check (value > '2000-01-01')")
      await server.ask('create type visit as (at timestamp(0), who varchar(3))')
      for (const setting of [
        "datestyle = 'SQL, DMY'",
        "intervalstyle = 'sql_standard'",
        "timezone = 'Australia/Adelaide'",
        "timezone_abbreviations = 'India'",
        "bytea_output = 'escape'",
        'standard_conforming_strings = off',
      ]) {
        await server.ask(`alter role ${server.user} set ${setting}`, 'admin')
      }
    }, INSTALL_MS)
    afterAll(() => server?.close())

    /** With settings that show what is stored. */
    async function read(question: string) {
      const session = await server.session()
      const settings = isPostgres
        ? "set datestyle = 'ISO'; set intervalstyle = 'postgres'; set bytea_output = 'hex'"
        : 'set names utf8mb4'
      await session.ask(settings)
      const rows = await session.ask(question)
      await session.end()
      return rows
    }

    const shown = (type: string) => (isPostgres ? 'value::text' : type.startsWith('bit') ? bits(type) : 'value')

    it.each(CASES[kind])('%s, %s: %s', async (type, json, expected) => {
      tables += 1
      const table = `t${tables}`
      await server.ask(
        `create table public.${table} (id integer, value ${type})`.replace('public.', isPostgres ? 'public.' : ''),
      )
      const sent = send(aConfig({ url: server.url(), table }), aPayload(`[{"id": 1, "value": ${json}}]`))
      if (expected === undefined) {
        const error = await failureOf(sent)
        expect(error).toMatchObject({ code: 'REJECTED', retryable: false })
        expect(error.message).toMatch(/column "value"|constraint "local_moment_check"/)
      } else await sent
      const rows = await read(`select ${shown(type)} as value from ${table}`)
      expect(rows).toEqual(expected === undefined ? [] : [{ value: expected }])
    })

    if (!isPostgres)
      it.each(['insert', 'insert, select, update'])('json stays json for a user who may but %s', async (rights) => {
        tables += 1
        const [table, user, ledger_table] = [`t${tables}`, `writer${tables}`, `ledger${tables}`]
        await server.ask(`create table ${table} (id integer, value json, plain longtext)`)
        await server.ask(
          `create table ${ledger_table} (delivery_id varchar(255) primary key, distribution_id varchar(255), row_count integer)`,
        )
        await server.ask(`create user ${user}@'%' identified by '${SECRET}'`, 'admin')
        for (const each of [table, ledger_table]) {
          await server.ask(`grant ${rights} on reports.${each} to ${user}@'%'`, 'admin')
        }
        const config = aConfig({ url: server.url(), table, username: user, ledger_table })
        await send(config, aPayload({ id: 1, value: '123', plain: '123' }))
        expect(await read(`select value, plain from ${table}`)).toEqual([{ value: '"123"', plain: '123' }])
      })

    it('bytes from base64 that a column would keep as other ones', async () => {
      const columns = { id: 'id', value: { path: 'value', decode: 'base64' } }
      const base64 = (bytes: string | Buffer) => Buffer.from(bytes as string).toString('base64')
      for (const [type, bytes, expected] of [
        ['varchar(20)', 'héllo', 'héllo'],
        ['varchar(20)', Buffer.from([0xff, 0xfe]), undefined],
        ['integer', '7', undefined],
        ['date', '2026-02-28', undefined],
      ] as const) {
        tables += 1
        await server.ask(`create table t${tables} (id integer, value ${type})`)
        const config = aConfig({ url: server.url(), table: `t${tables}`, columns })
        const sent = send(config, aPayload([{ id: 1, value: base64(bytes) }]))
        if (expected === undefined) expect(await failureOf(sent)).toMatchObject({ code: 'REJECTED' })
        else await sent
        const rows = await read(`select value from t${tables}`)
        expect(rows).toEqual(expected === undefined ? [] : [{ value: expected }])
      }
    })
  })
}

function bits(type: string): string {
  return `lpad(bin(value + 0), ${/\d+/.exec(type)![0]}, '0')`
}

it.each([
  ['{"a":[18446744073709551615,-9223372036854775808,0.1,1e22]}', true],
  ['18446744073709551617', false],
  ['[{"a":-9223372036854775809}]', false],
  ['9007199254740993.0', false],
])("MySQL's own JSON keeps %s: %s", (text, kept) => {
  const write = () =>
    parameterOf(
      parseJson(text),
      { name: 'v', type: 'json', native_json: true, nullable: true },
      { column: 'v', row: 1 },
      '+00:00',
    )
  if (kept) expect(write()).toBe(text)
  else expect(write).toThrow('column "v", row 1')
})

it.each([
  ['9007199254740992', 64, true],
  ['9007199254740993', 64, false],
  ['-9007199254740993', 64, false],
  ['9007199254740993.0', 64, false],
  ['9.007199254740993e15', 64, false],
  ['90071992547409930e-1', 64, false],
  ['1e23', 64, true],
  ['100000000000000000000000', 64, true],
  ['123456789012345678901234567890', 64, false],
  ['0.1', 64, true],
  ['0.12345678901234567890123', 64, true],
  ['0e5', 64, true],
  ['0.0', 64, true],
  ['1e-400', 64, false],
  ['5e-324', 64, true],
  ['NaN', 64, true],
  ['16777216', 32, true],
  ['16777217', 32, false],
  ['1e11', 32, true],
  ['3.4e38', 32, true],
  ['1e-46', 32, false],
  ['0.1', 32, true],
] as const)('%s in %s bits: kept %s', (digits, size, kept) => {
  expect(floatKeeps(digits, size)).toBe(kept)
})
