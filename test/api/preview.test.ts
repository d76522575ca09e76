// Shapes over the API: invalid ones are rejected when they are written, and the preview.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ApiUnderTest, startApi } from './api-under-test.ts'

let api: ApiUnderTest
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

const admin = (method: string, path: string, body?: unknown) =>
  api.call(method, path, body, { key: api.keys.acme.admin })

function register(name: string, transform_config: unknown, given: Record<string, unknown> = {}) {
  const configuration = { endpoint: 'https://reporter.example/documents' }
  return admin('POST', '/destinations/register', { name, protocol: 'REST', configuration, transform_config, ...given })
}

const JDBC = {
  protocol: 'JDBC',
  configuration: {
    url: 'jdbc:postgresql://warehouse.example/x?sslmode=require',
    table: 't',
    username: 'u',
    password: 'p',
  },
}

describe('a transform_config', () => {
  it('is kept as it was sent, and versioned with the configuration', async () => {
    const transform_config = { exclude: ['rows[*].tax_code'], output: 'csv' }
    const { status, body } = await register('kept', transform_config)
    expect([status, body.transform_config]).toEqual([201, transform_config])
    const configuration = { endpoint: 'https://reporter.example/documents' }
    const changed = await admin('PUT', '/destinations/kept', { configuration, transform_config: { output: 'xml' } })
    expect(changed.body).toMatchObject({ version: 2, transform_config: { output: 'xml' } })
    const versions = await api.rows(
      'acme',
      'select version, transform_config from destination_configs where destination_id = $1 order by version',
      [body.id],
    )
    expect(versions).toEqual([
      { version: 1, transform_config },
      { version: 2, transform_config: { output: 'xml' } },
    ])
  })

  it.each([
    [{ expression: '{"a": ' }, 'transform_config.expression', /is not JSONata: .* at position 6/],
    [{ field_mapping: { 'a[': 'b' } }, 'transform_config.field_mapping["a["]', /cannot be read from character 2/],
    [
      { output_schema: { properties: { a: { typ: 'x' } } } },
      'transform_config.output_schema.properties.a.typ',
      /"type"/,
    ],
    [{ mask: ['payload.iban'] }, 'transform_config.mask[0]', /write iban/],
    [{ includes: ['a'] }, 'transform_config.includes', /did you mean "include"/],
    [{ output: { format: 'yaml' } }, 'transform_config.output.format', /^must be one of json, ndjson, csv, xml, text$/],
    [{ output: { format: 'csv', colums: ['a'] } }, 'transform_config.output.colums', /did you mean "columns"/],
    [{ output: 7 }, 'transform_config.output', /^must be of type object, not number$/],
    [{ mask: [{ path: 'a', hash: 'md5' }] }, 'transform_config.mask[0].hash', /^must be sha256$/],
    [
      { field_mapping: { a: { path: 'b', required: 'yes' } } },
      'transform_config.field_mapping.a.required',
      /^must be of type boolean, not string$/,
    ],
  ])('is refused with the path to the error: %j', async (config, field, issue) => {
    const { status, body } = await register('refused', config)
    expect(status).toBe(400)
    expect(body.details).toEqual([{ field, issue: expect.stringMatching(issue) }])
  })

  it('must leave JSON to what makes rows or files of JSON', async () => {
    const { body } = await register('rows', { output: 'csv' }, JDBC)
    expect(body.details).toContainEqual({
      field: 'transform_config.output',
      issue: 'must be json: rows are made from JSON',
    })
  })

  it('has its schema served beside those of the protocols', async () => {
    const { body } = await api.call('GET', '/destination-types')
    expect(Object.keys(body.transform_schema.properties)).toEqual([
      'include',
      'exclude',
      'mask',
      'field_mapping',
      'expression',
      'output_schema',
      'output',
    ])
  })
})

