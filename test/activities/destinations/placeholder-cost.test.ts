import { describe, expect, it } from 'vitest'
import { DeliveryError } from '../../../activities/destinations/errors.ts'
import { readAhead, readPayload } from '../../../activities/destinations/template/payload-paths.ts'
import {
  fillHeader,
  fillTemplate,
  fillUrl,
  readPlaceholders,
} from '../../../activities/destinations/template/placeholders.ts'
import { leastOf } from '../../support/loop.ts'

const words = { tenant_id: 'acme', distribution_id: 'dist_1', delivery_id: 'd-1', data_type: 'x', attempt_number: 1 }
const messageOf = (payload: string) => ({ ...words, body: Buffer.from(payload) })
const list = (count: number, make: (n: number) => string) => Array.from({ length: count }, (_, n) => make(n)).join(',')

describe('what a placeholder costs follows from the bytes of the payload alone:', () => {
  const deep = (inner: string) => `{"a":${'['.repeat(470)}${inner}${']'.repeat(470)}}`
  const downTo = (levels: number) => `payload.a${'[0]'.repeat(levels)}`
  const honest = `{"id":7,"rows":[${list(50_000, (id) => `{"id":${id},"name":"customer ${id}"}`)}]}`
  const cases: [string, string, string[]][] = [
    ['a path far down, beside a million numbers', deep(`${'0,'.repeat(1_000_000)}0`), [downTo(471)]],
    ['a path that ends above them', deep(`${'0,'.repeat(1_000_000)}0`), [downTo(300)]],
    ['many paths far down', deep(`${'0,'.repeat(500_000)}0`), Array.from({ length: 470 }, (_, n) => downTo(n + 1))],
    [
      'a key that comes again and again',
      `{"a":{${'"b":1,'.repeat(400_000)}"b":2}}`,
      ['payload.a.b', 'payload.a.c', 'payload.a'],
    ],
    [
      'an object that comes again and again, with many paths into it',
      `{${'"a":{},'.repeat(300_000)}"a":1}`,
      Array.from({ length: 1000 }, (_, n) => `payload.a.k${n}`),
    ],
    ['a value that comes again and again far down', deep(`{${'"b":1,'.repeat(300_000)}"b":2}`), [`${downTo(470)}.b`]],
    ['keys that are escaped', `{${'"\\u0061":1,'.repeat(150_000)}"b":2}`, ['payload.a', 'payload.b']],
  ]

  it.each(cases)('%s', { timeout: 60_000 }, async (_, payload, paths) => {
    const fair = await leastOf(3, () => readAhead(Buffer.from(honest), ['payload.id', 'payload.rows[1].name']))
    const held = await leastOf(3, () => readAhead(Buffer.from(payload), paths))
    const share = Math.max(1, payload.length / honest.length)
    // Tokens of one byte each are as dense as it gets.
    expect(held.total).toBeLessThan(12 * share * fair.total)
    expect(held.longest).toBeLessThan(12 * fair.longest)
  })
})

it('finds the same in one go, ahead, and beside others', async () => {
  const payload =
    '{"a": [1, {"b": "x", "\\u0063": true}], "b": {"c": 1.0}, "b": {"d": null, "e": 2}, "n": null, "é": "ü"}'
  const paths = [
    'payload.a[0]',
    'payload.a.0',
    'payload.a[1].b',
    'payload.a[1].c',
    'payload.b.c',
    'payload.b.e',
    'payload.n',
  ]
  const found = new Map([
    ['payload.a[0]', '1'],
    ['payload.a.0', '1'],
    ['payload.a[1].b', 'x'],
    ['payload.a[1].c', 'true'],
    ['payload.b.e', '2'],
    ['payload.é', 'ü'],
  ])
  const body = Buffer.from(payload)
  await readAhead(body, paths.slice(0, 3))
  expect(readPayload(body, [...paths, 'payload.é'])).toEqual(found)
  expect(readPayload(Buffer.from(payload), [...paths, 'payload.é'])).toEqual(found)
})

it('a payload is read once for all texts of a configuration', async () => {
  const message = messageOf('{"id": 7, "who": "me"}')
  await readPlaceholders({ endpoint: 'https://h/{payload.id}', headers: { a: '{payload.who}' } }, message)
  // What was read ahead is not read again.
  message.body.fill(0x20)
  expect(fillUrl('https://h/{payload.id}', message).href).toBe('https://h/7')
  expect(fillHeader('a', '{payload.who}', message)).toBe('me')
})

describe('what placeholders bring is bounded:', () => {
  const long = messageOf(`{"text": "${'x'.repeat(9000)}"}`)
  const refusal = expect.objectContaining({
    code: 'MISCONFIGURED',
    message: expect.stringContaining('is too long'),
  })

  it('into a URL, and into a header', () => {
    expect(fillUrl('https://h/{payload.text}', { ...long }).pathname).toHaveLength(9001)
    expect(() => fillUrl('https://h/{payload.text}/{payload.text}', { ...long })).toThrow(refusal)
    expect(() => fillHeader('a', '{payload.text}{payload.text}', { ...long })).toThrow(refusal)
  })

  it('into any other text, and into all of a message', () => {
    expect(fillTemplate('{payload.text}'.repeat(100), { ...long })).toHaveLength(900_000)
    expect(() => fillTemplate('{payload.text}'.repeat(200), { ...long })).toThrow(refusal)
    const message = { ...long }
    const fill = () => fillTemplate('{payload.text}'.repeat(100), message)
    for (let n = 0; n < 9; n++) fill()
    expect(fill).toThrow(DeliveryError)
  })
})
