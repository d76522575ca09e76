// Every kind of value in every kind of column: the value is read back as text with every digit, and a value
// that does not fit is rejected with the name of its column, without the value.
import { inspect } from 'node:util'
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

const DIGITS = '0.123456789012345678901234567891'
const DOCUMENT = '{"b":1.0,"a":[9223372036854775807,{"c":null}],"é":"\\"x\\""}'

/** What a number of the parser's looks like, and what it would become. */
const LOOKALIKE = '{"isLosslessNumber":true,"value":"1,\\"id\\":7","toString":"x"}'

/** The column's type, the value as JSON, and what is read back. */
type Case = [type: string, json: string, expected: string | null]

const BOTH: Case[] = [
  ['bigint', '9223372036854775807', '9223372036854775807'],
  ['bigint', '-9223372036854775808', '-9223372036854775808'],
  ['bigint', '"9007199254740993"', '9007199254740993'],
  ['integer', '-7', '-7'],
  ['smallint', '32767', '32767'],
  ['numeric(40,30)', DIGITS, DIGITS],
  ['numeric(40,0)', '123456789012345678901234567890123456789', '123456789012345678901234567890123456789'],
  ['numeric(10,1)', '1.0', '1.0'],
  ['numeric(10,3)', '"12.500"', '12.500'],
  ['double precision', '0.1', '0.1'],
  ['varchar(20)', '"näme 😀"', 'näme 😀'],
  ['varchar(20)', '""', ''],
  ['varchar(20)', `"'; drop table x --"`, `'; drop table x --`],
  ['varchar(20)', '1.0', '1.0'],
  ['varchar(20)', '12345678901234567890', '12345678901234567890'],
  ['varchar(20)', 'true', 'true'],
  ['varchar(200)', DOCUMENT, DOCUMENT],
  ['varchar(200)', LOOKALIKE, LOOKALIKE],
  ['varchar(20)', 'null', null],
  ['integer', 'null', null],
  ['text', '"a\\n\\t\\\\b"', 'a\n\t\\b'],
  ['text', '[1.0, "x"]', '[1.0,"x"]'],
  ['json', DOCUMENT, DOCUMENT],
  ['json', '[1.0,1e400]', '[1.0,1e400]'],
  ['json', '1.0', '1.0'],
  ['date', '"2026-02-28"', '2026-02-28'],
  ['time', '"23:59:58"', '23:59:58'],
  ['timestamp(6)', '"2026-11-25T19:08:38.123456"', '2026-11-25 19:08:38.123456'],
]

const CASES: Record<DatabaseKind, Case[]> = {
  PostgreSQL: [
    ...BOTH,
    ['numeric', '1.0', '1.0'],
    ['numeric', DIGITS, DIGITS],
    ['numeric', '1e30', '1000000000000000000000000000000'],
    ['real', '1.5', '1.5'],
    ['double precision', '1.7976931348623157e308', '1.7976931348623157e+308'],
    ['boolean', 'true', 't'],
    ['boolean', 'false', 'f'],
    ['boolean', '"yes"', 't'],
    ['json', '"text"', '"text"'],
    ['jsonb', '"text"', '"text"'],
    ['jsonb', DOCUMENT, '{"a": [9223372036854775807, {"c": null}], "b": 1.0, "é": "\\"x\\""}'],
    ['jsonb', 'true', 'true'],
    ['timestamptz', '"2026-11-25T19:08:38.123456+02:00"', '2026-11-25 17:08:38.123456+00'],
    ['timestamptz', '"2026-11-25T19:08:38Z"', '2026-11-25 19:08:38+00'],
    ['timestamptz', '"2026-11-25T19:08:38"', '2026-11-25 19:08:38+00'],
    ['timestamp', '"2026-11-25T19:08:38.123456+02:00"', '2026-11-25 17:08:38.123456'],
    ['timestamp(0)', '"2026-11-25 19:08:38 America/New_York"', '2026-11-26 00:08:38'],
    [
      'timestamp[]',
      '["2026-11-25T19:08:38Z","2026-11-25T19:08:38+02"]',
      '{"2026-11-25 19:08:38","2026-11-25 17:08:38"}',
    ],
    ['timestamp', '"infinity"', 'infinity'],
    ['interval', '"P1DT2H"', '1 day 02:00:00'],
    ['uuid', '"0190f6a0-0000-7000-8000-000000000001"', '0190f6a0-0000-7000-8000-000000000001'],
    ['inet', '"10.0.0.1/8"', '10.0.0.1/8'],
    ['bytea', '"\\\\x00ff10"', '\\x00ff10'],
    ['integer[]', '[1,2,null]', '{1,2,NULL}'],
    ['text[]', '["a b","c\\"d"]', '{"a b","c\\"d"}'],
    ['numeric[]', '[1.0,9223372036854775807]', '{1.0,9223372036854775807}'],
    ['char(4)', '"ab"', 'ab  '],
    ['mood', '"happy"', 'happy'],
    ['percent', '99', '99'],
  ],
  MariaDB: [
    ...BOTH,
    ['bigint unsigned', '18446744073709551615', '18446744073709551615'],
    ['integer', '3.0', '3'],
    ['boolean', 'true', '1'],
    ['boolean', 'false', '0'],
    ['datetime(6)', '"2026-11-25T19:08:38.123456+02:00"', '2026-11-25 17:08:38.123456'],
    ['datetime', '"2026-11-25T19:08:38Z"', '2026-11-25 19:08:38'],
    ['datetime', '"2026-11-25 19:08:38"', '2026-11-25 19:08:38'],
    ['timestamp(3) null', '"2026-11-25T19:08:38.123-05:30"', '2026-11-26 00:38:38.123'],
    ['year', '2026', '2026'],
    ['integer', '"3.0"', '3'],
    ["enum('sad','happy')", '"happy"', 'happy'],
    ["enum('sad','2')", '2', '2'],
    ["set('sad','happy')", '"sad,happy"', 'sad,happy'],
    ['bit(12)', '5', '\0\u0005'],
    ['bit(1)', 'true', '\u0001'],
    ['uuid', '"0190f6a0-0000-7000-8000-000000000001"', '0190f6a0-0000-7000-8000-000000000001'],
    ['char(4)', '"ab"', 'ab'],
  ],
}

