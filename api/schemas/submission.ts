// The submission. `destination-entries.ts` checks the destinations by their protocol.
import { z } from '@hono/zod-openapi'
import { PROTOCOLS } from '../../activities/destinations/registry.ts'
import { MAX_TIMEOUT_SECONDS } from '../../db/distributions/commands.ts'
import { OWN_KEY_PREFIX } from '../../db/distributions/idempotency.ts'
import { PRIORITIES } from '../../db/states.ts'
import { characters, instant, nameField, tenantField, time, whole } from './fields.ts'

export const MAX_DESTINATIONS = 1000
/** If the submission has no timeout. */
export const DEFAULT_LIFE_SECONDS = 300
const MAX_METADATA_BYTES = 65_536

export const idempotencyKey = characters(1, 255)
  .refine((key) => !key.startsWith(OWN_KEY_PREFIX), 'must not start with the control character U+0001')
  .openapi({ pattern: '^[^\\u0001]' })
export const maxRetries = whole(0, 50)
export const timeoutSeconds = whole(1, MAX_TIMEOUT_SECONDS)

const inlineDestination = z
  .looseObject({ name: nameField, protocol: z.enum(PROTOCOLS), max_retries: maxRetries.nullish() })
  .openapi('InlineDestination', {
    description:
      'A destination for this distribution only: name, protocol, and the fields of the protocol on the same level. Plain-text secrets are rejected.',
    example: { name: 'ad-hoc', protocol: 'REST', endpoint: 'https://receiver.example/documents' },
  })

const options = z
  .strictObject({
    callback_url: z.string().max(2048, 'must have at most 2048 characters').nullish().openapi({
      description: 'Receives an event once the distribution is final; signed as Standard Webhooks',
      example: 'https://sender.example/callbacks',
    }),
    timeout_seconds: timeoutSeconds.optional().openapi({
      default: DEFAULT_LIFE_SECONDS,
      description:
        'Time until the distribution expires, from its submission or `deliver_at`. Default: 300, or 3600 if a destination is EMAIL',
    }),
    max_retries: maxRetries.nullish().openapi({ description: 'Default: that of the destination, otherwise 3' }),
    idempotency_key: idempotencyKey.nullish().openapi({ description: 'Same as the header `Idempotency-Key`' }),
    compression: z.enum(['none', 'gzip']).default('none'),
    encryption_required: z.boolean().default(false),
  })
  .openapi('SubmissionOptions')

export const submission = z
  .strictObject({
    tenant_id: tenantField,
    data_type: characters(1, 50).openapi({ example: 'aggregated_report' }),
    priority: z.enum(PRIORITIES).default('normal'),
    payload: z
      .unknown()
      .refine((value) => value !== undefined, 'is required')
      .refine((value) => value !== null, 'must not be null')
      .openapi({
        description: 'Any JSON; delivered byte for byte as it was sent, unless it is shaped',
        example: { report_id: 'R-7' },
      }),
    destinations: z
      .array(z.union([nameField, inlineDestination]))
      .max(MAX_DESTINATIONS)
      .nullish()
      .openapi({
        description:
          'Names of registered destinations, or inline destinations; all names must be distinct. Absent or empty: rules choose.',
        example: ['ms09-reporter', { name: 'ad-hoc', protocol: 'REST', endpoint: 'https://receiver.example/in' }],
      }),
    metadata: z
      .record(z.string(), z.unknown())
      .nullish()
      .openapi({ description: `Stored with the distribution; at most ${MAX_METADATA_BYTES} bytes` }),
    expires_at: instant.nullish(),
    deliver_at: instant.nullish().openapi({
      description:
        'Earliest time of delivery; at most 90 days ahead. Later distributions with the same `ordering_key` wait as well.',
    }),
    ordering_key: characters(1, 255).nullish().openapi({
      description:
        'Distributions with the same key are delivered to each destination one after another, in the order of acceptance',
      example: 'customer-4711',
    }),
    ordering: z.enum(['continue', 'block']).nullish().openapi({
      description:
        'If a delivery fails permanently, later distributions with the same key `continue` (default), or `block`: they wait until a retry succeeds, the distribution is cancelled, or it is released',
    }),
    options: options.nullish().transform((given) => given ?? options.parse({})),
  })
  .openapi('Submission')

/** The same without a check of the destinations: `destination-entries.ts` gives better errors. */
export const submissionWithoutDestinations = submission.extend({ destinations: z.array(z.unknown()).nullish() })

export type Submission = z.output<typeof submissionWithoutDestinations>

/** The limit of `metadata` counts the bytes that were sent. */
export function metadataIsTooLarge(text: Buffer | undefined): boolean {
  return text !== undefined && text.length > MAX_METADATA_BYTES
}

export const accepted = z
  .object({
    distribution_id: z.string(),
    status: z.literal('accepted'),
    estimated_completion: time,
    destinations_count: z.int().nullable().openapi({ description: 'Null if rules choose' }),
    tracking_url: z.string().openapi({ description: 'Path of the status, relative to the address of this API' }),
    callback_registered: z.boolean(),
  })
  .openapi('Accepted', {
    example: {
      distribution_id: 'dist_019bc0de-7a10-7cc3-98c4-dc0c0c07398f',
      status: 'accepted',
      estimated_completion: '2026-01-15T09:30:05.000Z',
      destinations_count: 2,
      tracking_url: '/api/v1/distribution/dist_019bc0de-7a10-7cc3-98c4-dc0c0c07398f/status',
      callback_registered: true,
    },
  })
