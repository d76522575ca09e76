// Secrets in a configuration are references to credentials. The schema marks the secret fields. Masking, encrypting and
// resolving all walk schema and value together, so that no protocol can forget a field.
import { z } from 'zod'

/** `{"secret": "name.field"}`: the field of a credential of the same tenant. */
export interface SecretReference {
  secret: string
}

/** The facts about a secret field. */
export interface SecretOptions {
  /** Must have a value once resolved. */
  required: boolean
  /** Not confidential (a user name): shown unmasked and allowed in plain text, but a credential may hold it. */
  public: boolean
}

/** A configuration whose references have been replaced: every secret is a string. */
export type Resolved<T> = T extends SecretReference
  ? string
  : T extends (infer Item)[]
    ? Resolved<Item>[]
    : T extends object
      ? { [Key in keyof T]: Resolved<T[Key]> }
      : T

/** Answers show this in place of a secret; in a PUT it keeps the present secret. */
export const MASK = '***'

/** The names that tenants may give to credentials. `destination.<uuid>` is reserved for the literal secrets of a destination. */
export const CREDENTIAL_NAME = /^[a-zA-Z0-9_-]{1,100}$/
const REFERENCE = /^(destination\.[0-9a-f-]{36}|[a-zA-Z0-9_-]{1,100})\.(.{1,300})$/
const RESERVED = /^destination\.[0-9a-f-]{36}$/

const secretFields = z.registry<SecretOptions>()
const hostFields = z.registry<{ hostOf: (value: string) => string | undefined }>()
const placeFields = z.registry<{ placeOf: (value: unknown) => unknown }>()

type SecretSchema = z.ZodUnion<readonly [z.ZodString, z.ZodObject<{ secret: z.ZodString }, z.core.$strict>]>

function markedSecret(options: SecretOptions): z.ZodOptional<SecretSchema> {
  const reference = z.strictObject({
    secret: z.string().regex(REFERENCE, 'must be "name.field", a credential and one of its fields'),
  })
  const schema = z.union([z.string().min(1).max(32768), reference]).optional()
  secretFields.add(schema, options)
  return schema
}

/**
 * A secret field: a literal (encrypted when a destination is registered) or a reference. It may also be omitted when
 * `credentials` names a credential with a field of the same name; `configuration()` checks that. The type is not optional,
 * because a resolved configuration always has the value.
 */
export function secret(): SecretSchema {
  return markedSecret({ required: true, public: false }) as unknown as SecretSchema
}

/** A secret field that may have no value. */
export function optionalSecret(): z.ZodOptional<SecretSchema> {
  return markedSecret({ required: false, public: false })
}

/** A field that is no secret, but often stored with one (a user name, a client id): the credential may fill it. */
export function credentialField(): SecretSchema {
  return markedSecret({ required: true, public: true }) as unknown as SecretSchema
}

/** The same for a field that may have no value. */
export function optionalCredentialField(): z.ZodOptional<SecretSchema> {
  return markedSecret({ required: false, public: true })
}

/**
 * Marks a string that decides which host is reached: `allowed_hosts` of credentials and the egress guard check it.
 * @param placeOf the part that must not change if `***` is to keep a secret, such as scheme, host and port; by default the host
 */
export function reaching<Schema extends z.ZodType<string>>(
  schema: Schema,
  hostOf: (value: string) => string | undefined,
  placeOf: (value: string) => unknown = hostOf,
): Schema {
  const marked = schema.meta({}) as Schema
  hostFields.add(marked, { hostOf })
  placeFields.add(marked, { placeOf: placeOf as (value: unknown) => unknown })
  return marked
}

/** Marks another field that decides who receives a secret, or whether a man-in-the-middle could read it. */
export function deciding<Schema extends z.ZodType>(
  schema: Schema,
  placeOf: (value: z.output<Schema>) => unknown = (value) => value,
): Schema {
  const marked = schema.meta({}) as Schema
  placeFields.add(marked, { placeOf: placeOf as (value: unknown) => unknown })
  return marked
}

/** The whole configuration of a protocol: it adds `credentials`, and refuses unknown fields and secrets without a source. */
export function configuration<Shape extends z.core.$ZodLooseShape>(shape: Shape) {
  const schema = z.strictObject({
    ...shape,
    credentials: z
      .string()
      .regex(CREDENTIAL_NAME, 'must be the name of a credential')
      .optional()
      .describe('Name of a credential; it fills every secret field of the same name that is not given'),
  })
  return schema.superRefine((value, context) => {
    if ('credentials' in value && value.credentials !== undefined) return
    mapSecrets(schema, value, ({ path, value: stated, required }) => {
      if (required && stated === undefined) {
        context.addIssue({
          code: 'custom',
          path,
          message: 'is required: give a value, a reference {"secret": "name.field"}, or "credentials" with this field',
        })
      }
      return stated
    })
  })
}

export type Path = (string | number)[]

/** One secret field of the walk; `value` is undefined if it is absent. */
export interface SecretLeaf extends SecretOptions {
  path: Path
  value: string | SecretReference | undefined
}

/** Returns the new value of the field; undefined removes it. */
export type SecretVisitor = (leaf: SecretLeaf) => string | SecretReference | undefined

/**
 * Copies `value`, and replaces each secret field by the result of `visit`. Absent fields are visited too, but not those
 * inside an absent object. Fields that the schema does not know are copied unchanged. Defaults are not applied.
 */
export function mapSecrets<T>(schema: z.core.$ZodType, value: T, visit: SecretVisitor): T {
  return walk(schema, value, [], { visit }) as T
}

