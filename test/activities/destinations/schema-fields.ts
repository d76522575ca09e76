// Every field that a configuration may have, found in its schema and not in a value, so that none is forgotten.
import type { z } from 'zod'
import { mapSecrets, reachedHosts } from '../../../activities/destinations/secrets/secret.ts'

export interface SchemaField {
  /** `auth.token`; the items of lists and the keys of records are `*`. */
  path: string
  /** Text, as far as the schema says. */
  text: boolean
  /** Marked with `secret()` or `optionalSecret()`. */
  secret: boolean
  /** Marked with `reaching`. */
  host: boolean
  /** A configuration that holds nothing but this value, and what tells the variants of objects apart. */
  holding(value: unknown): unknown
}

/** Of all kinds of hosts that are written down: a name, a URL, a URL of JDBC. */
const HOSTS = ['169.254.169.254', 'http://169.254.169.254/', 'jdbc:postgresql://169.254.169.254/x']

export function fieldsOf(schema: z.core.$ZodType): SchemaField[] {
  return walk(schema, [], (value) => value)
}

function walk(schema: z.core.$ZodType, path: string[], holding: SchemaField['holding']): SchemaField[] {
  let secret = false
  let marked = false
  mapSecrets(schema, 'a text', (leaf) => {
    marked ||= leaf.path.length === 0
    secret ||= leaf.path.length === 0 && !leaf.public
    return leaf.value
  })
  const { def } = (schema as z.core.$ZodTypes)._zod
  const host = HOSTS.some((value) => reachedHosts(schema, value).some((each) => each.path.length === 0))
  if (marked || host || def.type === 'string') return [{ path: path.join('.'), text: true, secret, host, holding }]
  switch (def.type) {
    case 'optional':
    case 'nullable':
    case 'default':
    case 'prefault':
    case 'readonly':
    case 'nonoptional':
    case 'catch':
      return walk(def.innerType, path, holding)
    case 'pipe':
      return walk(def.in, path, holding)
    case 'array':
      return walk(def.element, [...path, '*'], (value) => holding([value]))
    case 'record':
      return walk(def.valueType, [...path, '*'], (value) => holding({ x: value }))
    case 'union':
      return def.options.flatMap((option) => walk(option, path, holding))
    case 'object': {
      const tags = Object.entries(def.shape).flatMap(([name, field]) => {
        const { def: inner } = (field as z.core.$ZodTypes)._zod
        return inner.type === 'literal' ? [[name, inner.values[0]]] : []
      })
      return Object.entries(def.shape).flatMap(([name, field]) =>
        walk(field, [...path, name], (value) => holding({ ...Object.fromEntries(tags), [name]: value })),
      )
    }
    case 'number':
    case 'boolean':
    case 'enum':
    case 'literal':
    case 'null':
      return [{ path: path.join('.'), text: false, secret: false, host: false, holding }]
    default:
      throw new Error(`${path.join('.')}: secrets and hosts are not looked for in a ${def.type}`)
  }
}
