// Requests and responses of the catalogue of data types.
import { z } from '@hono/zod-openapi'
import { VALIDATION_MODES } from '../../db/states.ts'
import { characters, tenantField, time, whole } from './fields.ts'
import { offsetPagination, offsetQuery } from './pages.ts'

export const dataTypeParams = z.object({
  id: z
    .string()
    .max(50)
    .openapi({ param: { name: 'id', in: 'path' }, example: 'aggregated_report' }),
})

const schemaDefinition = z
  .union([z.boolean(), z.record(z.string(), z.unknown())], { error: 'must be a JSON Schema' })
  .openapi({
    description:
      'JSON Schema of the payload: 2020-12 by default, 2019-09 or draft-07 if `$schema` says so. Absent: any payload is valid',
    example: { type: 'object', required: ['report_id'], properties: { report_id: { type: 'string' } } },
  })

const validationRules = z
  .strictObject({
    mode: z.enum(VALIDATION_MODES).optional().openapi({
      description:
        '`enforce` (default): an invalid payload is rejected with 400. `warn`: it is accepted, and its status shows a warning',
    }),
    max_payload_bytes: whole(1, 1_073_741_824).optional(),
    required_metadata: z
      .array(characters(1, 200))
      .max(100)
      .optional()
      .openapi({ description: 'Keys that `metadata` must contain' }),
  })
  .openapi({ description: 'Checks beyond the schema of the payload' })

const content = {
  tenant_id: tenantField,
  name: characters(1, 100).optional().openapi({ description: 'Display name. Default: the id' }),
  description: characters(0, 10_000).nullish(),
  schema_definition: schemaDefinition.nullish(),
  validation_rules: validationRules.nullish(),
}

export const newDataType = z
  .strictObject({
    // Clients remove `.` and `..` from paths, so the data type could never be read, changed or deleted.
    id: characters(1, 50)
      .refine((id) => id !== '.' && id !== '..', 'cannot be "." or ".."')
      .openapi({ description: 'The `data_type` that submissions use' }),
    ...content,
    shared: z.boolean().default(false).openapi({
      description:
        'Shared by all tenants; needs role `platform`. A data type of the tenant with the same id takes precedence',
    }),
  })
  .openapi('NewDataType', {
    example: {
      id: 'aggregated_report',
      schema_definition: {
        type: 'object',
        required: ['report_id', 'rows'],
        properties: {
          report_id: { type: 'string' },
          rows: { type: 'array', items: { type: 'object', properties: { fees: { type: 'number' } } } },
        },
      },
    },
  })

export const dataTypeReplacement = z
  .strictObject(content)
  .openapi('DataTypeReplacement', { description: 'Replaces all fields; applies to new submissions.' })

export const dataTypeQuery = z.strictObject({
  shared: z
    .enum(['true', 'false'])
    .optional()
    .openapi({ description: 'Selects the shared data type; changing it needs role `platform`' }),
})

export const dataTypeDeletionQuery = dataTypeQuery.extend({
  force: z.enum(['true', 'false']).optional().openapi({ description: 'Delete it even if rules use it' }),
})

export const dataTypeListQuery = z.strictObject({
  ...offsetQuery,
})

export const dataType = z
  .object({
    id: z.string(),
    name: z.string(),
    description: z.string().nullable(),
    schema_definition: z.union([z.boolean(), z.record(z.string(), z.unknown())]).nullable(),
    validation_rules: validationRules,
    shared: z.boolean(),
    created_at: time,
    updated_at: time,
  })
  .openapi('DataType')

export const dataTypeList = z
  .object({
    data_types: z.array(dataType),
    pagination: offsetPagination,
  })
  .openapi('DataTypeList')
