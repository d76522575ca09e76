// Turns zod's issues into the details of an error's answer: one line per field, by its path, with the nearest known name.
import { closest, distance } from 'fastest-levenshtein'
import { z } from 'zod'
import { type Detail, invalid, MAX_DETAILS } from '../http/errors.ts'
import { fieldPath } from '../http/json.ts'

/** `value` as `schema` reads it; throws a 400 with everything that is wrong. `at` is where `value` stands. */
export function parse<T extends z.ZodType>(schema: T, value: unknown, at: PropertyKey[] = []): z.output<T> {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  throw invalid(issuesOf(schema, result.error, at))
}

/** Stands for a detail that no answer shows, but counts. */
const UNSHOWN: Detail = { field: 'body', issue: 'is refused' }

/** The details of a refused value. Only as many as an answer shows are worded: there may be fifty thousand. */
export function issuesOf(schema: z.ZodType, error: z.ZodError, at: PropertyKey[] = []): Detail[] {
  const details: Detail[] = []
  const add = (make: () => Detail) => details.push(details.length < MAX_DETAILS ? make() : UNSHOWN)
  for (const issue of error.issues.flatMap(meantOption)) {
    const path = [...at, ...issue.path]
    if (issue.code !== 'unrecognized_keys') {
      add(() => ({ field: fieldPath(path), issue: wording(issue) }))
      continue
    }
    const known = Object.keys(fieldsAt(schema, issue.path))
    for (const key of issue.keys) {
      add(() => ({
        field: fieldPath([...path, key]),
        issue: elsewhere(schema, issue.path, key) ?? unknownName(key, known),
      }))
    }
  }
  return details
}

/** No name that is known has as many characters; comparing costs the product of the two lengths. */
const LONGEST_NAME = 200
/** So many names can be read; a longer list is looked up in the documentation. */
const MAX_LISTED = 20

/** «is not a known field», with the one that was probably meant, else with those that there are. */
export function unknownName(name: string, known: readonly string[]): string {
  const near = nearestName(name, known)
  if (near !== undefined) return `is not a known field${didYouMean(near)}`
  return `is not a known field${known.length > 0 && known.length <= MAX_LISTED ? `: ${known.join(', ')}` : ''}`
}

/** What is said behind a fault when the right name can be guessed. */
export function didYouMean(near: string | undefined): string {
  return near === undefined ? '' : `, did you mean ${JSON.stringify(near)}?`
}

/** The known name that was probably meant: one with a slip in it, or the only one that begins or goes on with this one. */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  if (name.length > LONGEST_NAME) return undefined
  const near = known.length > 0 ? closest(name, known) : ''
  const slips = near.length < 5 ? 1 : Math.max(2, Math.floor(near.length / 3))
  if (near !== '' && distance(name, near) <= slips) return near
  const within = (part: string, whole: string) => `_${whole}_`.includes(`_${part}_`)
  const akin = known.filter((one) => within(name, one) || within(one, name))
  return akin.length === 1 ? akin[0] : undefined
}

/** What is to be done with a field that is known one level further out or in. */
function elsewhere(schema: z.ZodType, path: readonly PropertyKey[], key: string): string | undefined {
  const within = Object.entries(fieldsAt(schema, path)).find(([, field]) => Object.hasOwn(fieldsAt(field, []), key))
  if (within) return `belongs in ${JSON.stringify(within[0])}`
  const around = path.length > 0 && Object.hasOwn(fieldsAt(schema, path.slice(0, -1)), key)
  return around ? `belongs beside ${JSON.stringify(String(path.at(-1)))}, not in it` : undefined
}

/** Of a value that may have several forms: what is wrong with the only one that it has but for a field's value. */
function meantOption(issue: z.core.$ZodIssue): z.core.$ZodIssue[] {
  if (issue.code !== 'invalid_union') return [issue]
  const [meant, ...others] = issue.errors.filter((option) => option.every(({ path }) => path.length > 0))
  if (!meant || others.length > 0) return [issue]
  return meant.flatMap((inner) => meantOption({ ...inner, path: [...issue.path, ...inner.path] }))
}

function wording(issue: z.core.$ZodIssue): string {
  // The rule that a key breaks says more than that it breaks one.
  if (issue.code === 'invalid_key') return issue.issues[0]?.message ?? issue.message
  if (/^Invalid (option|discriminator value|input: expected ")/.test(issue.message)) {
    if (issue.code === 'invalid_value') return `must be ${oneOf(issue.values)}`
    // Of a discriminator; zod's type does not say that it has them.
    if ('options' in issue) return `must be ${oneOf(issue.options as string[])}`
  }
  // One of several forms, and none of them: each says what it would be.
  if (issue.code === 'invalid_union' && issue.message === 'Invalid input') {
    return issue.errors.flatMap(([first]) => (first ? [wording(first)] : [])).join(', or ')
  }
  // zod words an absent field as one of a wrong type.
  if (issue.code === 'invalid_type' && /received undefined$/.test(issue.message)) return 'is required'
  return issue.message
    .replace(/^Invalid input: expected /, 'must be of type ')
    .replace(/^must be of type record/, 'must be of type object')
    .replace(/, received /, ', not ')
}

function oneOf(values: readonly unknown[]): string {
  return values.length === 1 ? String(values[0]) : `one of ${values.join(', ')}`
}

/** The fields of the object that stands at `path` in `schema`; none where that cannot be told. */
function fieldsAt(schema: z.core.$ZodType, path: readonly PropertyKey[]): Readonly<Record<string, z.core.$ZodType>> {
  let found: z.core.$ZodType | undefined = unwrap(schema)
  for (const step of path) {
    if (found instanceof z.ZodObject) found = unwrap(found.shape[String(step)])
    else if (found instanceof z.ZodArray) found = unwrap(found.element)
    else if (found instanceof z.ZodRecord) found = unwrap(found.valueType)
    else return {}
  }
  if (found instanceof z.ZodObject) return found.shape
  if (found instanceof z.ZodUnion) return Object.assign({}, ...found.options.map((option) => fieldsAt(option, [])))
  return {}
}

function unwrap(schema: z.core.$ZodType | undefined): z.core.$ZodType | undefined {
  let inner = schema
  for (;;) {
    if (inner instanceof z.ZodOptional || inner instanceof z.ZodNullable || inner instanceof z.ZodDefault) {
      inner = inner.def.innerType
    } else if (inner instanceof z.ZodPipe) {
      // A preprocessing has its schema behind it, a transformation before it.
      inner = inner.def.in instanceof z.ZodTransform ? inner.def.out : inner.def.in
    } else return inner
  }
}
