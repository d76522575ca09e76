// The catalogue, and what it refuses at the door.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ApiUnderTest, aSubmission, startApi } from './api-under-test.ts'

let api: ApiUnderTest
beforeAll(async () => {
  api = await startApi({ shaper: { timeoutMs: 2000 } })
})
afterAll(() => api.close())

const admin = (method: string, path: string, body?: unknown) =>
  api.call(method, path, body, { key: api.keys.acme.admin })
const platform = (method: string, path: string, body?: unknown) =>
  api.call(method, path, body, { key: api.keys.acme.platform })
const submit = (data_type: string, payload: unknown, given: Record<string, unknown> = {}) =>
  api.call('POST', '/distribution/submit', aSubmission({ data_type, payload, ...given }))

const REPORT = {
  type: 'object',
  required: ['report_id'],
  properties: {
    report_id: { type: 'string' },
    rows: { type: 'array', items: { type: 'object', properties: { fees: { type: 'number' } } } },
  },
}

describe('a data type', () => {
  it('is added, shown, listed, replaced and deleted', async () => {
    const made = await admin('POST', '/data-types', { id: 'report-a', schema_definition: REPORT, description: 'A' })
    expect(made.status).toBe(201)
    expect(made.body).toMatchObject({ id: 'report-a', name: 'report-a', shared: false, schema_definition: REPORT })
    expect((await api.call('GET', '/data-types/report-a')).body).toEqual(made.body)
    expect((await admin('POST', '/data-types', { id: 'report-a' })).status).toBe(409)
    const { body } = await api.call('GET', '/data-types')
    expect(body.data_types.map(({ id }: { id: string }) => id)).toContain('report-a')
    const changed = await admin('PUT', '/data-types/report-a', { name: 'Report A' })
    expect(changed.body).toMatchObject({ name: 'Report A', schema_definition: null, description: null })
    expect((await admin('DELETE', '/data-types/report-a')).status).toBe(204)
    expect((await api.call('GET', '/data-types/report-a')).status).toBe(404)
    expect((await admin('DELETE', '/data-types/report-a')).status).toBe(404)
  })

  it('decides on the digits that were sent, in its schema as in the payload', async () => {
    const schema =
      '{"properties":{"amount":{"multipleOf":0.01},"id":{"enum":[9007199254740993,1]},"max":{"maximum":12345678901234567.89}}}'
    const made = `{"id":"exact","schema_definition":${schema}}`
    const key = { key: api.keys.acme.admin }
    expect((await api.call('POST', '/data-types', made, key)).status).toBe(201)
    const status = async (payload: string) => {
      const body = JSON.stringify(aSubmission({ data_type: 'exact' })).replace(
        /"payload":.*?(?=,"|\}$)/,
        `"payload":${payload}`,
      )
      return (await api.call('POST', '/distribution/submit', body)).status
    }
    for (const again of ['as it was added', 'as it was replaced']) {
      for (const fits of [
        '{"amount":619919.09}',
        '{"id":9007199254740993}',
        '{"id":1.0}',
        '{"max":12345678901234567.89}',
      ]) {
        expect(await status(fits), `${fits} ${again}`).toBe(202)
      }
      for (const unfit of ['{"amount":619919.091}', '{"id":9007199254740992}', '{"max":12345678901234567.90}']) {
        expect(await status(unfit), `${unfit} ${again}`).toBe(400)
      }
      await api.call('PUT', '/data-types/exact', `{"schema_definition":${schema}}`, key)
    }
  })

  it.each(['a/b', '...', '%2e%2e', '?x', '#', 'é ü', '__proto__'])(
    'can have any id that a path can name: %s',
    async (id) => {
      expect((await admin('POST', '/data-types', { id })).status).toBe(201)
      const path = `/data-types/${encodeURIComponent(id)}`
      expect((await admin('GET', path)).body.id).toBe(id)
      expect((await admin('DELETE', path)).status).toBe(204)
    },
  )

  it.each(['.', '..'])('cannot have an id that clients take out of a path: %s', async (id) => {
    const { status, body } = await admin('POST', '/data-types', { id })
    expect([status, body.details]).toEqual([400, [{ field: 'id', issue: 'cannot be "." or ".."' }]])
  })

  it('is one tenant’s alone', async () => {
    await admin('POST', '/data-types', { id: 'own', schema_definition: REPORT })
    const other = { key: api.keys.other.admin }
    expect((await api.call('GET', '/data-types/own', undefined, other)).status).toBe(404)
    expect((await api.call('PUT', '/data-types/own', {}, other)).status).toBe(404)
    expect((await api.call('POST', '/data-types', { id: 'own' }, other)).status).toBe(201)
    const sent = aSubmission({ data_type: 'own', payload: {} })
    expect((await api.call('POST', '/distribution/submit', sent, { key: api.keys.other.operator })).status).toBe(202)
    expect((await submit('own', {})).status).toBe(400)
  })

  it('that is shared is written by the platform alone, and hidden by a tenant’s own', async () => {
    const shared = { id: 'common', shared: true, schema_definition: REPORT }
    expect((await admin('POST', '/data-types', shared)).status).toBe(403)
    expect((await platform('POST', '/data-types', shared)).body).toMatchObject({ id: 'common', shared: true })
    expect((await platform('POST', '/data-types', shared)).status).toBe(409)
    const other = { key: api.keys.other.admin }
    expect((await api.call('GET', '/data-types/common', undefined, other)).body.shared).toBe(true)
    expect((await api.call('PUT', '/data-types/common', {}, other)).status).toBe(404)
    expect((await api.call('DELETE', '/data-types/common?shared=true', undefined, other)).status).toBe(403)
    expect((await submit('common', {})).status).toBe(400)
    await admin('POST', '/data-types', { id: 'common' })
    expect((await submit('common', {})).status).toBe(202)
    expect((await platform('PUT', '/data-types/common?shared=true', { name: 'Common' })).body.name).toBe('Common')
    await admin('DELETE', '/data-types/common')
    expect((await api.call('GET', '/data-types/common')).body).toMatchObject({ name: 'Common', shared: true })
    expect((await platform('DELETE', '/data-types/common?shared=true')).status).toBe(204)
    expect((await api.call('GET', '/data-types/common')).status).toBe(404)
  })

  it.each([
    [{ type: 'objekt' }, 'schema_definition.type'],
    [{ properties: { rows: { items: { requird: ['a'] } } } }, 'schema_definition.properties.rows.items.requird'],
    [{ properties: { a: { pattern: '(' } } }, 'schema_definition.properties.a.pattern'],
    [{ allOf: [{}, { $ref: 'other.json' }] }, 'schema_definition.allOf[1].$ref'],
    [{ $ref: '#/$defs/none' }, 'schema_definition'],
    [7, 'schema_definition'],
  ])('is refused with a schema that could not be applied, by the path to the error: %j', async (schema, field) => {
    const { status, body } = await admin('POST', '/data-types', { id: 'bad', schema_definition: schema })
    expect([status, body.details?.[0]?.field.replaceAll('["$ref"]', '.$ref')]).toEqual([400, field])
    expect((await api.call('GET', '/data-types/bad')).status).toBe(404)
  })

  it('may have a schema with many fields, which is compiled without blocking other requests', async () => {
    const fields = (count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, n) => [`k${n}`, { type: 'string', pattern: '^[a-z]+$' }]))
    const large = await admin('POST', '/data-types', { id: 'large', schema_definition: { properties: fields(1000) } })
    expect(large.status, large.text.slice(0, 300)).toBe(201)
    expect((await submit('large', { k999: '1' })).body.details[0].field).toBe('payload.k999')
    const tooLarge = await admin('POST', '/data-types', { id: 'x', schema_definition: { properties: fields(8000) } })
    expect(tooLarge.body.details).toEqual([{ field: 'schema_definition', issue: 'must have at most 262144 bytes' }])
  }, 60_000)

  it('needs an admin', async () => {
    expect((await api.call('POST', '/data-types', { id: 'x' })).status).toBe(403)
  })

  it('that rules name is deleted only by force', async () => {
    await admin('POST', '/data-types', { id: 'ruled' })
    const rule = {
      name: 'of-ruled',
      rule_type: 'prioritization',
      conditions: { all: [{ path: 'data_type', operator: 'equal', value: 'ruled' }] },
      actions: { priority: 'high' },
    }
    const made = await admin('POST', '/rules', rule)
    expect(made.status, made.text).toBe(201)
    const refused = await admin('DELETE', '/data-types/ruled')
    expect([refused.status, refused.body.details[0].issue]).toEqual([409, 'is used by the rules "of-ruled"'])
    expect((await api.call('GET', '/data-types/ruled')).status).toBe(200)
    expect((await admin('DELETE', '/data-types/ruled?force=true')).status).toBe(204)
  })
})

