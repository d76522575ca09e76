// Invalid shapes are rejected when they are written, with the path of each problem.
import './realm-source.ts'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { shapeConfig } from '../../../activities/shaping/config.ts'
import { costlyParts, costlyProblems } from '../../../activities/shaping/costly-parts.ts'

function issues(config: unknown): string[] {
  const parsed = shapeConfig.safeParse(config)
  const costly = costlyProblems(costlyParts(config) ?? {})
  return [
    ...(parsed.error?.issues.map(({ path, message }) => `${path.join('.')}: ${message}`) ?? []),
    ...costly.map(({ path, issue }) => `${path.join('.')}: ${issue}`),
  ]
}

describe('a shape', () => {
  it('that does nothing is no shape', () => {
    expect(issues({})).toEqual([])
  })

  it('is refused when it could not be applied, with the place of the error', () => {
    const refused: [unknown, RegExp][] = [
      [{ include: [] }, /^include: /],
      [{ exclude: ['a..b'] }, /^exclude\.0: cannot be read from character 2 on/],
      [{ exclude: ['a', 'rows[x]'] }, /^exclude\.1: cannot be read from character 5 on/],
      [{ exclude: ['a{b}'] }, /^exclude\.0: cannot be read/],
      [{ mask: ['payload.tax_code'] }, /^mask\.0: .*write tax_code, or \["payload"\]/],
      [{ mask: [{ path: 'a', keep_last: -1 }] }, /^mask\.0/],
      [{ mask: [{ path: 'a', hash: 'md5' }] }, /^mask\.0/],
      [{ field_mapping: { 'a.': 'b' } }, /^field_mapping\.a\.: cannot be read from character 2 on/],
      [{ field_mapping: { a: 'b[' } }, /^field_mapping\.a/],
      [{ field_mapping: { 'a[*].x': 'b.x' } }, /^field_mapping\.a\[\*\]\.x: has 1 \[\*\], but its source has 0/],
      [{ field_mapping: { 'a[999999999]': 'b' } }, /^field_mapping\.a\[999999999\]: has a position beyond 10000/],
      [{ field_mapping: {} }, /^field_mapping: must map/],
      [{ field_mapping: { a: { value: { n: [2 ** 53] } } } }, /^field_mapping\.a\.value: .*write it as a text/],
      [
        { field_mapping: { a: { path: 'b', default: Number.POSITIVE_INFINITY } } },
        /^field_mapping\.a\.default: .*text/,
      ],
      [{ expression: '{"a": ' }, /^expression: is not JSONata: .* at position \d+ \(S\d+\)/],
      [{ expression: 'a + $random()' }, /^expression: uses \$random at position \d+: a repeat/],
      [{ expression: '($r := $shuffle; $r(a))' }, /^expression: uses \$shuffle/],
      [{ expression: '$eval(code)' }, /^expression: uses \$eval at position \d+: text may not become code/],
      [{ expression: `${'('.repeat(9000)}1${')'.repeat(9000)}` }, /^expression: is not JSONata/],
      [{ output: 'yaml' }, /^output\.format/],
      [{ output: { format: 'csv', delimiter: 'dot' } }, /^output\.delimiter/],
      [{ output: { format: 'xml', root: '1x' } }, /^output\.root: is not a name/],
      [{ output: { format: 'text', template: 'x {payload.a' } }, /^output\.template: has a single "\{"/],
      [{ output: { format: 'text', template: '{attempt_number}' } }, /^output\.template: .*a repeat must be the same/],
      [{ output: { format: 'text', content_type: 'text/html\r\nx: y' } }, /^output\.content_type: is not a media type/],
      [{ output_schema: { type: 'objekt' } }, /^output_schema\.type: /],
      [{ output_schema: { properties: { a: { typ: 'string' } } } }, /^output_schema\.properties\.a\.typ: .*"type"/],
      [{ output_schema: { $ref: 'https://elsewhere.example/x' } }, /^output_schema\.\$ref: .*never fetched/],
      [{ output_schema: { $ref: '#/$defs/none' } }, /^output_schema: cannot be used: can't resolve reference/],
      [{ output_schema: { properties: { a: { pattern: '(' } } } }, /^output_schema\.properties\.a\.pattern: /],
      [{ output_schema: { format: 'iban' } }, /^output_schema: cannot be used: unknown format "iban"/],
      [
        { output_schema: { $schema: 'http://json-schema.org/draft-04/schema#' } },
        /^output_schema\.\$schema: is not one of the supported drafts/,
      ],
      [{ transform: 1 }, /^: /],
    ]
    for (const [config, message] of refused) {
      const [first] = issues(config)
      expect(first, JSON.stringify(config).slice(0, 80)).toMatch(message)
    }
  })

  it.each(['http://json-schema.org/draft-07/schema#', 'https://json-schema.org/draft/2020-12/schema', undefined])(
    'takes a schema of %s',
    (draft) => {
      const output_schema = {
        ...(draft && { $schema: draft }),
        type: 'object',
        properties: { at: { type: 'string', format: 'date-time', example: '2026-01-15T09:30:00Z', 'x-own': 1 } },
      }
      expect(issues({ output_schema })).toEqual([])
    },
  )

  it('has a JSON schema of its own, in which every step is described', () => {
    const schema = z.toJSONSchema(shapeConfig, { io: 'input' }) as {
      properties: Record<string, { description?: string }>
    }
    for (const [name, { description }] of Object.entries(schema.properties)) expect(description, name).toBeTruthy()
  })
})
