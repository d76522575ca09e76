// How a shape changes a payload, step by step.
import './realm-source.ts'
import { describe, expect, it } from 'vitest'
import { type ShapeInput, shapeConfig } from '../../../activities/shaping/config.ts'
import { shaped } from '../../../activities/shaping/shape.ts'
import { ShapingError } from '../../../activities/shaping/shaping-error.ts'

const WORDS = {
  tenant_id: 'acme',
  distribution_id: 'dist_1',
  delivery_id: 'delivery-1',
  data_type: 'report',
  accepted_at: new Date('2026-01-15T09:30:00.123Z'),
}

const PAYLOAD = `{
  "report_id": 9007199254740993, "total": 1.0, "period": "2026-01",
  "rows": [{"fee": 1.10, "tax_code": "RSSMRA80A01H501U", "who": {"name": "Mario"}},
           {"fee": 2, "tax_code": "VRDLGI85B02F205X", "who": {"name": "Luigi"}}],
  "odd.key": true, "nothing": null, "empty": []
}`

async function shape(config: ShapeInput | ShapeInput[], payload: string = PAYLOAD): Promise<string> {
  const shapes = [config].flat().map((one) => shapeConfig.parse(one))
  return (await shaped(shapes, Buffer.from(payload), WORDS)).body.toString()
}

async function failure(config: ShapeInput, payload?: string): Promise<string> {
  const error = await shape(config, payload).then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  expect(error).toBeInstanceOf(ShapingError)
  return `${(error as ShapingError).step}: ${(error as ShapingError).message}`
}

describe('include and exclude', () => {
  it.each([
    [['total', 'rows[0].fee'], '{"total":1.0,"rows":[{"fee":1.10}]}'],
    [['rows[*].who.name'], '{"rows":[{"who":{"name":"Mario"}},{"who":{"name":"Luigi"}}]}'],
    [['rows.fee'], '{"rows":[{"fee":1.10},{"fee":2}]}'],
    [['["odd.key"]', '$.period'], '{"period":"2026-01","odd.key":true}'],
    [['missing'], '{}'],
    [['empty'], '{"empty":[]}'],
  ])('keeps %j alone', async (include, expected) => {
    expect(await shape({ include })).toBe(expected)
  })

  it('removes the named fields in every element of a list, even without the [*]', async () => {
    const exclude = ['report_id', 'total', 'period', '["odd.key"]', 'nothing', 'empty', 'rows.who']
    const expected = '{"rows":[{"fee":1.10},{"fee":2}]}'
    expect(await shape({ exclude: [...exclude, 'rows[*].tax_code'] })).toBe(expected)
    expect(await shape({ exclude: [...exclude, 'rows.tax_code'] })).toBe(expected)
  })

  it('removes whole elements of a list', async () => {
    expect(await shape({ include: ['rows[*].fee'], exclude: ['rows[0]'] })).toBe('{"rows":[{"fee":2}]}')
  })

  it('treats keys such as constructor like any other', async () => {
    const payload = '{"__proto__": {"a": 1}, "constructor": 2, "b": 3}'
    expect(await shape({ exclude: ['b'] }, payload)).toBe('{"__proto__":{"a":1},"constructor":2}')
    expect(await shape({ include: ['toString', '__proto__.a'] }, payload)).toBe('{"__proto__":{"a":1}}')
  })
})

describe('mask', () => {
  it.each([
    [['total'], '{"total":"***"}'],
    [[{ path: 'period', keep_last: 2 }], '{"period":"*****01"}'],
    [[{ path: 'period', keep_last: 7 }], '{"period":"*******"}'],
    [[{ path: 'total', keep_last: 2 }], '{"total":"*.0"}'],
    [[{ path: 'period', text: 'hidden' }], '{"period":"hidden"}'],
    [
      [{ path: 'period', hash: 'sha256' as const }],
      '{"period":"4b26a0c5f5d7d3b8a5d1e0f9f4b9c8b7"}'.replace(/:".*"/, ':"HASH"'),
    ],
    [[{ path: 'nothing', text: 'hidden' }], '{"nothing":null}'],
    [[{ path: 'rows.who', keep_last: 3 }], '{"rows":[{"who":"***"},{"who":"***"}]}'],
  ])('hides the values that %j names', async (mask, expected) => {
    const paths = mask.map((one) => (typeof one === 'string' ? one : one.path))
    expect((await shape({ include: paths, mask })).replace(/[0-9a-f]{64}/, 'HASH')).toBe(expected)
  })

  it('hashes the same value to the same text, and to another one under a salt', async () => {
    const hash = (salt?: string) => shape({ include: ['period'], mask: [{ path: 'period', hash: 'sha256', salt }] })
    expect(await hash()).toBe(await hash())
    expect(new Set([await hash(), await hash('a'), await hash('b')]).size).toBe(3)
  })

  it('is applied before every step that could copy the value', async () => {
    const config: ShapeInput = {
      mask: ['rows.tax_code'],
      field_mapping: { codes: 'rows[*].tax_code' },
      expression: '$join(codes, " ")',
      output: { format: 'text' },
    }
    expect(await shape(config)).toBe('*** ***')
  })
})

