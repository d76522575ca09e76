// Turns zod's issues into the details of an error's answer: one line per field, by its path, with the nearest known name.
import { closest, distance } from 'fastest-levenshtein'
import { z } from 'zod'
import { type Detail, invalid } from '../errors.ts'
import { fieldPath } from '../json.ts'

/** `value` as `schema` reads it; throws a 400 with everything that is wrong. `at` is where `value` stands. */
export function parse<T extends z.ZodType>(schema: T, value: unknown, at: PropertyKey[] = []): z.output<T> {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  throw invalid(issuesOf(schema, result.error, at))
}

/** The details of a refused value. */
export function issuesOf(schema: z.ZodType, error: z.ZodError, at: PropertyKey[] = []): Detail[] {
  return error.issues.flatMap((issue) => {
    const path = [...at, ...issue.path]
    if (issue.code === 'unrecognized_keys') {
      const known = knownKeys(schema, issue.path)
      return issue.keys.map((key) => ({ field: fieldPath([...path, key]), issue: unknownName(key, known) }))
    }
    return [{ field: fieldPath(path), issue: wording(issue) }]
  })
}

/** «is not a known field», with the one that was probably meant. */
export function unknownName(name: string, known: readonly string[], what = 'field'): string {
  const near = known.length > 0 ? closest(name, known) : ''
  const plausible = near !== '' && distance(name, near) <= Math.max(2, Math.floor(near.length / 2))
  return `is not a known ${what}${plausible ? `, did you mean ${JSON.stringify(near)}?` : ''}`
}

function wording(issue: z.core.$ZodIssue): string {
  // The rule that a key breaks says more than that it breaks one.
  if (issue.code === 'invalid_key') return issue.issues[0]?.message ?? issue.message
  // zod words an absent field as one of a wrong type.
  if (issue.code === 'invalid_type' && /received undefined$/.test(issue.message)) return 'is required'
  return issue.message.replace(/^Invalid input: expected /, 'must be of type ').replace(/, received /, ', not ')
}

/** The field names of the object that stands at `path` in `schema`; empty where that cannot be told. */
function knownKeys(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  let found: z.core.$ZodType | undefined = unwrap(schema)
  for (const step of path) {
    if (found instanceof z.ZodObject) found = unwrap(found.shape[String(step)])
    else if (found instanceof z.ZodArray) found = unwrap(found.element)
    else if (found instanceof z.ZodRecord) found = unwrap(found.valueType)
    else return []
  }
  if (found instanceof z.ZodObject) return Object.keys(found.shape)
  if (found instanceof z.ZodUnion) return found.options.flatMap((option) => knownKeys(option as z.ZodType, []))
  return []
}

function unwrap(schema: z.core.$ZodType | undefined): z.core.$ZodType | undefined {
  let inner = schema
  for (;;) {
    if (inner instanceof z.ZodOptional || inner instanceof z.ZodNullable || inner instanceof z.ZodDefault) {
      inner = inner.def.innerType
    } else if (inner instanceof z.ZodPipe) inner = inner.def.in
    else return inner
  }
}
