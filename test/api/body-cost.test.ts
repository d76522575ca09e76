// What a body costs: of those that are made to cost much, none holds the event loop longer than an honest one of the same
// size, or takes many times its time of the processor. Both are measured beside each other, in the same process.
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Held, leastOf, whileRunning } from '../support/loop.ts'
import { type ApiUnderTest, startApi } from './api-under-test.ts'

const SIZE = 10_000_000
const SUBMIT = '/distribution/submit'
const BULK = '/distribution/bulk-submit'
const TO = '"destinations":[{"name":"d","protocol":"REST","endpoint":"https://receiver.example/in"}]'

let api: ApiUnderTest
let honest: Held
let sendHonest: () => Promise<void>
beforeAll(async () => {
  api = await startApi()
  const records = Array.from({ length: 70_000 }, (_, id) => ({
    id,
    name: `customer ${id}`,
    amount: id * 1.25,
    tags: ['a', 'b'],
  }))
  const any = [
    { path: 'payload.rows[*].id', operator: 'equal', value: 'x' },
    { path: 'payload[*].a', operator: 'equal', value: 'x' },
  ]
  const actions = { priority: 'low' }
  const rule = { name: 'looks', rule_type: 'prioritization', conditions: { any }, actions }
  expect((await api.call('POST', '/rules', rule, { key: api.keys.acme.admin })).status).toBe(201)
  const text = `"${'lorem ipsum '.repeat(400_000)}"`
  const body = gzipSync(`{"data_type":"x","payload":[${text},${JSON.stringify(records)}],${TO}}`)
  await send(SUBMIT, body)
  sendHonest = async () => expect((await send(SUBMIT, body)).status).toBe(202)
  honest = await leastOf(3, sendHonest)
}, 120_000)
afterAll(() => api.close())

/**
 * What a body costs, and what an honest one costs beside it. Other tests run at the same time and slow some rounds down,
 * so a round that looks too dear is repeated next to an honest body.
 */
async function cost(work: () => Promise<unknown>): Promise<{ held: Held; beside: Held }> {
  let beside = honest
  for (let round = 1; ; round++) {
    const held = await whileRunning(work)
    const cheap = held.longest < 5 * beside.longest && held.total < 5 * beside.total
    if (cheap || round === 6) return { held, beside }
    beside = await whileRunning(sendHonest)
  }
}

const send = (path: string, body: Uint8Array) =>
  api.call('POST', path, body, { key: api.keys.acme.admin, headers: { 'Content-Encoding': 'gzip' } })

const fill = (part: string) => part.repeat(Math.floor(SIZE / part.length))
const list = (count: number, make: (n: number) => string) => Array.from({ length: count }, (_, n) => make(n)).join(',')
const submission = (payload: string, more = '') => `{"data_type":"x","payload":${payload},${TO}${more}}`
const withMetadata = (metadata: string) => submission('1', `,"metadata":${metadata}`)
const withInline = (fields: string) =>
  `{"data_type":"x","payload":1,"destinations":[{"name":"i","protocol":"REST",${fields}}]}`
const deep = (open: string, inner: string, close: string, levels = 480) =>
  `${open.repeat(levels)}${inner}${close.repeat(levels)}`
/** A number that PostgreSQL would write with 131,072 digits. */
const LONG_NUMBER = '1e131071'

