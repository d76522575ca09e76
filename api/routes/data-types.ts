// The catalogue of data types: what a payload must look like to be accepted.

import { type Db, withTenant } from '../../db/pool.ts'
import {
  type DataTypeContent,
  deleteDataType,
  findDataType,
  insertDataType,
  listDataTypes,
  rulesNaming,
  updateDataType,
} from '../../db/rules/data-types.ts'
import { writeAudit } from '../../db/tenants/audit.ts'
import { requireOwnTenant, requireRole } from '../http/auth.ts'
import type { AppDeps, Caller } from '../http/context.ts'
import { type Endpoint, endpoint, type Request } from '../http/endpoint.ts'
import { ApiError, invalid, notFound } from '../http/errors.ts'
import type { Texts } from '../http/json.ts'
import { refuseOneTooMany } from '../http/object-limits.ts'
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

export function dataTypeEndpoints({ pool, shaper }: AppDeps): Endpoint[] {
  async function refuseSchema({ tenant_id }: Caller, { schema_definition }: Sent, text?: string): Promise<void> {
    const schema = text ?? schema_definition
    const details = await schemaDefinitionIssues(shaper, tenant_id, schema, 'schema_definition')
    if (details.length > 0) throw invalid(details)
  }

  const add = endpoint({
    method: 'post',
    path: '/data-types',
    tag,
    summary: 'Add a data type',
    description: 'Payloads that do not fit its schema are refused from then on, with the path to each fault.',
    role: 'admin',
    body: newDataType,
    answers: {
      201: { description: 'Added', schema: dataType },
      409: { description: 'There is one of this id already, or as many as a tenant may have' },
    },
    async handle({ c, caller, body, raw }) {
      requireOwnTenant(caller, body.tenant_id)
      const owner = ownerOf(caller, body.shared)
      const text = schemaText(body, raw)
      await refuseSchema(caller, body, text)
      const row = await withTenant(pool, caller.tenant_id, async (db) => {
        const made = await insertDataType(db, owner, body.id, contentOf(body.id, body, text))
        if (!made) throw taken(body.id)
        if (owner !== null) await refuseOneTooMany(db, owner, 'data_types')
        await audit(db, c, caller, 'create', body.id, owner)
        return made
      })
      return c.json(row, 201)
    },
  })

  const list = endpoint({
    method: 'get',
    path: '/data-types',
    tag,
    summary: 'Data types by id: the tenant’s own and the shared ones',
    role: 'viewer',
    query: dataTypeListQuery,
    answers: { 200: { description: 'One page', schema: dataTypeList } },
    async handle({ c, caller, query }) {
      const { limit = 50, offset = 0 } = query
      const found = await withTenant(pool, caller.tenant_id, (db) => listDataTypes(db, { limit, offset }))
      const { data_types, total } = found
      const has_more = offset + data_types.length < total
      return c.json({ data_types, pagination: { limit, offset, total, has_more } })
    },
  })

  const show = endpoint({
    method: 'get',
    path: '/data-types/{id}',
    tag,
    summary: 'One data type, as submissions are checked by it',
    role: 'viewer',
    params: dataTypeParams,
    query: dataTypeQuery,
    answers: { ...ONE, ...MISSING },
    async handle({ c, caller, params, query }) {
      const shared = query.shared === 'true'
      const row = await withTenant(pool, caller.tenant_id, (db) => findDataType(db, params.id, { shared }))
      if (!row) throw notFound('data type')
      return c.json(row)
    },
  })

  const replace = endpoint({
    method: 'put',
    path: '/data-types/{id}',
    tag,
    summary: 'Replace a data type',
    description: 'Counts for submissions from then on; what was accepted is delivered as it is, also by a retry.',
    role: 'admin',
    params: dataTypeParams,
    query: dataTypeQuery,
    body: dataTypeReplacement,
    answers: { ...ONE, ...MISSING },
    async handle({ c, caller, params, query, body, raw }) {
      requireOwnTenant(caller, body.tenant_id)
      const owner = ownerOf(caller, query.shared === 'true')
      const text = schemaText(body, raw)
      await refuseSchema(caller, body, text)
      const row = await withTenant(pool, caller.tenant_id, async (db) => {
        const changed = await updateDataType(db, owner, params.id, contentOf(params.id, body, text))
        if (!changed) throw notFound('data type')
        await audit(db, c, caller, 'update', params.id, owner)
        return changed
      })
      return c.json(row)
    },
  })

  const remove = endpoint({
    method: 'delete',
    path: '/data-types/{id}',
    tag,
    summary: 'Delete a data type',
    description:
      'Distributions of it go on: they were checked when they were accepted. While rules name it, `force` is needed.',
    role: 'admin',
    params: dataTypeParams,
    query: dataTypeDeletionQuery,
    answers: { 204: { description: 'Deleted' }, ...MISSING, 409: { description: 'Rules name it' } },
    async handle({ c, caller, params, query }) {
      const owner = ownerOf(caller, query.shared === 'true')
      await withTenant(pool, caller.tenant_id, async (db) => {
        const rules = query.force === 'true' ? [] : await rulesNaming(db, params.id)
        if (!(await deleteDataType(db, owner, params.id))) throw notFound('data type')
        if (rules.length > 0) throw inUse(rules)
        await audit(db, c, caller, 'delete', params.id, owner)
      })
      return c.body(null, 204)
    },
  })

  return [add, list, show, replace, remove]
}

/** Null for a shared one, which only `platform` may write. */
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

/** The value that was parsed has lost digits. */
function schemaText({ schema_definition }: Sent, raw: { texts: Texts }): string | undefined {
  return schema_definition === null || schema_definition === undefined ? undefined : raw.texts.get('schema_definition')
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

function taken(id: string): ApiError {
  const issue = `there is a data type ${JSON.stringify(id)} already`
  return new ApiError('CONFLICT', issue, [{ field: 'id', issue }])
}

function inUse(rules: string[]): ApiError {
  const issue = `is named by the rules ${rules.map((name) => JSON.stringify(name)).join(', ')}`
  return new ApiError('CONFLICT', `the data type ${issue}`, [{ field: 'id', issue }])
}

function audit(
  db: Db,
  c: Request<unknown, unknown, unknown>['c'],
  { tenant_id, actor }: Caller,
  action: string,
  id: string,
  owner: string | null,
): Promise<void> {
  const request_id = c.get('request_id')
  const details = { shared: owner === null }
  return writeAudit(db, { tenant_id, actor, action, resource_type: 'data_type', resource_id: id, details, request_id })
}
