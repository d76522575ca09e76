// JSON Schemas of tenants: checked when they are stored, compiled once, and used to validate documents.
import { Ajv, type ErrorObject, type Options, type ValidateFunction } from 'ajv'
import { Ajv2019 } from 'ajv/dist/2019.js'
import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { closest, distance } from 'fastest-levenshtein'
import { INTEGER, markIntegers, useExactKeywords } from './exact-keywords.ts'
import { type Held, readNumbers } from './exact-numbers.ts'
import { ShapingError } from './shaping-error.ts'
import { cachedByText } from './text-cache.ts'

export interface Problem {
  path: (string | number)[]
  issue: string
}

/** Characters of a schema as JSON: compiling one of this size takes a second or two. */
const MAX_SCHEMA_BYTES = 262_144
const MAX_SCHEMA_DEPTH = 100
/** Digits of a number in a schema: each number of a document may be divided by it. */
const MAX_DIGITS = 1000
const MAX_PROBLEMS = 50
/** For larger documents only the first problem is reported. */
const LISTED_UP_TO = 1_048_576

const DRAFTS: Record<string, new (options: Options) => Ajv> = {
  'http://json-schema.org/draft-07/schema': Ajv,
  'https://json-schema.org/draft/2019-09/schema': Ajv2019,
  'https://json-schema.org/draft/2020-12/schema': Ajv2020,
}

const OPTIONS: Options = {
  // An unknown keyword is probably misspelt: it would be accepted and never applied.
  strictSchema: true,
  strictTypes: false,
  strictTuples: false,
  strictRequired: false,
  // 1e400 is a number, although not a double.
  strictNumbers: false,
  allowUnionTypes: true,
  // Only own properties count: every object inherits a "constructor".
  ownProperties: true,
  // A definition is compiled once and not at each reference: 20 kB of references took 27 s.
  inlineRefs: false,
  logger: false,
}

/** Keywords without effect that schemas often have. */
const ANNOTATIONS = ['example']

type Schema = boolean | Record<string, unknown>

/** The problems of a schema, with their paths; none if it can be used. */
export function jsonSchemaProblems(schema: Schema, text = JSON.stringify(schema)): Problem[] {
  if (Buffer.byteLength(text) > MAX_SCHEMA_BYTES) {
    return [{ path: [], issue: `must have at most ${MAX_SCHEMA_BYTES} bytes` }]
  }
  if (typeof schema === 'boolean') return []
  if (new RegExp(`[0-9.]{${MAX_DIGITS + 1}}`).test(text)) {
    return [{ path: [], issue: `has a number of more than ${MAX_DIGITS} digits` }]
  }
  const draft = draftOf(schema)
  if (!draft) {
    const known = Object.keys(DRAFTS).join(', ')
    return [{ path: ['$schema'], issue: `is not one of the supported drafts: ${known}` }]
  }
  const ajv = newAjv(draft, schema, { allErrors: true })
  const walked = walk(ajv, schema)
  if (walked.length > 0) return walked
  try {
    if (!ajv.validateSchema(schema)) return problemsOf(ajv.errors ?? [], schema, [])
    ajv.compile(schema)
    return []
  } catch (error) {
    return [{ path: [], issue: error instanceof RangeError ? 'nests too deep' : compileProblem(error) }]
  }
}

/** ajv's messages quote only the schema. */
function compileProblem(error: unknown): string {
  const message = error instanceof Error ? error.message : ''
  return `cannot be used: ${message.replace(/^strict mode: /, '').slice(0, 300)}`
}

