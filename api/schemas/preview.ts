// Request and response of the preview.
import { z } from '@hono/zod-openapi'
import { characters, tenantField } from './fields.ts'

const shape = z.record(z.string(), z.unknown())

export const previewRequest = z
  .strictObject({
    tenant_id: tenantField,
    payload: z
      .unknown()
      .refine((value) => value !== undefined, 'is required')
      .openapi({ description: 'A sample payload, as in a submission' }),
    data_type: characters(1, 50).default('preview'),
    transform_config: shape
      .nullish()
      .openapi({ description: 'Used instead of the `transform_config` of the destination' }),
    shape: shape.nullish().openapi({ description: 'The shape of a rule, applied first' }),
  })
  .openapi('PreviewRequest', {
    example: {
      payload: { report_id: 'R-7', rows: [{ fee: 1.1, tax_code: 'X' }] },
      transform_config: { exclude: ['rows.tax_code'] },
    },
  })

export const preview = z
  .object({
    content_type: z.string().nullable(),
    bytes: z.int().nullable(),
    body: z.string().nullable().openapi({ description: 'The first 262144 bytes' }),
    truncated: z.boolean(),
    warnings: z.array(z.string()).optional().openapi({
      description:
        'Possible mistakes, such as an expression that turns a list of one element into a single value. Absent if there are none',
    }),
    error_code: z.enum(['TRANSFORMATION_FAILED']).nullable(),
    error_message: z
      .string()
      .nullable()
      .openapi({ description: 'The step, the path and the problem; never a value of the payload' }),
  })
  .openapi('Preview')
