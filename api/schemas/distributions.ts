// Requests and responses of distributions.
import { z } from '@hono/zod-openapi'
import { ATTEMPT_STATUSES, DELIVERY_STATUSES, JOB_STATUSES, PRIORITIES } from '../../db/states.ts'
import { characters, dayOrInstant, nameField, storedProtocol, tenantField, time } from './fields.ts'
import { cursorPagination, cursorQuery, offsetPagination, offsetQuery } from './pages.ts'
import { timeoutSeconds } from './submission.ts'

const maybeTime = time.nullable()

export const distributionParams = z.object({
  id: z.string().openapi({ param: { name: 'id', in: 'path' }, example: 'dist_019bc0de-7a10-7cc3-98c4-dc0c0c07398f' }),
})

export const deliveryState = z
  .object({
    name: z.string(),
    protocol: storedProtocol.nullable(),
    status: z.enum(DELIVERY_STATUSES).openapi({
      description:
        '`waiting`: for the next attempt; or held back by a limit, an open circuit, a disabled destination or the ordering, which uses no attempt. `error_message` gives the reason',
    }),
    attempts: z.int().openapi({ description: 'Number of attempts, including earlier rounds' }),
    started_at: maybeTime,
    completed_at: maybeTime,
    response_time_ms: z.int().nullable(),
    response_status: z.int().nullable(),
    error_code: z.string().nullable(),
    error_message: z.string().nullable(),
    next_attempt_at: maybeTime,
  })
  .openapi('DeliveryState')

export const distributionStatus = z
  .object({
    distribution_id: z.string(),
    tenant_id: z.string(),
    status: z.enum(JOB_STATUSES),
    priority: z.enum(PRIORITIES),
    data_type: z.string(),
    submitted_at: time,
    started_at: maybeTime,
    completed_at: maybeTime,
    expires_at: time,
    deliver_at: maybeTime,
    ordering_key: z.string().nullable(),
    schedule_id: z.uuid().nullable().openapi({ description: 'The schedule that created it' }),
    batch_id: z.string().nullable().openapi({ description: 'The batch it was submitted in' }),
    cancel_requested_at: maybeTime,
    cancel_reason: z.string().nullable(),
    round: z.int().openapi({ description: 'Starts at 1; every retry request adds 1' }),
    error_code: z.string().nullable(),
    progress_percentage: z.int(),
    destinations: z.array(deliveryState),
    metrics: z.object({
      total_latency_ms: z.int().nullable(),
      average_response_time_ms: z.int().nullable(),
      success_rate: z.number().nullable().openapi({
        description:
          'The part of the deliveries that succeeded, from 0 to 1. Deliveries that were not needed do not count',
      }),
      retry_count: z.int(),
    }),
    errors: z.array(
      z.object({
        destination: z.string().nullable().openapi({ description: 'Null for an error of the whole distribution' }),
        error_code: z.string().nullable(),
        error_message: z.string().nullable(),
      }),
    ),
    warnings: z.array(z.unknown()),
  })
  .openapi('DistributionStatus')

export const attemptsQuery = z.strictObject({
  ...cursorQuery,
  limit: cursorQuery.limit.openapi({ description: 'Maximum number of entries of the page. Default 1000' }),
})

export const attempts = z
  .object({
    distribution_id: z.string(),
    attempts: z.array(
      z.object({
        id: z.uuid(),
        destination_name: z.string(),
        delivery_id: z.uuid(),
        attempt_number: z.int(),
        round: z.int(),
        status: z.enum(ATTEMPT_STATUSES),
        started_at: time,
        completed_at: maybeTime,
        response_status_code: z.int().nullable(),
        response_body: z.string().nullable(),
        error_message: z.string().nullable(),
        retry_reason: z.string().nullable().openapi({ description: 'The error code, if the attempt did not succeed' }),
        configuration_version: z.int().nullable(),
        worker: z.string().nullable(),
        metadata: z.record(z.string(), z.unknown()),
      }),
    ),
    pagination: cursorPagination,
  })
  .openapi('Attempts')