describe('field_mapping', () => {
  it.each([
    [{ id: 'report_id', 'sum.total': 'total' }, '{"id":9007199254740993,"sum":{"total":1.0}}'],
    [
      { 'items[*].amount': 'rows[*].fee', 'items[*].name': 'rows[*].who.name' },
      '{"items":[{"amount":1.10,"name":"Mario"},{"amount":2,"name":"Luigi"}]}',
    ],
    [{ fees: 'rows[*].fee' }, '{"fees":[1.10,2]}'],
    [{ 'list[1]': 'total' }, '{"list":[null,1.0]}'],
    [{ a: 'missing', b: { path: 'missing', default: 'none' }, c: { value: { x: [1] } } }, '{"b":"none","c":{"x":[1]}}'],
    [{ 'lines[*].x': 'empty[*].x' }, '{"lines":[]}'],
    [{ $: 'rows' }, JSON.stringify(JSON.parse(PAYLOAD).rows).replace('1.1,', '1.10,')],
  ])('makes a new document of %j', async (field_mapping, expected) => {
    expect(await shape({ field_mapping })).toBe(expected)
  })

  it('changes only its own document: neither the payload nor a constant', async () => {
    const twice: ShapeInput = { field_mapping: { a: 'rows[0].who', b: 'rows[0].who', 'b.note': 'period' } }
    expect(await shape(twice)).toBe('{"a":{"name":"Mario"},"b":{"name":"Mario","note":"2026-01"}}')
    const kept = shapeConfig.parse({ field_mapping: { a: { value: { list: [{}] } }, 'a.list[0].code': 'code' } })
    const bodyOf = async (payload: string) => (await shaped([kept], Buffer.from(payload), WORDS)).body.toString()
    expect(await bodyOf('{"code":"of another distribution"}')).toBe(
      '{"a":{"list":[{"code":"of another distribution"}]}}',
    )
    expect(await bodyOf('{}')).toBe('{"a":{"list":[{}]}}')
  })

  it.each([
    [{ a: { path: 'rows[7].fee', required: true } }, 'field_mapping: a: there is no value at rows[7].fee'],
    [{ a: 'total', 'a.b': 'total' }, 'field_mapping: a.b: another field has set this path'],
  ])('fails and says where for %j', async (field_mapping, message) => {
    expect(await failure({ field_mapping })).toBe(message)
  })
})

