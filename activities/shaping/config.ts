// How a payload is shaped for a destination: the one schema of a destination's `transform_config` and of a rule's shape.
// If both exist, the rule's shape is applied first and the destination's to its result. Expressions and JSON Schemas are
// checked elsewhere (costly-parts.ts), because that is slow and would block other requests.
import { z } from 'zod'
import { placeholderProblem } from '../destinations/template/placeholders.ts'
import { EACH } from '../document/paths.ts'
import { csvFields, xmlFields } from '../formats/fields.ts'
import { MAX_POSITION } from './mapping.ts'
import { readPath } from './paths.ts'
import { SEALED } from './salts.ts'
import { mappingOf } from './stored-mapping.ts'

/** Characters of the whole configuration as JSON. */
const MAX_BYTES = 131_072
const MAX_EXPRESSION = 20_000
const MAX_PATHS = 500
const MAX_SALT = 200
/** Characters of a sealed salt in the worst case: all of its characters take four bytes. */
const MAX_KEPT_SALT = 3000

const path = z
  .string()
  .min(1)
  .max(1000)
  .superRefine((text, context) => {
    const steps = readPath(text)
    if (!Array.isArray(steps)) context.addIssue({ code: 'custom', message: steps.problem })
  })

const target = path.superRefine((text, context) => {
  const steps = readPath(text)
  if (!Array.isArray(steps)) return
  if (steps.some((step) => typeof step === 'number' && step > MAX_POSITION)) {
    context.addIssue({ code: 'custom', message: `has a position beyond ${MAX_POSITION}` })
  }
})

const paths = z.array(path).min(1).max(MAX_PATHS)

const masking = z.union(
  [
    path,
    z.strictObject({
      path: path.describe('What is masked'),
      keep_last: z.int().min(0).max(100).describe('Number of characters at the end that stay; the others become `*`'),
    }),
    z.strictObject({ path, text: z.string().max(1000).describe('Replaces the value') }),
    z.strictObject({
      path,
      hash: z.literal('sha256').describe('Replaces the value by its SHA-256 in hexadecimal'),
      salt: z
        .string()
        .min(1)
        .max(MAX_KEPT_SALT)
        .refine(
          (salt) => salt.length <= MAX_SALT || salt.startsWith(SEALED),
          `must have at most ${MAX_SALT} characters`,
        )
        .optional()
        .describe('Key of an HMAC-SHA-256 instead, shown as `***`; without one, short values can be found by trying'),
    }),
  ],
  { error: 'must be a path, or an object with "path" and one of "keep_last", "text" or "hash"' },
)

/** JSON.parse has made doubles of its numbers; numbers that may have lost digits are rejected. */
const constant = z.unknown().superRefine((value, context) => {
  const open = [value]
  for (let next = open.pop(); next !== undefined || open.length > 0; next = open.pop()) {
    if (typeof next === 'number' && Math.abs(next) > Number.MAX_SAFE_INTEGER) {
      return context.addIssue({ code: 'custom', message: 'has a number that may have lost digits; write it as a text' })
    }
    if (typeof next === 'object' && next !== null) for (const inner of Object.values(next)) open.push(inner)
  }
})

const fieldSource = z.union(
  [
    path,
    z.strictObject({
      path: path.describe('Where the value comes from'),
      required: z.boolean().optional().describe('A missing value is an error; by default the field is left out'),
      default: constant.optional().describe('Used when there is no value'),
    }),
    z.strictObject({ value: constant.describe('A constant') }),
  ],
  { error: 'must be a path, or an object with "path" or "value"' },
)