export const listQuery = z.strictObject({
  tenant_id: tenantField,
  status: z.enum(JOB_STATUSES).optional(),
  data_type: characters(1, 50).optional(),
  priority: z.enum(PRIORITIES).optional(),
  destination: nameField.optional().openapi({ description: 'Distributions with a delivery to this destination' }),
  delivery_status: z.enum(DELIVERY_STATUSES).optional().openapi({
    description: 'Distributions with a delivery of this status; with `destination`, the delivery to it',
  }),
  error_code: characters(1, 50).optional().openapi({
    description:
      'The code of the distribution or of a delivery; with `destination` or `delivery_status`, of such a delivery',
    example: 'TIMEOUT',
  }),
  failed_from: dayOrInstant.optional().openapi({ description: 'A delivery failed at or after this' }),
  failed_to: dayOrInstant.optional().openapi({ description: 'A delivery failed at or before this' }),
  idempotency_key: characters(1, 255).optional().openapi({ description: 'The distribution that has this key' }),
  batch_id: characters(1, 100).optional().openapi({ description: 'Distributions of this batch' }),
  schedule_id: z.uuid().optional().openapi({ description: 'Distributions that this schedule created' }),
  ordering_key: characters(1, 255).optional(),
  from_date: dayOrInstant.optional().openapi({ description: 'Submitted at or after this', example: '2026-01-01' }),
  to_date: dayOrInstant
    .optional()
    .openapi({ description: 'Submitted at or before this; a date includes the whole day' }),
  ...offsetQuery,
})

const count = z.int()

export const distributionList = z
  .object({
    distributions: z.array(
      z.object({
        distribution_id: z.string(),
        status: z.enum(JOB_STATUSES),
        priority: z.enum(PRIORITIES),
        data_type: z.string(),
        submitted_at: time,
        started_at: maybeTime,
        completed_at: maybeTime,
        expires_at: time,
        error_code: z.string().nullable(),
        error_message: z.string().nullable(),
        retry_count: count,
        destinations_count: count,
        destinations_succeeded: count,
        destinations_failed: count,
      }),
    ),
    pagination: offsetPagination,
    summary: z.object({
      total: count,
      pending: count,
      processing: count,
      completed: count,
      failed: count,
      cancelled: count,
    }),
  })
  .openapi('DistributionList')

export const cancelRequest = z
  .strictObject({ tenant_id: tenantField, reason: characters(0, 500).nullish() })
  .openapi('CancelRequest', { example: { reason: 'sent by mistake' } })

export const retryRequest = z
  .strictObject({
    tenant_id: tenantField,
    destinations: z
      .array(nameField)
      .min(1, 'must contain at least one destination, or be absent')
      .max(1000)
      .optional()
      .openapi({
        description:
          'Only these destinations. Absent: every delivery that failed, was cancelled, or was skipped because of an error. Deliveries that a rule dropped, and failover groups that succeeded, are retried only if they are listed.',
      }),
    force: z.boolean().default(false).openapi({
      description: 'Also repeat successful deliveries; failover groups start again with their first destination',
    }),
    timeout_seconds: timeoutSeconds.optional(),
  })
  .openapi('RetryRequest', { example: { destinations: ['ms09-reporter'] } })

export const commandAnswer = z
  .object({
    distribution_id: z.string(),
    status: z.enum(JOB_STATUSES),
    tracking_url: z.string(),
  })
  .openapi('CommandAccepted')
export const releaseAnswer = commandAnswer
  .extend({
    destinations: z.array(z.string()).openapi({ description: 'Destinations at which blocked distributions continue' }),
  })
  .openapi('Released')
export const retryAnswer = commandAnswer
  .extend({
    round: z.int(),
    destinations: z.array(z.string()).openapi({ description: 'Destinations that are retried' }),
  })
  .openapi('RetryAccepted')