describe('expression', () => {
  it('keeps every digit of a number that it only copies, and computes with doubles', async () => {
    const expression = '{"id": report_id, "sum": $sum(rows.fee), "count": $count(rows), "total": total}'
    expect(await shape({ expression })).toBe('{"id":9007199254740993,"sum":3.1,"count":2,"total":1}')
  })

  it('rejects two numbers that are the same double', async () => {
    for (const twin of ['9007199254740992.5', '9007199254740992', '9007199254740992.0']) {
      for (const payload of [
        `{"a": 9007199254740993, "b": ${twin}, "c": 1}`,
        `{"b": ${twin}, "c": 1, "a": 9007199254740993}`,
      ]) {
        expect(await shape({ expression: '{"c": c}' }, payload)).toBe('{"c":1}')
        expect(await failure({ expression: '{"b": b}' }, payload)).toMatch(/^expression: two numbers of the payload/)
      }
    }
  })

  it.each([
    ['$string(a)', 'makes a text of a whole number'],
    ['"n" & a', 'makes a text of a whole number'],
    ['{"x": $join([$string(a), "b"], "-")}', 'makes a text of a whole number'],
    ['{$string(a): 1}', 'makes a text of a whole number'],
    ['a * 2', 'computes with a whole number'],
    ['-a', 'computes with a whole number'],
    ['[a * 1000]', 'computes with a whole number'],
    ['a + 1', 'computes with a whole number'],
    ['a - 10', 'computes with a whole number'],
    ['a % 10', 'computes with a whole number'],
    ['small < 1 ? small : a - 1', 'computes with a whole number'],
    ['$sum([a, 1])', 'computes with a whole number'],
    ['[a, 1] ~> $sum', 'computes with a whole number'],
    ['[a, 1] ~> $sum()', 'computes with a whole number'],
    ['$map([a, 1], function($i){ $i % 7 })', 'computes with a whole number'],
    ['$reduce([1, a], function($x, $y){ $x + $y })', 'computes with a whole number'],
    ['($x := list[0].id; {"last": $x % 100})', 'computes with a whole number'],
    ['$formatNumber(a, "0")', 'computes with a whole number'],
    ['$round(a, -2)', 'computes with a whole number'],
    ['{"ids": list.id, "sum": $sum(list.n), "next": $map(list, function($i){ $i.n + 1 })}', undefined],
    ['list[id = $$.list[1].id].n', undefined],
    ['{"a": a, "t": text, "n": $string(small)}', undefined],
    ['{"even": even, "big": big}', undefined],
    ['small * 1.5', 'computes a whole number'],
    ['small / 2', undefined],
    ['2 * 4611686018427387904', 'computes a whole number'],
    ['1.5e300 * 2', undefined],
  ])(
    'a whole number that a double cannot hold is passed on or refused, never changed: %s',
    async (expression, says) => {
      const payload =
        '{"a":9007199254740993,"text":"no. 9007199254740992","small":9007199254740991,"even":9007199254740994,"big":1e30,"list":[{"id":9007199254740993,"n":1},{"id":900719925474099301,"n":2}]}'
      if (says === undefined) await shape({ expression }, payload)
      else expect(await failure({ expression }, payload)).toContain(`expression: ${says}`)
    },
  )

  it.each([
    ['{"fees": rows.fee}', '{"rows":[{"fee":1}]}', ['rows.fee'], '{"fees":1}'],
    ['rows.fee', '{"rows":[{"fee":1}]}', ['rows.fee'], '1'],
    ['{"big": rows[fee > 1]}', '{"rows":[{"fee":1},{"fee":2}]}', ['rows'], '{"big":{"fee":2}}'],
    ['($r := rows; {"a": $r.fee})', '{"rows":[{"fee":1}]}', ['$r.fee'], '{"a":1}'],
    ['$map([1, 2], function($n){ {"fees": $$.rows.fee, "n": $n} })', '{"rows":[{"fee":1}]}', ['$$.rows.fee'], null],
    ['$ ~> |$|{"fees": rows.fee}|', '{"rows":[{"fee":1}]}', ['rows.fee'], '{"rows":[{"fee":1}],"fees":1}'],
    ['{"fees": rows.fee[]}', '{"rows":[{"fee":1}]}', [], '{"fees":[1]}'],
    ['{"fees": rows.fee}', '{"rows":[{"fee":1},{"fee":2}]}', [], '{"fees":[1,2]}'],
    ['{"fees": [rows.fee]}', '{"rows":[{"fee":1}]}', [], '{"fees":[1]}'],
    ['{"rows": rows, "id": id, "who": who.name}', '{"rows":[{"fee":1}],"id":7,"who":{"name":"x"}}', [], null],
    ['{"first": rows[0].fee, "last": rows[-1].fee, "sum": $sum(rows.fee)}', '{"rows":[{"fee":1}]}', [], null],
  ])('tells where a list became a single value, for whoever asks: %s', async (expression, payload, paths, made) => {
    const { body, warnings } = await shaped([shapeConfig.parse({ expression })], Buffer.from(payload), WORDS, true)
    const named = paths.map((path) => expect.stringContaining(`expression: ${path} found one value in a list`))
    expect(warnings).toEqual(named)
    if (made !== null) expect(body.toString()).toBe(made)
    expect(await shaped([shapeConfig.parse({ expression })], Buffer.from(payload), WORDS)).not.toHaveProperty(
      'warnings',
    )
  })

  it('gives the same result on every attempt: its time is that of the acceptance', async () => {
    const expression = '[$now(), $millis(), $now("[Y]-[M01]-[D01]"), $distribution.distribution_id]'
    expect(await shape({ expression })).toBe('["2026-01-15T09:30:00.123Z",1768469400123,"2026-01-15","dist_1"]')
  })

  it.each([
    ['rows.fee + period', 'expression: computes with a value that is not a number near "+" at position 10 (T2001)'],
    ['$number(period)', /^expression: cannot be evaluated.*\(D3030\)$/],
    ['$error("secret " & period)', 'expression: called $error near "error" at position 7 (D3137)'],
    ['missing.path', 'expression: finds nothing'],
    ['function($x){$x}', /^expression: results in a function$/],
    ['{"f": $uppercase}', /^expression: results in a function$/],
    ['($f := function($x){1 + $f($x)}; $f(1))', /^expression: nests too deep/],
    ['[1..6000000]', /^expression: makes a list that is too long/],
    ['1/0', /^expression: .*/],
  ])('fails with its position and without a value of the payload: %s', async (expression, message) => {
    const text = await failure({ expression })
    expect(text).toMatch(message)
    expect(text).not.toMatch(/2026-01|secret/)
  })

  it('has access to the document only', async () => {
    for (const expression of ['$process', '$require', '$globalThis', 'constructor', '__proto__', '$constructor']) {
      expect(await failure({ expression })).toBe('expression: finds nothing')
    }
    const dangerous = '{"x": 1}.constructor("return process")()'
    expect(await failure({ expression: dangerous })).toMatch(/^expression: /)
  })
})

