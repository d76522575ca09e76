import { expect, it } from 'vitest'
import { jsonText } from '../../../activities/destinations/jdbc/json.ts'
import { rowsOf } from '../../../activities/destinations/jdbc/rows.ts'
import { type Held, leastOf } from '../../support/loop.ts'
import { aConfig, aPayload } from './writing-rows.ts'

const url = 'jdbc:postgresql://database.test/reports'
const read = async (payload: string, rows_path?: string) => {
  const rows = await rowsOf(aConfig({ url, table: 't', ...(rows_path && { rows_path }) }), aPayload(payload))
  return [...rows.each()].map(({ columns, cells }) => columns.map((column, at) => `${column}=${jsonText(cells[at])}`))
}

it.each([
  ['{"a":1.0,"b":[1,{"c":null}]}', undefined, [['a=1.0', 'b=[1,{"c":null}]']]],
  ['[{"a":1},{"a":9007199254740993}]', '$', [['a=1'], ['a=9007199254740993']]],
  ['{"x":{"rows":[{"a":1}]}}', 'x.rows', [['a=1']]],
  ['{"x":[0,{"rows":{"a":1}}]}', 'x[1].rows', [['a=1']]],
  ['{"rows":[{"a":1}],"other":{"rows":[]},"rows":[{"a":2},{"a":3,"a":4}]}', 'rows', [['a=2'], ['a=4']]],
  ['{"x":{"rows":[{"a":1}]},"x":{"r\\u006fws":[{"a":2}]}}', 'x.rows', [['a=2']]],
  ['{"rows":[]}', 'rows', []],
  ['{"rows":[{"a":"}],[{"}, {"a":[[]]}]}', 'rows', [['a="}],[{"'], ['a=[[]]']]],
  ['[{"__proto__":1}]', undefined, [['__proto__=1']]],
] as const)('finds the rows of %s at %s', async (payload, path, expected) => {
  expect(await read(payload, path)).toEqual(expected)
})

it.each([
  [
    '{"rows":[{"a":1}],"rows":7}',
    'rows',
    '"rows" in the payload is a number; rows are an object or an array of objects',
  ],
  ['{"x":{"rows":[]},"x":null}', 'x.rows', '"x.rows" in the payload is missing'],
  ['{"rows":[{"a":1}]}', 'rows[1].a', 'is missing'],
  ['[{"a":1}]', 'a', 'is missing'],
  ['[{},[{}],1]', '$', '"$" in the payload has an array for row 2; rows are objects'],
  ['"text"', undefined, 'the payload is a text'],
  ['[{}', undefined, 'is not JSON'],
] as const)('refuses %s at %s', async (payload, path, message) => {
  await expect(read(payload, path)).rejects.toMatchObject({
    code: 'REJECTED',
    message: expect.stringContaining(message),
  })
})

it('millions of rows hold the event loop no longer than some do, and are built one by one', {
  timeout: 60_000,
}, async () => {
  const config = aConfig({ url, table: 't', rows_path: 'rows' })
  const payloads = [
    `{"rows":[${Array.from({ length: 60_000 }, (_, id) => `{"id":${id},"name":"customer ${id}"}`).join(',')}]}`,
    `{"rows":[${'{},'.repeat(1_900_000)}{}]}`,
    `{"other":[${'[],'.repeat(1_000_000)}0],"rows":[{}]}`,
    `{${'"rows":[{}],'.repeat(300_000)}"rows":[{}]}`,
    `{"rows":[{"a":[${'0,'.repeat(600_000)}0]}]}`,
  ].map((text) => aPayload(text))
  const measured: Held[] = []
  for (const payload of payloads) measured.push(await leastOf(2, () => rowsOf(config, payload)))
  const [fair, ...held] = measured
  for (const { longest } of held) expect(longest).toBeLessThan(5 * Math.max(fair!.longest, 10))
})
