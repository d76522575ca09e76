// Turns zod's issues into the details of an error: one per field, with its path and the most similar known name.
import { closest, distance } from 'fastest-levenshtein'
import { z } from 'zod'
import { type Detail, invalid, MAX_DETAILS } from '../http/errors.ts'
import { fieldPath } from '../http/json.ts'

/** Parses `value`, or throws a 400 with every problem. `at` is the path of `value` in the request. */
export function parse<T extends z.ZodType>(schema: T, value: unknown, at: PropertyKey[] = []): z.output<T> {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  throw invalid(issuesOf(schema, result.error, at))
}

/** A detail that is counted but not shown. */
const UNSHOWN: Detail = { field: 'body', issue: 'is refused' }

/** The details of an invalid value. Only those that a response shows get their text: there may be fifty thousand. */
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

/** Longer than every known name: comparing costs the product of the two lengths. */
const LONGEST_NAME = 200
/** A longer list of known names is not shown. */
const MAX_LISTED = 20

/** «is not a known field», with the most similar known field, or with all known fields. */
export function unknownName(name: string, known: readonly string[]): string {
  const near = nearestName(name, known)
  if (near !== undefined) return `is not a known field${didYouMean(near)}`
  return `is not a known field${known.length > 0 && known.length <= MAX_LISTED ? `: ${known.join(', ')}` : ''}`
}

/** The suggestion at the end of an error. */
export function didYouMean(near: string | undefined): string {
  return near === undefined ? '' : `, did you mean ${JSON.stringify(near)}?`
}

/** The known name that was probably meant: one with a typing error, or the only one that contains this name. */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  if (name.length > LONGEST_NAME) return undefined
  const near = known.length > 0 ? closest(name, known) : ''
  const allowed = near.length < 5 ? 1 : Math.max(2, Math.floor(near.length / 3))
  if (near !== '' && distance(name, near) <= allowed) return near
  const within = (part: string, whole: string) => `_${whole}_`.includes(`_${part}_`)
  const similar = known.filter((one) => within(name, one) || within(one, name))
  return similar.length === 1 ? similar[0] : undefined
}

/** The hint for a field that exists one level further out or in. */
function elsewhere(schema: z.ZodType, path: readonly PropertyKey[], key: string): string | undefined {
  const within = Object.entries(fieldsAt(schema, path)).find(([, field]) => Object.hasOwn(fieldsAt(field, []), key))
  if (within) return `belongs in ${JSON.stringify(within[0])}`
  const around = path.length > 0 && Object.hasOwn(fieldsAt(schema, path.slice(0, -1)), key)
  return around ? `belongs next to ${JSON.stringify(String(path.at(-1)))}, not inside it` : undefined
}

/** For a union: the issues of the only option that has the right form. */
function meantOption(issue: z.core.$ZodIssue): z.core.$ZodIssue[] {
  if (issue.code !== 'invalid_union') return [issue]
  const [meant, ...others] = issue.errors.filter((option) => option.every(({ path }) => path.length > 0))
  if (!meant || others.length > 0) return [issue]
  return meant.flatMap((inner) => meantOption({ ...inner, path: [...issue.path, ...inner.path] }))
}

function wording(issue: z.core.$ZodIssue): string {
  // The issue of the key itself is more specific.
  if (issue.code === 'invalid_key') return issue.issues[0]?.message ?? issue.message
  if (/^Invalid (option|discriminator value|input: expected ")/.test(issue.message)) {
    if (issue.code === 'invalid_value') return `must be ${oneOf(issue.values)}`
    // For a discriminator; zod's type does not declare the options.
    if ('options' in issue) return `must be ${oneOf(issue.options as string[])}`
  }
  // No option of a union matches: list what each expects.
  if (issue.code === 'invalid_union' && issue.message === 'Invalid input') {
    return issue.errors.flatMap(([first]) => (first ? [wording(first)] : [])).join(', or ')
  }
  // zod describes an absent field as one of a wrong type.
  if (issue.code === 'invalid_type' && /received undefined$/.test(issue.message)) return 'is required'
  return issue.message
    .replace(/^Invalid input: expected /, 'must be of type ')
    .replace(/^must be of type record/, 'must be of type object')
    .replace(/, received /, ', not ')
}

function oneOf(values: readonly unknown[]): string {
  return values.length === 1 ? String(values[0]) : `one of ${values.join(', ')}`
}

/** The fields of the object at `path` in `schema`; none if they are unknown. */
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
      // The schema comes after a preprocessing and before a transformation.
      inner = inner.def.in instanceof z.ZodTransform ? inner.def.out : inner.def.in
    } else return inner
  }
}
