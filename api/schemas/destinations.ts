// Registered destinations, as they are sent and shown.
import { z } from '@hono/zod-openapi'
import { DELIVERY_CODES, DESTINATION_STATUSES, PROTOCOLS } from '../../db/states.ts'
import { characters, nameField, tenantField, wholeText } from './fields.ts'
import { maxRetries } from './submission.ts'

const time = z.iso.datetime()
const object = z.record(z.string(), z.unknown())

/** A path names a destination by its name or its uuid, beside a few words of the API's own. */
const registeredName = nameField
  .refine((name) => name !== 'list' && name !== 'register', 'is a word of the API itself')
  .refine((name) => !z.uuid().safeParse(name).success, 'may not have the form of an id')

export const destinationParams = z.object({
  id: z.string().openapi({ param: { name: 'id', in: 'path' }, description: 'uuid or name', example: 'ms09-reporter' }),
})

const content = {
  tenant_id: tenantField,
  description: characters(0, 10_000).nullish(),
  configuration: object.openapi({
    description:
      "The protocol's own fields (`GET /destination-types`). A secret in plain text is sealed and comes back as `***`.",
    example: { endpoint: 'https://reporter.example/documents', auth: { type: 'bearer', token: 's3cr3t' } },
  }),
  transform_config: object.nullish(),
  health_check_config: object.nullish(),
  tags: z.array(characters(1, 100)).max(50).nullish(),
  max_retries: maxRetries.nullish(),
}

export const registration = z
  .strictObject({ name: registeredName, protocol: z.enum(PROTOCOLS), ...content })
  .openapi('DestinationRegistration', {
    example: {
      name: 'ms09-reporter',
      protocol: 'REST',
      description: 'Monthly reports',
      configuration: { endpoint: 'https://reporter.example/documents', auth: { type: 'bearer', token: 's3cr3t' } },
      tags: ['reports'],
    },
  })

export const replacement = z
  .strictObject({ name: nameField.optional(), protocol: z.enum(PROTOCOLS).optional(), ...content })
  .openapi('DestinationReplacement', {
    description: 'Replaces everything; a secret given as `***` stays as it is. Name and protocol cannot change.',
  })

export const destination = z
  .object({
    id: z.uuid(),
    name: z.string(),
    description: z.string().nullable(),
    protocol: z.enum(PROTOCOLS),
    status: z.enum(DESTINATION_STATUSES),
    status_reason: z.string().nullable(),
    configuration: object,
    transform_config: object,
    health_check_config: object,
    version: z.int(),
    max_retries: z.int().nullable(),
    tags: z.array(z.string()),
    created_at: time,
    updated_at: time,
    last_used: time.nullable(),
    usage_count: z.int(),
    health_status: z.enum(['healthy', 'unhealthy', 'unknown']),
    last_health_check: time.nullable(),
  })
  .openapi('Destination')

export const destinationListQuery = z.strictObject({
  protocol: z.enum(PROTOCOLS).optional(),
  status: z.enum(DESTINATION_STATUSES).optional(),
  tag: characters(1, 100).optional(),
  health_status: z.enum(['healthy', 'unhealthy', 'unknown']).optional(),
  limit: wholeText(1, 1000).optional(),
  offset: wholeText(0, 100_000_000).optional(),
})

export const destinationList = z
  .object({
    destinations: z.array(destination),
    pagination: z.object({ limit: z.int(), offset: z.int(), total: z.int(), has_more: z.boolean() }),
  })
  .openapi('DestinationList')

export const probeAnswer = z
  .object({
    destination: z.string(),
    healthy: z.boolean(),
    error_code: z.enum(DELIVERY_CODES).nullable(),
    error_message: z.string().nullable(),
    response_time_ms: z.int(),
  })
  .openapi('ProbeResult')

export const destinationTypes = z
  .object({
    destination_types: z.array(
      z.object({ protocol: z.enum(PROTOCOLS), config_schema: object.openapi({ description: 'JSON schema' }) }),
    ),
  })
  .openapi('DestinationTypes')