const NEVER_TOLD = 'zq7-never-told'
const MISFITS: [type: string, json: string][] = [
  ['integer', `"${NEVER_TOLD}"`],
  ['integer', '99999999990001'],
  ['integer', '1.5'],
  ['smallint', '70001'],
  ['numeric(5,2)', '123456.5'],
  ['varchar(3)', `"${NEVER_TOLD}"`],
  ['date', `"${NEVER_TOLD}"`],
  ['timestamp(6)', '"2026-02-30T10:00:00Z"'],
  ['varchar(40)', '"\\ud800 zq7"'],
  ['time', '"10:00:00+02:00"'],
  ['time', '"10:00:00Z"'],
]

/** What MySQL and MariaDB would take, as another value. */
const BENT: typeof MISFITS = [
  ['integer', '"1.7"'],
  ['bigint', '"70001e-2"'],
  ["enum('sad','happy')", '1'],
  ["enum('sad','happy')", '"2"'],
  ["set('sad','happy')", '3'],
]

/** Text in PostgreSQL has no character 0. */
const NO_NUL: typeof MISFITS = [
  ['text', '"a\\u0000zq7"'],
  ['jsonb', '{"a":"\\u0000zq7"}'],
]

for (const kind of DATABASE_KINDS) {
  const isPostgres = kind === 'PostgreSQL'
  const describe = await describeWith(...(kind === 'MariaDB' ? (['mariadb'] as const) : []))

  describe(`the types of ${kind}`, () => {
    let server: TestDatabaseServer
    let tables = 0

    beforeAll(async () => {
      server = await startDatabase(kind, { password: SECRET })
      if (isPostgres) {
        await server.ask("create type mood as enum ('sad', 'happy')")
        await server.ask('create domain percent as integer check (value between 0 and 100) not null')
      }
    }, INSTALL_MS)
    afterAll(() => server?.close())

    async function aTable(type: string): Promise<string> {
      tables += 1
      await server.ask(`create table t${tables} (id integer, value ${type})`)
      return `t${tables}`
    }

    it.each(CASES[kind])('%s keeps %s', async (type, json, expected) => {
      const table = await aTable(type)
      await send(aConfig({ url: server.url(), table }), aPayload(`{"id": 1, "value": ${json}}`))
      expect(await server.ask(`select id, value from ${table}`)).toEqual([{ id: '1', value: expected }])
    })

    it.each([...MISFITS, ...(isPostgres ? NO_NUL : BENT)])(
      '%s refuses %s by the name of its column and the number of its row',
      async (type, json) => {
        const table = await aTable(type)
        const rows = `[{"id": 1, "value": null}, {"id": 2, "value": null}, {"id": 3, "value": ${json}}]`
        const error = await failureOf(send(aConfig({ url: server.url(), table }), aPayload(rows)))
        expect(error).toMatchObject({ code: 'REJECTED', retryable: false })
        expect(error.message).toContain('column "value"')
        expect(error.message).toContain('row 3')
        const shown = inspect(error, { depth: 10, showHidden: true })
        for (const token of [NEVER_TOLD, '99999999990001', '123456.5', '70001', '02-30', 'zq7']) {
          expect(shown).not.toContain(token)
        }
        expect(await server.ask(`select * from ${table}`)).toEqual([])
      },
    )

    it('bytes come as base64, in either alphabet', async () => {
      const table = await aTable(isPostgres ? 'bytea' : 'varbinary(100)')
      const config = aConfig({
        url: server.url(),
        table,
        columns: { id: 'id', value: { path: 'bytes', decode: 'base64' } },
      })
      await send(
        config,
        aPayload([
          { id: 1, bytes: 'AP/+YQ==' },
          { id: 2, bytes: 'AP_-YQ' },
          { id: 3, bytes: null },
        ]),
      )
      const hex = isPostgres ? "encode(value, 'hex')" : 'lower(hex(value))'
      expect(await server.ask(`select ${hex} as hex from ${table} order by id`)).toEqual([
        { hex: '00fffe61' },
        { hex: '00fffe61' },
        { hex: null },
      ])
      const error = await failureOf(send(config, aPayload([{ id: 1, bytes: `${NEVER_TOLD}!` }])))
      expect(error).toMatchObject({ code: 'REJECTED' })
      expect(error.message).toContain('column "value"')
      expect(error.message).not.toContain(NEVER_TOLD)
    })
  })
}