const cases: [string, string, string, number][] = [
  [
    'millions of elements deep in the metadata',
    SUBMIT,
    withMetadata(`{"a":${deep('[', `${'0,'.repeat(4_000_000)}"\\u0000"`, ']')}}`),
    400,
  ],
  [
    'as many values outside of the payload as there may be, deep down',
    SUBMIT,
    withMetadata(deep('{"long_key_of_a_level":', `[${'"\\u0000",'.repeat(24_000)}0]`, '}')),
    400,
  ],
  ['millions of empty objects', SUBMIT, submission(`[${fill('{},')}{}]`), 400],
  ['as many values as there may be', SUBMIT, submission(`[${'0,'.repeat(1_990_000)}0]`), 202],
  ['the same key a million times', SUBMIT, withMetadata(`{${fill('"a":0,')}"a":0}`), 400],
  [
    'the same key as often as there may be values, deep down',
    SUBMIT,
    withMetadata(deep('{"long_key_of_a_level":', `{${'"a":0,'.repeat(24_000)}"a":0}`, '}')),
    400,
  ],
  ['a key of megabytes', SUBMIT, submission('1', `,"${fill('k')}":1`), 400],
  ['many unknown fields', SUBMIT, submission('1', `,${list(20_000, (n) => `"k${n}":0`)}`), 400],
  ['many unknown options', SUBMIT, submission('1', `,"options":{${list(20_000, (n) => `"k${n}":0`)}}`), 400],
  [
    'unknown fields with long names',
    SUBMIT,
    submission('1', `,${list(400, (n) => `"${'k'.repeat(8000)}${n}":0`)}`),
    400,
  ],
  ['nothing but escapes', SUBMIT, submission(`"${fill('\\n')}"`), 202],
  ['nothing but halves of characters', SUBMIT, submission(`"${fill('\\ud83d')}"`), 202],
  ['a number with megabytes of digits', SUBMIT, submission(fill('1')), 202],
  [
    'a number with megabytes of digits outside of the payload',
    SUBMIT,
    submission('1', `,"priority":${fill('1')}`),
    400,
  ],
  ['numbers that would be written out in the payload', SUBMIT, submission(`[${fill(`${LONG_NUMBER},`)}0]`), 202],
  [
    'numbers that would be written out in the metadata',
    SUBMIT,
    withMetadata(`[${`${LONG_NUMBER},`.repeat(7000)}0]`),
    400,
  ],
  ['megabytes of blanks', SUBMIT, `${fill(' ')}${submission('1')}`, 202],
  ['a fault behind megabytes of line breaks', SUBMIT, `${fill('\n')}${submission('1')}x`, 400],
  ['megabytes of brackets', SUBMIT, fill('['), 400],
  ['an endpoint of megabytes of braces', SUBMIT, withInline(`"endpoint":"https://a.example/${fill('{{')}"`), 400],
  [
    'long endpoints of braces',
    SUBMIT,
    `{"data_type":"x","payload":1,"destinations":[${list(16, (n) => `{"name":"i${n}","protocol":"REST","endpoint":"https://a.example/${'{{'.repeat(120_000)}"}`)}]}`,
    400,
  ],
  [
    'thousands of headers',
    SUBMIT,
    withInline(`"endpoint":"https://a.example/","headers":{${list(20_000, (n) => `"h${n}":"{payload.a}"`)}}`),
    400,
  ],
  [
    'a thousand inline destinations with faults',
    SUBMIT,
    `{"data_type":"x","payload":1,"destinations":[${list(1000, (n) => `{"name":"i${n}","protocol":"REST","a":1,"b":2}`)}]}`,
    400,
  ],
  ['millions of items', BULK, `{"distributions":[${fill('{},')}{}]}`, 400],
  ['ten thousand items with faults', BULK, `{"distributions":[${list(9999, () => '{"a":1}')}]}`, 400],
  [
    'items with the same key thousands of times',
    BULK,
    `{"distributions":[${list(100, () => `{"metadata":{${'"a":1,'.repeat(9000)}"a":1}}`)}]}`,
    400,
  ],
  [
    'millions of elements in a data type',
    '/data-types',
    `{"id":"t","schema_definition":{"enum":[${'0,'.repeat(500_000)}0]}}`,
    400,
  ],
  [
    'millions of conditions in a rule',
    '/rules',
    `{"name":"r","rule_type":"routing","actions":{},"conditions":{"any":[${'{},'.repeat(300_000)}{}]}}`,
    400,
  ],
  ['millions of names in a retry', '/distribution/retry', `{"status":[${'"a",'.repeat(250_000)}"a"]}`, 400],
]

describe('a body costs about what an honest one of ten megabytes does:', () => {
  it.each(cases)('%s', { timeout: 60_000 }, async (_, path, text, status) => {
    const body = gzipSync(text, { level: 1 })
    const { held, beside } = await cost(async () => expect((await send(path, body)).status).toBe(status))
    expect(held.longest).toBeLessThan(5 * beside.longest)
    expect(held.total).toBeLessThan(5 * beside.total)
  })

  it.each([
    ['few values at the paths of the rules', `{"a":[${'0,'.repeat(1_900_000)}0]}`],
    ['many values at the paths of the rules', `{"rows":[${'{"id":0},'.repeat(240_000)}{}]}`],
    ['more values than rules may look at', `[${'{"a":0},'.repeat(600_000)}0]`],
    ['a great many keys', `{${list(800_000, (n) => `"${n}":0`)}}`],
  ])('rules that are tried on %s', { timeout: 60_000 }, async (_, payload) => {
    const body = gzipSync(`{"data_type":"x","payload":${payload}}`, { level: 1 })
    const { held, beside } = await cost(async () => expect((await send('/rules/evaluate', body)).status).toBe(200))
    expect(held.longest).toBeLessThan(5 * beside.longest)
    expect(held.total).toBeLessThan(5 * beside.total)
  })

  it('four at once block the event loop no longer than one does', { timeout: 60_000 }, async () => {
    const body = gzipSync(submission(`[${'{},'.repeat(1_900_000)}{}]`), { level: 1 })
    const four = () => Promise.all(Array.from({ length: 4 }, () => send(SUBMIT, body)))
    const { held, beside } = await cost(async () => {
      for (const { status } of await four()) expect(status).toBe(202)
    })
    expect(held.longest).toBeLessThan(5 * beside.longest)
  })
})
