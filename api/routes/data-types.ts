// The catalogue of data types, which describe valid payloads.
import { z } from 'zod'
import {
  type DataTypeContent,
  deleteDataType,
  findDataType,
  insertDataType,
  listDataTypes,
  rulesNaming,
  updateDataType,
} from '../../db/rules/data-types.ts'
import { requireRole } from '../http/auth.ts'
import type { AppDeps, Caller } from '../http/context.ts'
import { endpoint } from '../http/endpoint.ts'
import { ApiError, invalid, nameTaken, notFound } from '../http/errors.ts'
import type { Texts } from '../http/json.ts'
import { refuseOneTooMany } from '../http/object-limits.ts'
import { pageOf, readPage } from '../http/pages.ts'
import { schemaDefinitionIssues } from '../rules/catalogue-check.ts'
import {
  dataType,
  dataTypeDeletionQuery,
  dataTypeList,
  dataTypeListQuery,
  dataTypeParams,
  dataTypeQuery,
  dataTypeReplacement,
  newDataType,
} from '../schemas/data-types.ts'

const tag = 'Catalogue'
const MISSING = { 404: { description: 'No such data type' } }
const ONE = { 200: { description: 'The data type', schema: dataType } }
const LIST_KEY = z.object({ id: z.string(), shared: z.boolean() })
const entry = (action: string, id: string, owner: string | null) => ({
  action,
  resource_type: 'data_type',
  resource_id: id,
  details: { shared: owner === null },
})

export const add = endpoint({
  method: 'post',
  path: '/data-types',
  operation: 'addDataType',
  tag,
  summary: 'Add a data type',
  description:
    'After that, payloads that do not match its schema are rejected; the error gives the path of each problem.',
  role: 'admin',
  body: newDataType,
  answers: {
    201: { description: 'Added', schema: dataType },
    409: { description: 'The id is taken, or the tenant has reached its limit' },
  },
}).handle(async ({ deps, caller, transaction, audit, body, raw }) => {
  const owner = ownerOf(caller, body.shared)
  const text = schemaText(body, raw)
  await refuseSchema(deps, caller, body, text)
  const row = await transaction(async (db) => {
    const made = await insertDataType(db, owner, body.id, contentOf(body.id, body, text))
    if (!made) throw nameTaken('data type', body.id, 'id')
    if (owner !== null) await refuseOneTooMany(db, owner, 'data_types')
    await audit(db, entry('create', body.id, owner))
    return made
  })
  return { status: 201, body: row }
})

export const list = endpoint({
  method: 'get',
  path: '/data-types',
  operation: 'listDataTypes',
  tag,
  summary: 'List data types, ordered by id',
  role: 'viewer',
  query: dataTypeListQuery,
  answers: { 200: { description: 'One page', schema: dataTypeList } },
}).handle(async ({ transaction, query }) => {
  const { limit, offset, after } = readPage(query, LIST_KEY)
  const { data_types, total } = await transaction((db) => listDataTypes(db, { limit: limit + 1, offset, after }))
  const { page, pagination } = pageOf(data_types, limit, ({ id, shared }) => ({ id, shared }))
  return { status: 200, body: { data_types: page, pagination: { ...pagination, offset, total } } }
})

export const show = endpoint({
  method: 'get',
  path: '/data-types/{id}',
  operation: 'getDataType',
  tag,
  summary: 'Get a data type',
  role: 'viewer',
  params: dataTypeParams,
  query: dataTypeQuery,
  answers: { ...ONE, ...MISSING },
}).handle(async ({ transaction, params, query }) => {
  const row = await transaction((db) => findDataType(db, params.id, { shared: query.shared === 'true' }))
  if (!row) throw notFound('data type')
  return { status: 200, body: row }
})

export const replace = endpoint({
  method: 'put',
  path: '/data-types/{id}',
  operation: 'replaceDataType',
  tag,
  summary: 'Replace a data type',
  description:
    'Applies to new submissions. Distributions that were already accepted are not checked again, not even by a retry.',
  role: 'admin',
  params: dataTypeParams,
  query: dataTypeQuery,
  body: dataTypeReplacement,
  answers: { ...ONE, ...MISSING },
}).handle(async ({ deps, caller, transaction, audit, params, query, body, raw }) => {
  const owner = ownerOf(caller, query.shared === 'true')
  const text = schemaText(body, raw)
  await refuseSchema(deps, caller, body, text)
  const row = await transaction(async (db) => {
    const changed = await updateDataType(db, owner, params.id, contentOf(params.id, body, text))
    if (!changed) throw notFound('data type')
    await audit(db, entry('update', params.id, owner))
    return changed
  })
  return { status: 200, body: row }
})

export const remove = endpoint({
  method: 'delete',
  path: '/data-types/{id}',
  operation: 'deleteDataType',
  tag,
  summary: 'Delete a data type',
  description: 'Accepted distributions of this type continue. If rules use the type, `force` is required.',
  role: 'admin',
  params: dataTypeParams,
  query: dataTypeDeletionQuery,
  answers: { 204: { description: 'Deleted' }, ...MISSING, 409: { description: 'Rules use the data type' } },
}).handle(async ({ caller, transaction, audit, params: { id }, query }) => {
  const owner = ownerOf(caller, query.shared === 'true')
  await transaction(async (db) => {
    const rules = query.force === 'true' ? [] : await rulesNaming(db, id)
    if (!(await deleteDataType(db, owner, id))) throw notFound('data type')
    if (rules.length > 0) throw inUse(rules)
    await audit(db, entry('delete', id, owner))
  })
  return { status: 204 }
})

/** Null for a shared data type, which only the role `platform` may write. */
function ownerOf(caller: Caller, shared: boolean): string | null {
  if (!shared) return caller.tenant_id
  requireRole(caller, 'platform')
  return null
}

interface Sent {
  name?: string | undefined
  description?: string | null | undefined
  schema_definition?: DataTypeContent['schema_definition'] | undefined
  validation_rules?: DataTypeContent['validation_rules'] | null | undefined
}

/** The exact text: the parsed value has lost digits. */
function schemaText({ schema_definition }: Sent, raw: { texts: Texts }): string | undefined {
  return schema_definition === null || schema_definition === undefined ? undefined : raw.texts.get('schema_definition')
}

async function refuseSchema(
  { shaper }: AppDeps,
  { tenant_id }: Caller,
  { schema_definition }: Sent,
  text: string | undefined,
): Promise<void> {
  const details = await schemaDefinitionIssues(shaper, tenant_id, text ?? schema_definition, 'schema_definition')
  if (details.length > 0) throw invalid(details)
}

function contentOf(id: string, sent: Sent, schema_text: string | undefined): DataTypeContent {
  const { name = id, description, schema_definition, validation_rules } = sent
  return {
    schema_text,
    name,
    description: description ?? null,
    schema_definition: schema_definition ?? null,
    validation_rules: validation_rules ?? {},
  }
}

function inUse(rules: string[]): ApiError {
  const issue = `is used by the rules ${rules.map((name) => JSON.stringify(name)).join(', ')}`
  return new ApiError('CONFLICT', `the data type ${issue}`, [{ field: 'id', issue }])
}
