// JSON Schemas of tenants: that one which is accepted can be used, and what reading one may cost.
import { describe, expect, it } from 'vitest'
import { documentProblems, jsonSchemaProblems } from '../../activities/shaping/json-schema.ts'
import { ShapingError } from '../../activities/shaping/shaping-error.ts'

const fields = (count: number, schema: object) =>
  Object.fromEntries(Array.from({ length: count }, (_, n) => [`k${n}`, schema]))

describe('a schema', () => {
  it('of very many fields that is accepted can be used, for documents of any size', () => {
    const schema = { properties: fields(2500, { type: 'string' }) }
    expect(jsonSchemaProblems(schema)).toEqual([])
    for (const bytes of [100, 2_000_000]) {
      expect(documentProblems(JSON.stringify(schema), { k1: 'a', k2400: 'b' }, bytes)).toEqual([])
      expect(documentProblems(JSON.stringify(schema), { k2400: 1 }, bytes)).toEqual([
        { path: ['k2400'], issue: 'must be string' },
      ])
    }
  }, 60_000)

  it('that was written past the API and cannot be used fails by what is wrong with it', () => {
    expect(() => documentProblems('{"$ref":"#/$defs/none"}', {}, 2)).toThrow(ShapingError)
    expect(() => documentProblems('{"type":"objekt"}', {}, 2)).toThrow(/the schema cannot be used/)
  })
})