describe('the shape of a rule', () => {
  it('is refused with the path to the error', async () => {
    const actions = { shape: { mask: ['payload.iban'], expression: '(' } }
    const { status, body } = await admin('POST', '/rules', { name: 'bad', rule_type: 'transformation', actions })
    expect(status).toBe(400)
    expect(body.details.map(({ field }: { field: string }) => field)).toEqual(
      expect.arrayContaining(['actions.shape.mask[0]', 'actions.shape.expression']),
    )
  })
})

describe('a preview', () => {
  const preview = (name: string, body: string, key = api.keys.acme.operator) =>
    api.call('POST', `/destinations/${name}/preview`, body, { key })

  it('shows what would be sent, with every digit', async () => {
    await register('shaped', { exclude: ['secret'], output: { format: 'xml', root: 'report' } })
    const { status, body } = await preview(
      'shaped',
      '{"payload": {"id": 9007199254740993, "total": 1.0, "secret": "x"}}',
    )
    expect(status).toBe(200)
    const text =
      '<?xml version="1.0" encoding="UTF-8"?>\n<report><id>9007199254740993</id><total>1.0</total></report>\n'
    expect(body).toEqual({
      content_type: 'application/xml; charset=utf-8',
      bytes: text.length,
      body: text,
      truncated: false,
      error_code: null,
      error_message: null,
    })
  })

  it('tries another shape, and a rule’s before it', async () => {
    await register('plain', {})
    expect((await preview('plain', '{"payload": {"b":1.0, "a": 2}}')).body.body).toBe('{"b":1.0, "a": 2}')
    const shape = '{"field_mapping": {"x.y": "b"}}'
    const tried = `{"payload": {"b": 1.0}, "shape": ${shape}, "transform_config": {"expression": "x.y + 1"}}`
    expect((await preview('plain', tried)).body.body).toBe('2')
    const bad = await preview(
      'plain',
      '{"payload": 1, "shape": {"mask": [""]}, "transform_config": {"output": "yaml"}}',
    )
    expect(bad.body.details.map(({ field }: { field: string }) => field)).toEqual(
      expect.arrayContaining(['transform_config.output.format', 'shape.mask[0]']),
    )
  })

  it('says where it fails, and no value', async () => {
    await register('strict', { output_schema: { properties: { rows: { items: { required: ['fee'] } } } } })
    const { status, body } = await preview('strict', '{"payload": {"rows": [{"fee": 1}, {"name": "Mario"}]}}')
    expect(status).toBe(200)
    expect(body).toMatchObject({
      body: null,
      error_code: 'TRANSFORMATION_FAILED',
      error_message: 'output_schema: $.rows[1].fee: is required',
    })
  })

  it('is for operators, and of the tenant’s own destinations', async () => {
    expect((await preview('strict', '{"payload": 1}', api.keys.acme.viewer)).status).toBe(403)
    expect((await preview('strict', '{"payload": 1}', api.keys.other.operator)).status).toBe(404)
    expect((await preview('strict', '{}')).body.details).toEqual([{ field: 'payload', issue: 'is required' }])
  })

  it('warns where an expression makes one value of a list, without a value of the payload', async () => {
    await register('lists', {})
    const tried = async (expression: string, payload: unknown) =>
      (await admin('POST', '/destinations/lists/preview', { payload, transform_config: { expression } })).body
    const one = await tried('{"fees": rows.fee}', { rows: [{ fee: 4711 }] })
    expect(one.body).toBe('{"fees":4711}')
    expect(one.warnings).toEqual([
      expect.stringMatching(/^expression: rows\.fee found one value .* write rows\.fee\[\]/),
    ])
    expect(one.warnings.join()).not.toContain('4711')
    const kept = await tried('{"fees": rows.fee[]}', { rows: [{ fee: 4711 }] })
    expect([kept.body, kept.warnings]).toEqual(['{"fees":[4711]}', undefined])
    expect((await tried('missing', {})).warnings).toBeUndefined()
  })
})
