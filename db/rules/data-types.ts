// The catalogue of data types, with the schemas of their payloads: the tenant's own types, and shared ones for all tenants.
import type { Db } from '../pool.ts'
import type { ValidationMode } from '../states.ts'

export interface ValidationRules {
  /** `warn`: an invalid payload is accepted, and the distribution gets a warning. */
  mode?: ValidationMode | undefined
  max_payload_bytes?: number | undefined
  /** Keys that a submission's metadata must have. */
  required_metadata?: string[] | undefined
}

export interface DataTypeContent {
  name: string
  description: string | null
  schema_definition: Record<string, unknown> | boolean | null
  /** The same as JSON text from the request, with all digits of its numbers; only for writing. */
  schema_text?: string | undefined
  validation_rules: ValidationRules
}

export interface DataTypeRow extends DataTypeContent {
  id: string
  /** It belongs to no tenant, and all tenants see it. */
  shared: boolean
  created_at: Date
  updated_at: Date
}

const COLUMNS = `id, name, description, schema_definition, validation_rules, tenant_id is null as shared, created_at,
  updated_at`

/** Null if the id is taken. `tenantId` null creates a shared data type. */
export async function insertDataType(
  db: Db,
  tenantId: string | null,
  id: string,
  content: DataTypeContent,
): Promise<DataTypeRow | null> {
  if (tenantId === null) return await putShared(db, id, content, false)
  const { rows } = await db.query<DataTypeRow>(
    `insert into data_types (id, tenant_id, name, description, schema_definition, validation_rules)
     values ($1, $2, $3, $4, $5::jsonb, $6::jsonb)
     on conflict do nothing
     returning ${COLUMNS}`,
    [id, tenantId, ...values(content)],
  )
  return rows[0] ?? null
}

/** Null if no data type has this id. */
export async function updateDataType(
  db: Db,
  tenantId: string | null,
  id: string,
  content: DataTypeContent,
): Promise<DataTypeRow | null> {
  if (tenantId === null) return await putShared(db, id, content, true)
  const { rows } = await db.query<DataTypeRow>(
    `update data_types
        set name = $3, description = $4, schema_definition = $5::jsonb, validation_rules = $6::jsonb,
            updated_at = clock_timestamp()
      where id = $1 and tenant_id = $2
      returning ${COLUMNS}`,
    [id, tenantId, ...values(content)],
  )
  return rows[0] ?? null
}

async function putShared(db: Db, id: string, content: DataTypeContent, replace: boolean): Promise<DataTypeRow | null> {
  const { rows } = await db.query<{ done: boolean }>(
    'select put_shared_data_type($1, $2, $3, $4::jsonb, $5::jsonb, $6) as done',
    [id, ...values(content), replace],
  )
  return rows[0]!.done ? await findDataType(db, id, { shared: true }) : null
}

function values({ name, description, schema_definition, schema_text, validation_rules }: DataTypeContent) {
  const schema = schema_definition === null ? null : (schema_text ?? JSON.stringify(schema_definition))
  return [name, description, schema, JSON.stringify(validation_rules)]
}

export async function deleteDataType(db: Db, tenantId: string | null, id: string): Promise<boolean> {
  if (tenantId === null) {
    const { rows } = await db.query<{ done: boolean }>('select delete_shared_data_type($1) as done', [id])
    return rows[0]!.done
  }
  const { rowCount } = await db.query('delete from data_types where id = $1 and tenant_id = $2', [id, tenantId])
  return rowCount === 1
}

/** The tenant's own data type of this id, otherwise a shared one; with `shared` only a shared one. */
export async function findDataType(
  db: Db,
  id: string,
  options: { shared?: boolean } = {},
): Promise<DataTypeRow | null> {
  const { rows } = await db.query<DataTypeRow>(
    `select ${COLUMNS} from data_types
      where id = $1 and (not $2 or tenant_id is null)
      order by tenant_id nulls last limit 1`,
    [id, options.shared ?? false],
  )
  return rows[0] ?? null
}

/** One page in the order of the ids, the tenant's own before a shared one of the same id, and the total number. */
export async function listDataTypes(
  db: Db,
  page: { limit: number; offset: number; after: Pick<DataTypeRow, 'id' | 'shared'> | null },
): Promise<{ data_types: DataTypeRow[]; total: number }> {
  const { rows } = await db.query<DataTypeRow>(
    `select ${COLUMNS} from data_types where ($3::text is null or (id, tenant_id is null) > ($3, $4::boolean))
      order by id, tenant_id nulls last limit $1 offset $2`,
    [page.limit, page.offset, page.after?.id, page.after?.shared],
  )
  const total = await db.query<{ total: number }>('select count(*)::int as total from data_types')
  return { data_types: rows, total: total.rows[0]!.total }
}

/** The tenant's enabled rules that name this data type in a condition. */
export async function rulesNaming(db: Db, dataType: string): Promise<string[]> {
  const { rows } = await db.query<{ name: string }>(
    `select distinct r.name
       from rule_conditions c
       join distribution_rules r on r.id = c.rule_id
      where c.path = 'data_type' and r.enabled
        and (c.value = to_jsonb($1::text) or (jsonb_typeof(c.value) = 'array' and c.value ? $1))
      order by r.name limit 20`,
    [dataType],
  )
  return rows.map(({ name }) => name)
}