const mapping = z.record(z.string(), fieldSource).superRefine((mapping, context) => {
  const issue = (key: string, message: string) => context.addIssue({ code: 'custom', path: [key], message })
  const entries = Object.entries(mapping)
  if (entries.length === 0) context.addIssue({ code: 'custom', message: 'must map at least one field' })
  if (entries.length > MAX_PATHS) context.addIssue({ code: 'custom', message: `must map at most ${MAX_PATHS} fields` })
  for (const [key, source] of entries) {
    const checked = target.safeParse(key)
    if (!checked.success) {
      issue(key, checked.error.issues[0]!.message)
      continue
    }
    const from = typeof source === 'string' ? source : 'path' in source ? source.path : undefined
    const [into, out] = [eachIn(key), from === undefined ? 0 : eachIn(from)]
    if (into > 0 && into !== out) {
      issue(key, `has ${into} [*], but its source has ${out}; with none at all it takes all values as a list`)
    }
  }
})

const fieldMapping = z.preprocess(mappingOf, mapping)

function eachIn(text: string): number {
  const steps = readPath(text)
  return Array.isArray(steps) ? steps.filter((step) => step === EACH).length : 0
}

const rowsPath = path.optional().describe('Where the rows are: a list of objects, or one object; all of it when absent')

const outputFormat = z.discriminatedUnion('format', [
  z.strictObject({ format: z.literal('json') }),
  z.strictObject({
    format: z.literal('ndjson'),
    rows_path: path.optional().describe('Where the list is; one line each'),
  }),
  z.strictObject({
    format: z.literal('csv'),
    rows_path: rowsPath,
    ...csvFields,
  }),
  z.strictObject({
    format: z.literal('xml'),
    ...xmlFields,
  }),
  z.strictObject({
    format: z.literal('text'),
    template: z
      .string()
      .max(100_000)
      .superRefine((text, context) => {
        const problem = placeholderProblem(text)
        if (problem) context.addIssue({ code: 'custom', message: problem })
        else if (/(?<!\{)\{attempt_number\}/.test(text)) {
          context.addIssue({ code: 'custom', message: 'has {attempt_number}: a repeat must be the same document' })
        }
      })
      .optional()
      .describe(
        '`{payload.a.b}` is filled in from the shaped document as it is (nothing is escaped), and `{distribution_id}`, `{delivery_id}`, `{tenant_id}` and `{data_type}`; absent: the shaped document must be one text itself',
      ),
    content_type: z
      .string()
      .max(200)
      .regex(/^[\w.+-]+\/[\w.+-]+(;\s?[\w-]+=[\w-]+)*$/, 'is not a media type')
      .default('text/plain; charset=utf-8')
      .describe('Its content type; always UTF-8'),
  }),
])

const output = z.preprocess((given) => (typeof given === 'string' ? { format: given } : given), outputFormat)

const outputSchema = z.union([z.boolean(), z.record(z.string(), z.unknown())], { error: 'must be a JSON Schema' })

/** The steps, applied in this order; `{}` leaves every byte of the payload unchanged. */
export const shapeConfig = z
  .strictObject({
    include: paths.optional().describe('Keeps only the values at these paths'),
    exclude: paths.optional().describe('Removes the values at these paths'),
    mask: z.array(masking).min(1).max(MAX_PATHS).optional().describe('Values that are hidden; a path alone: `***`'),
    field_mapping: fieldMapping
      .optional()
      .describe('A new document: target path ← source path; its fields are in the order of the targets'),
    expression: z
      .string()
      .min(1)
      .max(MAX_EXPRESSION)
      .optional()
      .describe('JSONata; its result is the document from there on'),
    output_schema: outputSchema
      .optional()
      .describe('JSON Schema (2020-12, 2019-09 or draft-07) of the shaped document'),
    output: output.optional().describe('How the document is written; JSON when absent'),
  })
  .superRefine((shape, context) => {
    if (Buffer.byteLength(JSON.stringify(shape)) > MAX_BYTES) {
      context.addIssue({ code: 'custom', message: `must have at most ${MAX_BYTES} bytes` })
    }
  })

export type Shape = z.output<typeof shapeConfig>
/** The form in requests and in the database. */
export type ShapeInput = z.input<typeof shapeConfig>

/** Whether a configuration has any step. */
export function shapes(config: Record<string, unknown> | null | undefined): config is Record<string, unknown> {
  return config !== null && config !== undefined && Object.keys(config).length > 0
}
