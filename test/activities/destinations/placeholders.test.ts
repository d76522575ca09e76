import { describe, expect, it } from 'vitest'
import { restConfig } from '../../../activities/destinations/rest/config.ts'
import { readPayload } from '../../../activities/destinations/template/payload-paths.ts'
import {
  fillHeader,
  fillUrl,
  literalUrl,
  placeholderProblem,
  urlProblem,
} from '../../../activities/destinations/template/placeholders.ts'

const PAYLOAD = String.raw`{"id": 9223372036854775807, "price": 1.0, "e": 1e3, "ok": true, "none": null, "text": "a/b c?d=é&#",
 "nul": "x\u0000y", "line": "a\r\nEvil: 1", "lone": "\ud800", "dot": ".", "dots": "..", "empty": "", "enc": "%2e%2e",
 "deep": {"items": [{"id": 5}, {"id": 6, "big": [1, 2, {"id": 7}]}], "id": "last"}, "twice": 1, "twice": 2}`

const words = {
  tenant_id: 'acme',
  distribution_id: 'dist_1',
  delivery_id: 'd-1',
  data_type: 'report/été',
  attempt_number: 3,
  body: Buffer.from(PAYLOAD),
}

describe('in a URL', () => {
  it.each([
    ['https://h/{tenant_id}/{distribution_id}/{delivery_id}/{attempt_number}', 'https://h/acme/dist_1/d-1/3'],
    ['https://h/{data_type}', 'https://h/report%2F%C3%A9t%C3%A9'],
    ['https://h/a?q={payload.text}&r=1', 'https://h/a?q=a%2Fb%20c%3Fd%3D%C3%A9%26%23&r=1'],
    ['https://h/{payload.id}', 'https://h/9223372036854775807'],
    ['https://h/{payload.price}/{payload.e}/{payload.ok}', 'https://h/1.0/1e3/true'],
    ['https://h/{payload.deep.items[1].id}/{payload.deep.items.0.id}', 'https://h/6/5'],
    ['https://h/{payload.deep.items[1].big[2].id}/{payload.deep.id}', 'https://h/7/last'],
    ['https://h/{payload.twice}', 'https://h/2'],
    ['https://h/{payload.line}', 'https://h/a%0D%0AEvil%3A%201'],
    ['https://h/{payload.nul}', 'https://h/x%00y'],
    ['https://h/{payload.lone}', 'https://h/%EF%BF%BD'],
    ['https://h/?q={payload.empty}', 'https://h/?q='],
    ['https://h/v{{1}}', 'https://h/v%7B1%7D'],
    ['https://h/{payload.enc}', 'https://h/%252e%252e'],
    ['https://h:8443/x{payload.dots}', 'https://h:8443/x..'],
  ])('%s becomes %s', (template, expected) => {
    expect(urlProblem(template)).toBeUndefined()
    expect(fillUrl(template, words).href).toBe(expected)
  })

  it.each([
    'payload.missing',
    'payload.none',
    'payload.deep',
    'payload.deep.items',
    'payload.id.x',
    'payload.deep.items[9].id',
  ])('a path that finds nothing ends as MISCONFIGURED and is named: {%s}', (name) => {
    expect(() => fillUrl(`https://h/{${name}}`, words)).toThrow(
      expect.objectContaining({ code: 'MISCONFIGURED', message: expect.stringContaining(`{${name}}`) }),
    )
  })

  it.each(['{payload.dot}', '{payload.dots}', '{payload.empty}', '{payload.dot}{payload.dot}', '%2e{payload.dot}'])(
    'a value may not leave its place in the path: %s',
    (segment) => {
      expect(() => fillUrl(`https://h/items/${segment}/x`, words)).toThrow(
        expect.objectContaining({ code: 'MISCONFIGURED' }),
      )
    },
  )
})

describe('a placeholder never chooses the receiver', () => {
  it.each(['http:///{payload.text}/', 'http:{tenant_id}', 'http://h:{attempt_number}/', 'http://{tenant_id}@h/'])(
    'also in a configuration that was stored before it was refused: %s',
    (template) => {
      expect(() => fillUrl(template, words)).toThrow(expect.objectContaining({ code: 'MISCONFIGURED' }))
    },
  )

  it.each([
    ['http:h/{tenant_id}', 'http://h/acme'],
    ['http:///h/{tenant_id}?q={attempt_number}', 'http://h/acme?q=3'],
  ])('and has its value in the path and query of any spelling: %s', (template, expected) => {
    expect(urlProblem(template)).toBeUndefined()
    expect(fillUrl(template, words).href).toBe(expected)
  })
})

