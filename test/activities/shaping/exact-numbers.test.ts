// JSON Schema's keywords about numbers, decided on the digits that were sent.
import { describe, expect, it } from 'vitest'
import { canonical, compareDecimals, decimalOf, isMultiple, isWhole } from '../../../activities/document/decimal.ts'
import { readNumbers } from '../../../activities/shaping/exact-numbers.ts'
import { documentProblems, jsonSchemaProblems } from '../../../activities/shaping/json-schema.ts'

function fits(schema: string, document: string): boolean {
  expect(jsonSchemaProblems(readNumbers(schema).value as Record<string, unknown>, schema), schema).toEqual([])
  const large = documentProblems(schema, readNumbers(document), 2_000_000)
  const all = documentProblems(schema, readNumbers(document), document.length)
  expect(all.length === 0, 'the quick check and the whole one').toBe(large.length === 0)
  return all.length === 0
}

const DIGITS = '9'.repeat(400)

describe('a schema', () => {
  it.each([
    ['{"multipleOf":0.01}', ['619919.09', '0.07', '100000.01', '1e2', '-619919.09', '0', '12345678901234567890.12']],
    ['{"multipleOf":0.0001}', ['123456789.1234', '1.1']],
    ['{"multipleOf":1e-7}', ['0.0000001', '33.3333333']],
    ['{"multipleOf":1e-400}', ['1e-399', '1e1000000000']],
    ['{"multipleOf":3}', ['9007199254740993', '3e1000000000', `${DIGITS}.0`]],
    ['{"multipleOf":9007199254740993}', ['9007199254740993', '18014398509481986']],
    ['{"minimum":9007199254740993}', ['9007199254740993', '9007199254740994', '1e1000000000']],
    ['{"maximum":9007199254740993}', ['9007199254740993', '9007199254740992', '-1e1000000000', '1e-1000000000']],
    ['{"exclusiveMinimum":9007199254740992}', ['9007199254740993']],
    ['{"exclusiveMaximum":0.1}', ['0.09999999999999999999']],
    ['{"exclusiveMinimum":0}', ['1e-1000000000']],
    ['{"const":9007199254740993}', ['9007199254740993', '9007199254740993.0', '9.007199254740993e15']],
    ['{"const":1}', ['1', '1.0', '1e0', '10e-1']],
    ['{"const":100}', ['1e2', '100.00']],
    ['{"const":{"a":[9007199254740993]}}', ['{"a":[9007199254740993.0]}']],
    ['{"enum":["a",9007199254740993,{"b":1}]}', ['"a"', '9007199254740993', '{"b":1.0}']],
    ['{"type":"integer"}', ['1.0', '1e2', '9007199254740993', '1e1000000000', '10e-1']],
    ['{"type":["integer","string"]}', ['1.0', '"1.5"']],
    [
      '{"uniqueItems":true}',
      ['[9007199254740993,9007199254740992]', '[0.1,0.10000000000000000001]', '[1,"1",[1],true]'],
    ],
  ])('%s takes what fits by its digits', (schema, documents) => {
    for (const document of documents) expect(fits(schema, document), document).toBe(true)
  })

  it.each([
    ['{"multipleOf":0.01}', ['619919.095', '0.001', '619919.0900000000000000000001', '1e-1000000000']],
    ['{"multipleOf":3}', ['9007199254740992', '1e1000000000', `${DIGITS}1`]],
    ['{"multipleOf":9007199254740993}', ['9007199254740992']],
    ['{"minimum":9007199254740993}', ['9007199254740992', '9007199254740992.9']],
    ['{"maximum":9007199254740992}', ['9007199254740993', '9007199254740992.00000000001', '1e1000000000']],
    ['{"exclusiveMaximum":0.1}', ['0.1', '0.10', '1e-1']],
    ['{"exclusiveMinimum":9007199254740993}', ['9007199254740993', '9007199254740993.0']],
    ['{"const":9007199254740993}', ['9007199254740992', '9007199254740993.1', '"9007199254740993"']],
    ['{"const":{"a":[9007199254740993]}}', ['{"a":[9007199254740992]}', '{"a":[9007199254740993],"b":1}', '{}']],
    ['{"enum":["a",9007199254740993,{"b":1}]}', ['9007199254740992', '"b"', '{"b":2}', 'null']],
    ['{"type":"integer"}', ['9007199254740993.5', '1.00000000000000000001', '1e-1000000000', '"1"']],
    ['{"type":["integer","string"]}', ['9007199254740993.5', 'null']],
    ['{"type":"number","format":"int64"}', ['9007199254740993.5']],
    [
      '{"uniqueItems":true}',
      ['[1,1.0]', '[1e2,2,100]', '[9007199254740993,9007199254740993.0]', '[{"a":1,"b":2},{"b":2,"a":1.0}]'],
    ],
  ])('%s refuses what does not', (schema, documents) => {
    for (const document of documents) expect(fits(schema, document), document).toBe(false)
  })

  it.each([
    ['{"$ref":"#/$defs/amount","$defs":{"amount":{"multipleOf":0.01,"minimum":0}}}', '619919.09', '619919.091'],
    ['{"anyOf":[{"const":9007199254740993},{"type":"string"}]}', '9007199254740993', '9007199254740992'],
    ['{"properties":{"type":{"type":"integer"}}}', '{"type":1.0}', '{"type":9007199254740993.5}'],
    ['{"properties":{"enum":{"type":"integer"}}}', '{"enum":1.0}', '{"enum":9007199254740993.5}'],
    [
      '{"if":{"const":9007199254740993},"then":{"const":0},"else":{"multipleOf":2}}',
      '9007199254740992',
      '9007199254740993',
    ],
    [
      '{"properties":{"a":{"type":"integer"}},"unevaluatedProperties":false}',
      '{"a":9007199254740993}',
      '{"a":9007199254740993.5}',
    ],
    [
      '{"prefixItems":[{"maximum":9007199254740992}],"unevaluatedItems":false}',
      '[9007199254740992]',
      '[9007199254740993]',
    ],
    ['{"contains":{"const":9007199254740993}}', '[1,9007199254740993]', '[1,9007199254740992]'],
    [
      '{"dependentSchemas":{"a":{"properties":{"b":{"type":"integer"}}}}}',
      '{"b":1.5}',
      '{"a":1,"b":9007199254740993.5}',
    ],
    [
      '{"$schema":"http://json-schema.org/draft-07/schema#","definitions":{"a":{"multipleOf":0.1}},"items":{"$ref":"#/definitions/a"}}',
      '[1.1,12345678.9]',
      '[12345678.91]',
    ],
  ])('decides so below %s', (schema, right, wrong) => {
    expect(fits(schema, right)).toBe(true)
    expect(fits(schema, wrong)).toBe(false)
  })

  it('says what it asks for, with its own digits', () => {
    const issues = (schema: string, document: string) =>
      documentProblems(schema, readNumbers(document), 10).map(({ issue }) => issue)
    expect(issues('{"multipleOf":0.01,"maximum":9007199254740993}', '9007199254740993.001')).toEqual([
      'must be <= 9007199254740993',
      'must be multiple of 0.01',
    ])
    expect(issues('{"enum":[9007199254740993,1.0]}', '1.5')).toEqual(['must be one of [9007199254740993,1]'])
    expect(issues('{"type":"integer"}', '9007199254740993.5')).toEqual(['must be integer'])
    expect(issues('{"uniqueItems":true}', '[1,2,1.0]')).toEqual([
      'must NOT have duplicate items (items ## 0 and 2 are identical)',
    ])
  })

  it('may not have numbers that cost too much to divide by, nor our own keywords', () => {
    const [problem] = jsonSchemaProblems({}, `{"maximum":${'9'.repeat(1001)}}`)
    expect(problem?.issue).toBe('has a number of more than 1000 digits')
    expect(jsonSchemaProblems({ 'exact:integer': true })).toHaveLength(1)
    expect(jsonSchemaProblems({ multipleOf: 0 })).toHaveLength(1)
  })
})