function draftOf(schema: Schema): (new (options: Options) => Ajv) | undefined {
  const stated = typeof schema === 'object' ? schema.$schema : undefined
  if (stated === undefined) return Ajv2020
  return typeof stated === 'string' ? DRAFTS[stated.replace(/#$/, '')] : undefined
}

function newAjv(draft: new (options: Options) => Ajv, schema: Schema, options: Options): Ajv {
  const ajv = new draft({ ...OPTIONS, ...options })
  addFormats.default(ajv)
  useExactKeywords(ajv)
  for (const word of [...ANNOTATIONS, ...extensions(schema)]) if (!ajv.RULES.keywords[word]) ajv.addKeyword(word)
  return ajv
}

/** `x-…` keywords are allowed: they are extensions. */
function extensions(schema: Schema): string[] {
  const found = new Set<string>()
  const open: unknown[] = [schema]
  for (let at = 0; at < open.length; at++) {
    const node = open[at]
    if (typeof node !== 'object' || node === null) continue
    for (const [key, child] of Object.entries(node)) {
      if (/^x-[a-z0-9_$-]+$/i.test(key)) found.add(key)
      open.push(child)
    }
  }
  return [...found]
}

const MAPS = new Set(['properties', 'patternProperties', '$defs', 'definitions', 'dependentSchemas', 'dependencies'])
const NESTED = new Set(
  `items additionalItems prefixItems contains additionalProperties propertyNames unevaluatedItems unevaluatedProperties
   not if then else allOf anyOf oneOf`.split(/\s+/),
)

/** Unknown keywords and references to other schemas, with their paths, which ajv does not report. */
function walk(ajv: Ajv, schema: Schema): Problem[] {
  const problems: Problem[] = []
  const known = new Set([...Object.keys(ajv.RULES.keywords), ...Object.keys(ajv.RULES.all), ...CORE])
  // A keyword of ajv: the validation would return a promise, which would count as valid.
  known.delete('$async')
  known.delete(INTEGER)
  const text = JSON.stringify(schema)
  const open: { node: unknown; path: (string | number)[] }[] = [{ node: schema, path: [] }]
  for (let next = open.pop(); next && problems.length < MAX_PROBLEMS; next = open.pop()) {
    const { node, path } = next
    if (path.length > MAX_SCHEMA_DEPTH) return [{ path: [], issue: 'nests too deep' }]
    if (typeof node !== 'object' || node === null || Array.isArray(node)) continue
    for (const [key, child] of Object.entries(node)) {
      const at = [...path, key]
      if (!known.has(key)) problems.push({ path: at, issue: unknownKeyword(key, [...known]) })
      else if ((key === '$ref' || key === '$dynamicRef') && typeof child === 'string' && isForeign(child, text)) {
        problems.push({ path: at, issue: 'refers to a schema outside of this one, which is never fetched' })
      } else if (key === 'pattern' && typeof child === 'string') {
        problems.push(...patternProblems(child, at))
      } else if (MAPS.has(key) && isRecord(child)) {
        if (key === 'patternProperties') {
          for (const name of Object.keys(child)) problems.push(...patternProblems(name, [...at, name]))
        }
        for (const [name, inner] of Object.entries(child)) open.push({ node: inner, path: [...at, name] })
      } else if (NESTED.has(key)) {
        if (Array.isArray(child)) for (const [n, inner] of child.entries()) open.push({ node: inner, path: [...at, n] })
        else open.push({ node: child, path: at })
      }
    }
  }
  return problems
}

const CORE = [
  '$id',
  '$schema',
  '$comment',
  '$defs',
  'definitions',
  '$anchor',
  '$dynamicAnchor',
  '$ref',
  '$dynamicRef',
  '$recursiveRef',
  '$recursiveAnchor',
  'title',
  'description',
  'default',
  'examples',
  'deprecated',
  'readOnly',
  'writeOnly',
  'contentMediaType',
  'contentEncoding',
  'contentSchema',
  'if',
  'then',
  'else',
]

function patternProblems(pattern: string, path: (string | number)[]): Problem[] {
  try {
    new RegExp(pattern, 'u')
    return []
  } catch {
    return [{ path, issue: 'is not a regular expression' }]
  }
}

function unknownKeyword(key: string, known: string[]): string {
  const near = closest(key, known)
  const plausible = distance(key, near) <= Math.max(2, Math.floor(near.length / 3))
  return `is not a known keyword${plausible ? `, did you mean ${JSON.stringify(near)}?` : '; "x-…" is free for your own'}`
}

/** @param schema as JSON */
function isForeign(ref: string, schema: string): boolean {
  if (ref.startsWith('#')) return false
  const base = ref.split('#')[0]!
  return !schema.includes(`"$id":${JSON.stringify(base)}`)
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

const compile = cachedByText((text) => {
  const schema = readNumbers(text).value as Schema
  markIntegers(schema, MAPS)
  const whole = once(() => compileAs(schema, { allErrors: true }))
  return {
    /** Finds all problems. */
    whole,
    /** Stops at the first problem. Its code nests once for each field, so that it cannot be compiled for very many fields. */
    quick: once(() => shallow(() => compileAs(schema, {})) ?? whole()),
  }
})

function once<T>(make: () => T): () => T {
  let made: T | undefined
  return () => {
    made ??= make()
    return made
  }
}

/** @throws ShapingError for a schema that cannot be used: it was written by SQL */
function compileAs(schema: Schema, options: Options): ValidateFunction {
  try {
    // It was checked when it was stored; compiling the meta-schema takes longer than compiling most schemas.
    const made = newAjv(draftOf(schema) ?? Ajv2020, schema, { ...options, validateSchema: false }).compile(schema)
    if ('$async' in made) throw new Error('it is asynchronous')
    return made
  } catch (error) {
    if (error instanceof RangeError) throw error
    throw new ShapingError('output_schema', `the schema ${compileProblem(error)}`)
  }
}

/**
 * The problems of a document, with their paths and without its values. Numbers are compared by their digits, and may have any
 * size.
 * @param schema as JSON, which is also the key of the cache
 * @param bytes the size of the document
 */
export function documentProblems(schema: string, document: Held, bytes: number): Problem[] {
  const { quick, whole } = compile(schema)
  const first = bytes > LISTED_UP_TO ? shallow(() => problemsFound(quick(), document)) : undefined
  return first ?? problemsFound(whole(), document)
}

/** The result of `make`; undefined when the stack is too small for it. */
function shallow<T>(make: () => T): T | undefined {
  try {
    return make()
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}

function problemsFound(validate: ValidateFunction, held: Held): Problem[] {
  const { value } = held
  const at = { instancePath: '', parentData: held, parentDataProperty: 'value', rootData: value, dynamicAnchors: {} }
  return validate(value, at as never) ? [] : problemsOf(validate.errors ?? [], value, [])
}

function problemsOf(errors: readonly ErrorObject[], root: unknown, at: (string | number)[]): Problem[] {
  const problems = new Map<string, Problem>()
  for (const error of errors) {
    const problem = problemOf(error, root, at)
    problems.set(JSON.stringify(problem), problem)
  }
  const all = [...problems.values()]
  if (all.length <= MAX_PROBLEMS) return all
  return [...all.slice(0, MAX_PROBLEMS), { path: at, issue: `and ${all.length - MAX_PROBLEMS} more` }]
}

function problemOf(error: ErrorObject, root: unknown, at: (string | number)[]): Problem {
  const path = [...at, ...pathOf(error.instancePath, root)]
  const { keyword, params } = error
  switch (keyword) {
    case 'required':
      return { path: [...path, String(params.missingProperty)], issue: 'is required' }
    case 'additionalProperties':
      return { path: [...path, String(params.additionalProperty)], issue: 'is not allowed here' }
    case 'unevaluatedProperties':
      return { path: [...path, String(params.unevaluatedProperty)], issue: 'is not allowed here' }
    case 'enum': {
      const allowed = String(params.allowed)
      return { path, issue: allowed.length <= 200 ? `must be one of ${allowed}` : 'must be one of the allowed values' }
    }
    default:
      return { path, issue: (error.message ?? 'is not valid').slice(0, 300) }
  }
}

/** The path of a JSON pointer; only the document shows which of its parts are positions. */
function pathOf(pointer: string, root: unknown): (string | number)[] {
  let value: unknown = root
  return pointer
    .split('/')
    .slice(1)
    .map((part) => {
      const name = part.replaceAll('~1', '/').replaceAll('~0', '~')
      const step = Array.isArray(value) ? Number(name) : name
      value = (value as Record<string | number, unknown> | undefined)?.[step]
      return step
    })
}