describe('in a header', () => {
  it('values are filled in, and travel as UTF-8', () => {
    expect(fillHeader('X-A', '{tenant_id}: {payload.id} {{}}', words)).toBe('acme: 9223372036854775807 {}')
    expect(Buffer.from(fillHeader('X-A', '{data_type}', words), 'latin1').toString('utf8')).toBe('report/été')
  })

  it.each(['{payload.line}', '{payload.nul}'])('a line break or NUL is refused and never sent: %s', (template) => {
    expect(() => fillHeader('X-A', template, words)).toThrow(
      expect.objectContaining({ code: 'MISCONFIGURED', message: expect.stringContaining(template) }),
    )
  })

  it('a lone surrogate becomes the replacement character', () => {
    expect(Buffer.from(fillHeader('X-A', '{payload.lone}', words), 'latin1').toString('utf8')).toBe('\ufffd')
  })
})

describe('at registration', () => {
  it.each([
    ['https://h/{tennant_id}', 'unknown placeholder {tennant_id}; the nearest known one is {tenant_id}'],
    ['https://h/{}', 'unknown placeholder {}'],
    ['https://h/{id}', '{attempt_number} or a value of the payload such as {payload.customer.id}'],
    ['https://h/{payload.}', 'invalid path {payload.}'],
    ['https://h/{payload.a..b}', 'invalid path'],
    ['https://h/{tenant_id', 'single "{"'],
    ['https://{tenant_id}.h/', 'outside of its path and query'],
    ['https://h:{attempt_number}/', 'outside of its path and query'],
    ['http:///{payload.host}/', 'outside of its path and query'],
    ['http:{payload.host}', 'outside of its path and query'],
    ['http:/{payload.host}', 'outside of its path and query'],
    ['http:////{payload.host}/x', 'outside of its path and query'],
    ['http://h{payload.host}', 'outside of its path and query'],
    ['http://{payload.a}{payload.b}/', 'outside of its path and query'],
    ['http://1.2.3.{payload.host}/', 'outside of its path and query'],
    ['http://h:8{payload.port}/', 'outside of its path and query'],
    ['http:h:{payload.port}', 'outside of its path and query'],
    ['http://h%2{payload.host}/', 'outside of its path and query'],
    ['http://[::{payload.host}]/', 'outside of its path and query'],
    ['http:\\\\{payload.host}/', 'a backslash'],
    ['http://user@{payload.host}/', 'outside of its path and query'],
    ['http://{payload.user}@h/', 'outside of its path and query'],
    ['http://{payload.user}:{payload.password}@h/', 'outside of its path and query'],
    ['//{payload.host}/', 'is not a URL'],
    ['{payload.scheme}://h/', 'is not a URL'],
    ['http{payload.scheme}://h/', 'must begin with https:// or http://'],
    ['{payload.url}', 'is not a URL'],
    ['https://u:p@h/', 'must not contain credentials'],
    ['ftp://h/', 'must begin with https:// or http://'],
    ['https://h/#x', 'must not have a fragment'],
    ['https://h/ x', 'has a space'],
    ['https://h\\@evil/', 'a backslash'],
    ['nonsense', 'is not a URL'],
    ['https://', 'is not a URL'],
  ])('%s is refused: %s', (template, problem) => {
    expect(urlProblem(template)).toContain(problem)
    expect(restConfig.safeParse({ endpoint: template }).error?.issues[0]?.path).toEqual(['endpoint'])
  })

  it('headers are held to the same', () => {
    expect(placeholderProblem('{data_tpe}')).toContain('{data_type}')
    const parsed = restConfig.safeParse({
      endpoint: 'https://h/',
      headers: {
        'X-A': '{nope}',
        'X-B': 'a\nb',
        Host: 'x',
        Authorization: 'x',
        'X-C': '1',
        'x-c': '2',
        'bad name': 'x',
      },
    })
    expect(parsed.error?.issues.map((issue) => issue.path[1]).sort()).toEqual(
      ['Authorization', 'Host', 'X-A', 'X-B', 'bad name'].sort(),
    )
    expect(restConfig.safeParse({ endpoint: 'https://h/', headers: { 'X-C': '1', 'x-c': '2' } }).success).toBe(false)
  })
})

it.each(['https://h/{tenant_id}?x={a}#part', 'https://h/a b', 'https://h/{{x}}'])(
  'a URL that is meant literally keeps its braces: %s',
  (url) => {
    const endpoint = literalUrl(url)
    expect(urlProblem(endpoint)).toBeUndefined()
    const expected = new URL(url)
    expected.hash = ''
    expect(fillUrl(endpoint, words).href).toBe(expected.href)
  },
)

it('the payload is not read beyond what is asked for', () => {
  const body = Buffer.from(
    `{"skip": [${'{"id": 1},'.repeat(1000)} 1], "a": {"id": 2, "other": {"id": 3}}, "b": 1, "b": {"id": 4}}`,
  )
  expect(readPayload(body, ['payload.a.id', 'payload.b.id', 'payload.skip[2].id'])).toEqual(
    new Map([
      ['payload.a.id', '2'],
      ['payload.b.id', '4'],
      ['payload.skip[2].id', '1'],
    ]),
  )
  expect(readPayload(Buffer.from('{"b": {"id": 4}, "b": 1}'), ['payload.b.id'])).toEqual(new Map())
})