describe('a number', () => {
  it('costs as much as its text is long, whatever its exponent', () => {
    const used = (work: () => void) => {
      const before = process.cpuUsage()
      work()
      const { user, system } = process.cpuUsage(before)
      return (user + system) / 1000
    }
    const tiny = used(() => {
      for (let n = 0; n < 2000; n++) isMultiple(decimalOf('12345e2'), decimalOf('0.07'))
    })
    const huge = used(() => {
      for (let n = 0; n < 2000; n++) isMultiple(decimalOf('12345e999999999999999999'), decimalOf('0.07'))
    })
    expect(huge).toBeLessThan(100 * tiny + 200)
    const long = decimalOf('7'.repeat(200_000))
    const longer = decimalOf('7'.repeat(800_000))
    const [short, four] = [used(() => isMultiple(long, decimalOf('7'))), used(() => isMultiple(longer, decimalOf('7')))]
    expect(four).toBeLessThan(10 * short + 200)
  })

  it('is equal to what has the same value, and ordered by it', () => {
    const ordered = [
      '-1e1000',
      '-1.5',
      '-1e-1000',
      '0',
      '1e-1000',
      '0.99',
      '1',
      '1.00000000000000000001',
      '9',
      '10',
      '1e1000',
    ]
    for (const [n, text] of ordered.entries()) {
      for (const [m, other] of ordered.entries()) {
        expect(Math.sign(compareDecimals(decimalOf(text), decimalOf(other)))).toBe(Math.sign(n - m))
      }
    }
    for (const zero of ['0', '-0', '0.000', '0e5']) expect(canonical(decimalOf(zero))).toBe('0')
    expect(['100', '1e2', '100.0', '1E+2', '0.1e3'].map((text) => canonical(decimalOf(text)))).toEqual(
      Array(5).fill('1e2'),
    )
    expect([isWhole(decimalOf('10e-1')), isWhole(decimalOf('1e-1'))]).toEqual([true, false])
  })
})