describe('output', () => {
  it.each([
    ['json', 'application/json', '[{"a":1.0,"b":"x, y"},{"a":null}]'],
    ['ndjson', 'application/x-ndjson', '{"a":1.0,"b":"x, y"}\n{"a":null}\n'],
    ['csv', 'text/csv; charset=utf-8; header=present', 'a,b\r\n1.0,"x, y"\r\n,\r\n'],
    [
      'xml',
      'application/xml; charset=utf-8',
      '<?xml version="1.0" encoding="UTF-8"?>\n<payload><item><a>1.0</a><b>x, y</b></item><item><a nil="true"/></item></payload>\n',
    ],
  ] as const)('is %s', async (output, content_type, text) => {
    const payload = Buffer.from('{"rows": [{"a": 1.0, "b": "x, y"}, {"a": null}]}')
    const config = shapeConfig.parse({ field_mapping: { $: 'rows' }, output })
    const result = await shaped([config], payload, WORDS)
    expect([result.content_type, result.body.toString()]).toEqual([content_type, text])
  })

  it('takes its rows from the given path', async () => {
    expect(await shape({ output: { format: 'csv', rows_path: 'rows', columns: ['fee'] } })).toBe('fee\r\n1.10\r\n2\r\n')
    expect(await shape({ output: { format: 'ndjson', rows_path: 'rows[*].fee' } })).toBe('1.10\n2\n')
    expect(await failure({ output: { format: 'csv', rows_path: 'lines' } })).toBe('output: lines: there is no value')
    expect(await failure({ output: { format: 'csv', rows_path: 'total' } })).toBe(
      'output: total is neither a list of objects nor an object',
    )
  })

  it('fills in a text from the shaped document', async () => {
    const template = '{{{payload.id}}} of {payload.fees[0]} for {tenant_id}\n'
    const field_mapping = { id: 'report_id', fees: 'rows[*].fee' }
    expect(await shape({ field_mapping, output: { format: 'text', template } })).toBe(
      '{9007199254740993} of 1.10 for acme\n',
    )
    const missing = { format: 'text', template: 'x {payload.period}' } as const
    expect(await failure({ field_mapping, output: missing })).toMatch(/^output: .*\{payload.period\} finds no text/)
  })

  it('can be given by its name alone', async () => {
    expect(await shape({ expression: 'period', output: 'text' })).toBe('2026-01')
  })

  it('can be a text that an expression made, with the requested content type', async () => {
    const config = shapeConfig.parse({
      expression: '"<p>" & period & "</p>"',
      output: { format: 'text', content_type: 'text/html' },
    })
    const result = await shaped([config], Buffer.from(PAYLOAD), WORDS)
    expect([result.content_type, result.body.toString()]).toEqual(['text/html', '<p>2026-01</p>'])
  })
})

describe('output_schema', () => {
  const rows = (fee: unknown) => ({ type: 'object', properties: { rows: { items: { properties: { fee } } } } })

  it('accepts a document that is valid, and names the path of each problem without the value', async () => {
    expect(await shape({ include: ['rows'], output_schema: rows({ type: 'number' }) })).toContain('1.10')
    expect(await failure({ output_schema: rows({ type: 'string' }) })).toBe(
      'output_schema: $.rows[0].fee: must be string (and 1 more)',
    )
    expect(await failure({ output_schema: { required: ['id'] } })).toBe('output_schema: $.id: is required')
  })

  it('rejects no number for its size', async () => {
    const payload = '{"id": 90071992547409931234567890, "huge": 1e400, "cents": 0.07}'
    const output_schema = {
      properties: { id: { type: 'integer' }, huge: { type: 'number' }, cents: { multipleOf: 0.01 } },
    }
    expect(await shape({ output_schema }, payload)).toBe(payload.replaceAll(/(?<=[:,]) /g, ''))
  })
})

describe('two shapes', () => {
  it("apply the rule's first, then the destination's, whose output counts", async () => {
    const rule: ShapeInput = { field_mapping: { id: 'report_id', fees: 'rows[*].fee' }, output: 'csv' }
    expect(await shape([rule, { exclude: ['fees'], output: 'json' }])).toBe('{"id":9007199254740993}')
    expect(await shape([{ include: ['period'] }, { output: 'xml' }])).toContain('<period>2026-01</period>')
  })
})