describe('a submission', () => {
  beforeAll(async () => {
    await admin('POST', '/data-types', { id: 'report', schema_definition: REPORT })
  })

  it('that does not match its data type is rejected with the path of each problem, and without values', async () => {
    const { status, body } = await submit('report', { rows: [{ fees: 'secret' }, { fees: 1 }, { fees: null }] })
    expect(status).toBe(400)
    expect(body.details).toEqual([
      { field: 'payload.report_id', issue: 'is required' },
      { field: 'payload.rows[0].fees', issue: 'must be number' },
      { field: 'payload.rows[2].fees', issue: 'must be number' },
    ])
    expect(JSON.stringify(body)).not.toContain('secret')
  })

  it('lists the first fifty faults, and counts the others', async () => {
    const { body } = await submit('report', { report_id: 'R', rows: Array(200).fill({ fees: 'x' }) })
    expect(body.details).toHaveLength(51)
    expect(body.details[50]).toEqual({ field: 'payload', issue: 'and 150 more' })
  })

  it('with numbers beyond a double is neither refused nor changed', async () => {
    await admin('POST', '/data-types', {
      id: 'numbers',
      schema_definition: {
        properties: { id: { type: 'integer' }, huge: { type: 'number' }, cents: { multipleOf: 0.01 } },
      },
    })
    const payload = '{"id": 90071992547409931234567890, "huge": 1e400, "cents": 0.07}'
    const sent = JSON.stringify(aSubmission({ data_type: 'numbers' })).replace(
      '"payload":{"n":1}',
      `"payload":${payload}`,
    )
    const { status, body } = await api.call('POST', '/distribution/submit', sent)
    expect(status, JSON.stringify(body)).toBe(202)
    const [row] = await api.rows(
      'acme',
      `select convert_from(payload_bytes, 'UTF8') as text from distribution_jobs where distribution_id = $1`,
      [body.distribution_id],
    )
    expect(row!.text).toBe(payload)
  })

  it('gets its first answer again under its key, although the data type has changed', async () => {
    await admin('POST', '/data-types', { id: 'changing' })
    const headers = { 'Idempotency-Key': 'key-1' }
    const sent = aSubmission({ data_type: 'changing', payload: {} })
    const first = await api.call('POST', '/distribution/submit', sent, { headers })
    await admin('PUT', '/data-types/changing', { schema_definition: REPORT })
    expect((await api.call('POST', '/distribution/submit', sent, { headers })).body).toEqual(first.body)
    expect((await submit('changing', {})).status).toBe(400)
    expect((await submit('changing', { report_id: 'R' })).status).toBe(202)
  })

  it('is judged by the validation rules too', async () => {
    await admin('POST', '/data-types', {
      id: 'ruly',
      schema_definition: REPORT,
      validation_rules: { mode: 'warn', max_payload_bytes: 100, required_metadata: ['source'] },
    })
    const metadata = { source: 'x' }
    const strict = { mode: 'enforce', required_metadata: ['source'] }
    await admin('POST', '/data-types', { id: 'strict', schema_definition: REPORT, validation_rules: strict })
    expect((await submit('strict', {})).body.details.map(({ field }: { field: string }) => field)).toEqual([
      'metadata.source',
      'payload.report_id',
    ])
    expect((await submit('ruly', {})).body.details).toEqual([{ field: 'metadata.source', issue: 'is required' }])
    const large = await submit('ruly', { report_id: 'x'.repeat(100) }, { metadata })
    expect(large.body.details).toEqual([{ field: 'payload', issue: 'must have at most 100 bytes' }])
    const { status, body } = await submit('ruly', {}, { metadata })
    expect(status).toBe(202)
    const state = await api.call('GET', `/distribution/${body.distribution_id}/status`)
    expect(state.body.warnings).toEqual(['payload.report_id is required'])
    const unknown = await admin('POST', '/data-types', { id: 'x', validation_rules: { max_bytes: 1 } })
    expect(unknown.body.details[0].field).toBe('validation_rules.max_bytes')
  })

  it('of a schema that never ends delays nothing, and is rejected', async () => {
    await admin('POST', '/data-types', { id: 'slow', schema_definition: { properties: { a: { pattern: '^(a+)+$' } } } })
    const { status, body } = await submit('slow', { a: `${'a'.repeat(60)}!` })
    expect(status).toBe(400)
    expect(body.details[0]).toEqual({
      field: 'payload',
      issue: expect.stringMatching(/^cannot be checked .* took longer/),
    })
  }, 180_000)

  it('in bulk is checked one by one', async () => {
    const distributions = [{ report_id: 'R-1' }, {}, { report_id: 'R-2', rows: [{ fees: [] }] }].map((payload) =>
      aSubmission({ data_type: 'report', payload }),
    )
    const { status, body } = await api.call('POST', '/distribution/bulk-submit', { distributions })
    expect([status, body.accepted_distributions]).toEqual([202, 1])
    expect(body.rejected).toEqual([
      { index: 1, details: [{ field: 'payload.report_id', issue: 'is required' }] },
      { index: 2, details: [{ field: 'payload.rows[0].fees', issue: 'must be number' }] },
    ])
  })

  it('of a type that is not catalogued is refused where the tenant asks for that', async () => {
    await platform('PUT', '/tenants/acme', { require_known_data_type: true })
    expect((await submit('unheard-of', {})).body.details[0]).toEqual({
      field: 'data_type',
      issue: 'is not in the catalogue of data types',
    })
    await admin('POST', '/data-types', { id: 'unheard-of' })
    expect((await submit('unheard-of', {})).status).toBe(202)
    await platform('PUT', '/tenants/acme', { require_known_data_type: false })
  })
})
