// The types of a table's columns, including the element types of arrays, domains, composite types and ranges.

export type Shape =
  /** A built-in type. `modifier` is the number in parentheses: a length, or the digits of a second's fraction. */
  | { kind: 'scalar'; name: string; modifier: number | undefined }
  | { kind: 'array'; of: Shape }
  | { kind: 'composite'; fields: Map<string, Shape> }
  | { kind: 'range'; of: Shape }
  /** An enumeration or a type of an extension; only the server can check its values. */
  | { kind: 'other' }

interface Described {
  columns: { name: string; type: number; modifier: number; text: string }[]
  types: {
    oid: number
    name: string
    /** The type is in the schema pg_catalog. */
    own: boolean
    /** `d` for a domain, `c` for a composite type. */
    kind: string
    is_array: boolean
    base: number
    element: number
    bounds: number | null
    modifier: number
    fields: { name: string; type: number; modifier: number }[] | null
  }[]
}

export interface ShapedColumn {
  name: string
  /** The type in PostgreSQL's notation: `timestamp(3) without time zone`. */
  type: string
  shape: Shape
}

/** @param name an SQL literal @returns a query whose one result is a text for `shapedColumns`, or null */
export function catalogQuestion(name: string): string {
  return `with recursive
    target(oid) as (select pg_catalog.to_regclass(${name})::pg_catalog.oid),
    columns as (
      select a.attname, a.atttypid, a.atttypmod, a.attnum
      from pg_catalog.pg_attribute a
      where a.attrelid = (select oid from target) and a.attnum > 0 and not a.attisdropped),
    used(oid) as (
      select atttypid from columns
      union
      select part.oid
      from used join pg_catalog.pg_type t on t.oid = used.oid
      left join pg_catalog.pg_range r on r.rngtypid = t.oid
      left join pg_catalog.pg_attribute a
        on t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
      cross join lateral (values (t.typbasetype), (case t.typcategory when 'A' then t.typelem end),
        (r.rngsubtype), (a.atttypid)) part(oid)
      where part.oid <> 0)
    select pg_catalog.json_build_object(
      'columns', (select pg_catalog.json_agg(pg_catalog.json_build_object('name', c.attname, 'type', c.atttypid::int8,
        'modifier', c.atttypmod, 'text', pg_catalog.format_type(c.atttypid, c.atttypmod))) from columns c),
      'types', (select pg_catalog.json_agg(pg_catalog.json_build_object('oid', t.oid::int8, 'name', t.typname,
        'own', n.nspname = 'pg_catalog', 'kind', t.typtype, 'is_array', t.typcategory = 'A',
        'base', t.typbasetype::int8, 'element', t.typelem::int8, 'bounds', r.rngsubtype::int8, 'modifier', t.typtypmod,
        'fields', (select pg_catalog.json_agg(pg_catalog.json_build_object('name', a.attname,
          'type', a.atttypid::int8, 'modifier', a.atttypmod))
          from pg_catalog.pg_attribute a
          where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped)))
        from used join pg_catalog.pg_type t on t.oid = used.oid
        join pg_catalog.pg_namespace n on n.oid = t.typnamespace
        left join pg_catalog.pg_range r on r.rngtypid = t.oid))::text as described`
}

/** Empty when there is no such table. @throws SyntaxError or TypeError for an invalid answer of the server */
export function shapedColumns(answer: string): ShapedColumn[] {
  const { columns, types } = JSON.parse(answer) as Described
  if (columns === null) return []
  const byOid = new Map(types.map((type) => [type.oid, type]))
  const made = new Map<string, Shape>()
  const shapeOf = (oid: number, modifier: number): Shape => {
    const key = `${oid} ${modifier}`
    const known = made.get(key)
    if (known) return known
    // A type that contains itself; no real server has one.
    made.set(key, { kind: 'other' })
    const shape = madeOf(oid, modifier)
    made.set(key, shape)
    return shape
  }
  const madeOf = (oid: number, modifier: number): Shape => {
    const type = byOid.get(oid)
    if (!type) return { kind: 'other' }
    if (type.kind === 'd') return shapeOf(type.base, type.modifier)
    if (type.is_array) return { kind: 'array', of: shapeOf(type.element, modifier) }
    if (type.bounds) return { kind: 'range', of: shapeOf(type.bounds, -1) }
    if (type.kind === 'c') {
      const fields = (type.fields ?? []).map((field): [string, Shape] => [
        field.name,
        shapeOf(field.type, field.modifier),
      ])
      return { kind: 'composite', fields: new Map(fields) }
    }
    if (!type.own) return { kind: 'other' }
    const bounds = /^(date|ts|tstz)multirange$/.exec(type.name)?.[1]
    if (bounds) return { kind: 'range', of: scalar({ date: 'date', ts: 'timestamp' }[bounds] ?? 'timestamptz', -1) }
    return scalar(type.name, modifier)
  }
  return columns.map(({ name, type, modifier, text }) => ({
    name: String(name),
    type: String(text),
    shape: shapeOf(type, modifier),
  }))
}

/** PostgreSQL stores the length of a text type with four bytes added for the header. */
function scalar(name: string, modifier: number): Shape {
  const plain = name === 'varchar' || name === 'bpchar' ? modifier - 4 : modifier
  return { kind: 'scalar', name, modifier: modifier < 0 ? undefined : plain }
}