/** The confidential values of a resolved configuration. */
export function secretsIn(schema: z.core.$ZodType, value: unknown): string[] {
  const secrets: string[] = []
  mapSecrets(schema, value, (leaf) => {
    if (!leaf.public && typeof leaf.value === 'string') secrets.push(leaf.value)
    return leaf.value
  })
  return secrets
}

/** The hosts that a configuration reaches, each with the path of its field. */
export function reachedHosts(schema: z.core.$ZodType, value: unknown): { path: Path; host: string }[] {
  const hosts: { path: Path; host: string }[] = []
  walk(schema, value, [], {
    visit: (leaf) => leaf.value,
    host: (path, host) => hosts.push({ path, host }),
  })
  return hosts
}

/** The paths of the fields that decide where secrets are sent and that differ between two configurations. */
export function changedPlaces(schema: z.core.$ZodType, before: unknown, after: unknown): string[] {
  const places = [before, after].map((value) => {
    const found = new Map<string, string>()
    const parsed = z.safeParse(schema, value)
    walk(schema, parsed.success ? parsed.data : value, [], {
      visit: (leaf) => leaf.value,
      place: (path, place) => found.set(formatPath(path), JSON.stringify(place) ?? ''),
    })
    return found
  })
  const [old, now] = places as [Map<string, string>, Map<string, string>]
  return [...new Set([...old.keys(), ...now.keys()])].filter((path) => old.get(path) !== now.get(path))
}

/** `destinations[0].auth.token`: the form of paths in answers. */
export function formatPath(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, key) => {
    if (typeof key === 'number') return `${text}[${key}]`
    return text === '' ? String(key) : `${text}.${String(key)}`
  }, '')
}

/** Reads `{ "secret": "name.field" }`; undefined if it is anything else, as in a configuration that is not checked yet. */
export function parseReference(value: unknown): { credential: string; field: string } | undefined {
  const reference = typeof value === 'object' && value !== null && 'secret' in value ? value.secret : undefined
  const match = typeof reference === 'string' ? REFERENCE.exec(reference) : null
  return match ? { credential: match[1]!, field: match[2]! } : undefined
}

/** `destination.<id>`: a credential with the literal secrets of one destination; no client may refer to it. */
export function isReserved(credential: string): boolean {
  return RESERVED.test(credential)
}

/** JSON Schema of the input; secrets are `writeOnly`. A `$comment` says when a field is required. */
export function toJsonSchema(schema: z.core.$ZodType): Record<string, unknown> {
  return z.toJSONSchema(schema, {
    io: 'input',
    override: ({ zodSchema, jsonSchema }) => {
      const options = secretFields.get(zodSchema)
      if (options && !options.public) jsonSchema.writeOnly = true
      if (options?.required) jsonSchema.$comment = 'required, unless the credential in "credentials" has this field'
    },
  }) as Record<string, unknown>
}

interface Visitors {
  visit: SecretVisitor
  host?: (path: Path, host: string) => void
  place?: (path: Path, place: unknown) => void
}

function walk(schema: z.core.$ZodType, value: unknown, path: Path, visitors: Visitors): unknown {
  const options = secretFields.get(schema)
  if (options) return visitors.visit({ ...options, path, value: value as SecretLeaf['value'] })
  if (value === undefined || value === null) return value
  const deciding = placeFields.get(schema)
  if (deciding && visitors.place) visitors.place(path, deciding.placeOf(value))
  const marked = hostFields.get(schema)
  if (marked && typeof value === 'string') {
    const host = marked.hostOf(value)
    if (host !== undefined) visitors.host?.(path, host)
    return value
  }
  const { def } = (schema as z.core.$ZodTypes)._zod
  switch (def.type) {
    case 'optional':
    case 'nullable':
    case 'default':
    case 'prefault':
    case 'readonly':
    case 'nonoptional':
    case 'catch':
      return walk(def.innerType, value, path, visitors)
    case 'pipe':
      return walk(def.in, value, path, visitors)
    case 'lazy':
      return walk(def.getter(), value, path, visitors)
    case 'intersection':
      return walk(def.right, walk(def.left, value, path, visitors), path, visitors)
    case 'array':
      if (!Array.isArray(value)) return value
      return value.map((item, index) => walk(def.element, item, [...path, index], visitors))
    case 'record':
      if (!isObject(value)) return value
      return fromEntries(
        Object.entries(value).map(([key, item]) => [key, walk(def.valueType, item, [...path, key], visitors)]),
      )
    case 'union': {
      const option = optionFor(def, value)
      return option ? walk(option, value, path, visitors) : value
    }
    case 'object': {
      if (!isObject(value)) return value
      const known = Object.entries(def.shape).map(([key, field]): [string, unknown] => [
        key,
        walk(field, value[key], [...path, key], visitors),
      ])
      return fromEntries([...Object.entries(value), ...known])
    }
    default:
      return value
  }
}

/** The branch of a union for a value: by discriminator, or the first that accepts the value. */
function optionFor(def: z.core.$ZodUnionDef, value: unknown): z.core.$ZodType | undefined {
  const discriminator = (def as Partial<z.core.$ZodDiscriminatedUnionDef>).discriminator
  if (discriminator === undefined) return def.options.find((option) => z.safeParse(option, value).success)
  const tag = isObject(value) ? value[discriminator] : undefined
  return def.options.find((option) => {
    const tags = option._zod.propValues?.[discriminator]
    return tags?.has(tag as z.core.util.Primitive) ?? false
  })
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Drops keys whose value is undefined. `__proto__` stays an ordinary key. */
function fromEntries(entries: [string, unknown][]): Record<string, unknown> {
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined))
}
