// A sample, and what shaping makes of it.
import { z } from '@hono/zod-openapi'
import { characters, tenantField } from './fields.ts'

const shape = z.record(z.string(), z.unknown())

export const previewRequest = z
  .strictObject({
    tenant_id: tenantField,
    payload: z
      .unknown()
      .refine((value) => value !== undefined, 'is required')
      .openapi({ description: 'As it would be submitted' }),
    data_type: characters(1, 50).default('preview'),
    transform_config: shape.nullish().openapi({ description: "Tried instead of the destination's own" }),
    shape: shape.nullish().openapi({ description: "A rule's shape, applied before" }),
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
    body: z.string().nullable().openapi({ description: 'At most 262144 bytes of it' }),
    truncated: z.boolean(),
    warnings: z.array(z.string()).optional().openapi({
      description: 'What may surprise: where an expression makes one value of a list of one; absent when nothing does',
    }),
    error_code: z.enum(['TRANSFORMATION_FAILED']).nullable(),
    error_message: z
      .string()
      .nullable()
      .openapi({ description: 'The step, the place and what is wrong; never a value' }),
  })
  .openapi('Preview')
