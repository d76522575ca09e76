import { describe, expect, it } from 'vitest'
import { JsonFault, JsonScanner, TOKEN } from '../../activities/document/scan.ts'

function scan(text: string, bounds?: ConstructorParameters<typeof JsonScanner>[1]): number[] {
  const scanner = new JsonScanner(Buffer.from(text), bounds)
  const tokens: number[] = []
  for (let token = scanner.next(); token !== TOKEN.end; token = scanner.next()) tokens.push(token)
  return tokens
}

/** The document as the tokens spell it. */
function rebuild(text: string): unknown {
  const scanner = new JsonScanner(Buffer.from(text))
  const root: unknown[] = []
  const open: { container: unknown[] | Record<string, unknown>; key: string }[] = [{ container: root, key: '' }]
  for (let token = scanner.next(); token !== TOKEN.end; token = scanner.next()) {
    const top = open.at(-1)!
    if (token === TOKEN.key) {
      top.key = scanner.text()
      continue
    }
    if (token === TOKEN.closeObject || token === TOKEN.closeArray) {
      open.pop()
      continue
    }
    const value =
      token === TOKEN.openObject
        ? {}
        : token === TOKEN.openArray
          ? []
          : token === TOKEN.string
            ? scanner.text()
            : JSON.parse(text.slice(scanner.start, scanner.end))
    if (Array.isArray(top.container)) top.container.push(value)
    else Object.defineProperty(top.container, top.key, { value, enumerable: true, configurable: true, writable: true })
    if (typeof value === 'object' && value !== null) open.push({ container: value as unknown[], key: '' })
  }
  return root[0]
}

function accepts(text: string): boolean {
  try {
    scan(text)
    return true
  } catch (error) {
    if (error instanceof JsonFault) return false
    throw error
  }
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

describe('the scanner', () => {
  it('accepts what JSON.parse accepts, and nothing else', () => {
    const pieces = [
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '"a"',
      '"\\u00e9\\n"',
      '"\\x"',
      '"',
      '1',
      '-0',
      '01',
      '1.',
      '.5',
      '1e5',
      '1e',
    ]
    pieces.push(
      '-',
      '+1',
      'true',
      'false',
      'null',
      'nul',
      ' ',
      '\n',
      '\t',
      '\f',
      '//',
      '"\u0001"',
      '1.5E-3',
      '"\\ud83d"',
    )
    let seed = 7
    const random = (below: number) => {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648
      return Math.floor((seed / 2_147_483_648) * below)
    }
    let accepted = 0
    for (let i = 0; i < 60_000; i++) {
      const text = Array.from({ length: 1 + random(7) }, () => pieces[random(pieces.length)]).join('')
      const expected = isJson(text)
      if (expected) accepted += 1
      if (accepts(text) !== expected) expect.fail(`${JSON.stringify(text)} is ${expected ? '' : 'not '}JSON`)
    }
    expect(accepted).toBeGreaterThan(1000)
  })

  it.each([
    '{"a":{"b":[1,2,{"c":null}],"d":"\\u00e9\\ud83d\\ude00\\"\\\\\\/"},"e":[[],{},""],"__proto__":1}',
    ' [ 1 , -0.5e+10 , true , false , null , "é😀" ] ',
    '"only a text"',
    '0',
  ])('tells the tokens of %s', (text) => {
    expect(rebuild(text)).toEqual(JSON.parse(text))
  })

  it('bounds the depth, and the values', () => {
    const bounds = { max_depth: 3, max_values: 4 }
    expect(scan('[[[1]]]', bounds)).toHaveLength(7)
    expect(() => scan('[[[[1]]]]', bounds)).toThrow(expect.objectContaining({ kind: 'depth', offset: 3 }))
    expect(scan('{"a":1,"b":2,"c":3}', bounds)).toHaveLength(8)
    expect(() => scan('[1,2,3,4]', bounds)).toThrow(expect.objectContaining({ kind: 'values', offset: 7 }))
  })

  it.each([
    ['"\\u0000"', true],
    ['"\\ud83d\\ude00"', false],
    ['"\\ud83d"', true],
    ['"\\ude00"', true],
    ['"\\ud83d\\ud83d\\ude00"', true],
    ['"\\\\u0000"', false],
  ])('tells whether PostgreSQL can hold %s', (text, unstorable) => {
    const scanner = new JsonScanner(Buffer.from(text))
    scanner.next()
    expect(scanner.unstorable).toBe(unstorable)
  })

  it.each([
    ['1e400', 400],
    ['-1.5E-131071', 131_071],
    ['12', 0],
    [`1e${'9'.repeat(1000)}`, 9_999_999],
  ])('tells the exponent of %s', (text, exponent) => {
    const scanner = new JsonScanner(Buffer.from(text))
    scanner.next()
    expect(scanner.exponent).toBe(exponent)
  })
})
