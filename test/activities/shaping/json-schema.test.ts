// JSON Schemas of tenants: that one which is accepted can be used, and what reading one may cost.
import { describe, expect, it } from 'vitest'
import { documentProblems, jsonSchemaProblems } from '../../../activities/shaping/json-schema.ts'
import { ShapingError } from '../../../activities/shaping/shaping-error.ts'

const fields = (count: number, schema: object) =>
  Object.fromEntries(Array.from({ length: count }, (_, n) => [`k${n}`, schema]))

describe('a schema', () => {
  it('of very many fields that is accepted can be used, for documents of any size', () => {
    const schema = { properties: fields(2000, { type: 'string' }) }
    expect(jsonSchemaProblems(schema)).toEqual([])
    for (const bytes of [100, 2_000_000]) {
      expect(documentProblems(JSON.stringify(schema), { value: { k1: 'a', k1900: 'b' } }, bytes)).toEqual([])
      expect(documentProblems(JSON.stringify(schema), { value: { k1900: 1 } }, bytes)).toEqual([
        { path: ['k1900'], issue: 'must be string' },
      ])
    }
  }, 60_000)

  it('that was written without the API and is invalid fails with an error that says why', () => {
    expect(() => documentProblems('{"$ref":"#/$defs/none"}', { value: {} }, 2)).toThrow(ShapingError)
    expect(() => documentProblems('{"type":"objekt"}', { value: {} }, 2)).toThrow(/the schema cannot be used/)
  })

  it('that is asynchronous is rejected, because its promise would count as valid', () => {
    for (const schema of [
      { $async: true, required: ['a'] },
      { $defs: { x: { $async: true } }, $ref: '#/$defs/x' },
    ]) {
      expect(jsonSchemaProblems(schema)[0]?.path.at(-1)).toBe('$async')
      expect(() => documentProblems(JSON.stringify(schema), { value: {} }, 2)).toThrow(ShapingError)
    }
  })

  it('looks only at the document’s own properties, not at inherited ones such as toString', () => {
    const schema = JSON.stringify({
      required: ['toString'],
      properties: { constructor: { type: 'string' } },
      dependentRequired: { valueOf: ['x'] },
    })
    expect(documentProblems(schema, { value: {} }, 2)).toEqual([{ path: ['toString'], issue: 'is required' }])
    expect(documentProblems(schema, { value: JSON.parse('{"toString": 1, "constructor": 2}') }, 2)).toEqual([
      { path: ['constructor'], issue: 'must be string' },
    ])
  })
})
