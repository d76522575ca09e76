// Batches: many distributions submitted or retried by one request.
import { z } from '@hono/zod-openapi'
import { BATCH_ITEM_STATUSES, BATCH_KINDS, BATCH_STATUSES, JOB_STATUSES } from '../../db/states.ts'
import { listQuery } from './distributions.ts'
import { tenantField, time, wholeText } from './fields.ts'
import { cursorPagination, cursorQuery } from './pages.ts'
import { idempotencyKey, submission, timeoutSeconds } from './submission.ts'

export const MAX_ITEMS = 10_000

const callbackUrl = z.string().max(2048, 'must have at most 2048 characters').nullish().openapi({
  description: 'Receives the event `batch.completed` once every distribution is final; signed as Standard Webhooks',
  example: 'https://sender.example/callbacks',
})

const bulkOptions = z
  .strictObject({
    parallel_execution: z
      .boolean()
      .default(true)
      .openapi({ description: 'False: one after another, in the order of the request' }),
    fail_fast: z
      .boolean()
      .default(false)
      .openapi({ description: 'The first failure cancels all distributions that are not final' }),
    callback_url: callbackUrl,
    idempotency_key: idempotencyKey
      .nullish()
      .openapi({ description: 'For the whole request; same as the header `Idempotency-Key`' }),
  })
  .openapi('BulkOptions')

const envelope = {
  tenant_id: tenantField,
  options: bulkOptions.nullish().transform((given) => given ?? bulkOptions.parse({})),
}

/** The request without its distributions, which are checked one by one. */
export const bulkEnvelope = z.strictObject({ ...envelope, distributions: z.array(z.unknown()) })

export const bulkSubmission = z
  .strictObject({
    ...envelope,
    distributions: z.array(submission).min(1).max(MAX_ITEMS).openapi({
      description:
        'As for a single submission. Each may have its own `options.idempotency_key`; `options.timeout_seconds` counts from the start of that distribution',
    }),
  })
  .openapi('BulkSubmission')

export type BulkSubmission = z.output<typeof bulkEnvelope>

const detail = z.object({ field: z.string(), issue: z.string() })
const rejected = z
  .array(z.object({ index: z.int(), details: z.array(detail) }))
  .openapi({ description: 'The distributions that were not accepted, by their index in the request' })
const count = z.int()

const BATCH_ID = 'batch_019bc0de-7a10-7cc3-98c4-dc0c0c07398f'

export const bulkAccepted = z
  .object({
    batch_id: z.string(),
    total_distributions: count.openapi({ description: 'Number in the request' }),
    accepted_distributions: count,
    distribution_ids: z
      .array(z.string())
      .openapi({ description: 'The accepted distributions, in the order of the request' }),
    status: z.literal('processing'),
    tracking_url: z.string().openapi({ description: 'Path of the status, relative to the address of this API' }),
    rejected,
  })
  .openapi('BulkAccepted', {
    example: {
      batch_id: BATCH_ID,
      total_distributions: 2,
      accepted_distributions: 1,
      distribution_ids: ['dist_019bc0de-7a10-7cc3-98c4-dc0c0c073990'],
      status: 'processing',
      tracking_url: `/api/v1/distribution/batch/${BATCH_ID}/status`,
      rejected: [{ index: 1, details: [{ field: 'data_type', issue: 'is required' }] }],
    },
  })

export const batchParams = z.object({
  batch_id: z.string().openapi({ param: { name: 'batch_id', in: 'path' }, example: BATCH_ID }),
})

export const batchQuery = z.strictObject({
  status: z.enum(BATCH_ITEM_STATUSES).optional().openapi({ description: 'List only distributions with this status' }),
  ...cursorQuery,
  limit: wholeText(0, MAX_ITEMS)
    .optional()
    .openapi({ description: `Maximum number of entries of the page. Default ${MAX_ITEMS}` }),
})

export const batchStatus = z
  .object({
    batch_id: z.string(),
    kind: z.enum(BATCH_KINDS),
    status: z.enum(BATCH_STATUSES).openapi({
      description:
        'Once all are final: `failed` if one failed, otherwise `cancelled` if one was cancelled, otherwise `completed`',
    }),
    total_distributions: count.openapi({ description: 'Number in the request' }),
    completed_distributions: count,
    failed_distributions: count,
    progress_percentage: count,
    submitted_at: time,
    completed_at: time.nullable(),
    cancel_reason: z.string().nullable(),
    distributions: z.array(
      z.object({
        distribution_id: z.string(),
        status: z.enum(BATCH_ITEM_STATUSES).openapi({ description: '`skipped` means that there was nothing to retry' }),
        error_code: z.string().nullable(),
        reason: z.string().nullable(),
        completed_at: time.nullable(),
      }),
    ),
    pagination: cursorPagination,
    summary: z.object({
      accepted: count,
      rejected: count,
      waiting: count.openapi({ description: 'How many of the pending ones have not been started' }),
      pending: count,
      processing: count,
      completed: count,
      failed: count,
      cancelled: count,
      skipped: count,
    }),
    rejected,
  })
  .openapi('BatchStatus')

export const batchCancelAnswer = z
  .object({ batch_id: z.string(), status: z.enum(['processing', 'cancelled']), tracking_url: z.string() })
  .openapi('BatchCancelAccepted')

const { limit: _limit, offset: _offset, cursor: _cursor, idempotency_key: _key, ...filter } = listQuery.shape

export const bulkRetryRequest = z
  .strictObject({
    ...filter,
    status: z
      .union([z.enum(JOB_STATUSES), z.array(z.enum(JOB_STATUSES)).min(1, 'must contain at least one status')])
      .optional()
      .openapi({ description: 'One or several. Default: `failed`, or every status with `force`' }),
    dry_run: z.boolean().default(false).openapi({ description: 'Only count the distributions' }),
    force: z.boolean().default(false).openapi({ description: 'Also repeat successful deliveries' }),
    timeout_seconds: timeoutSeconds.optional(),
    callback_url: callbackUrl,
    idempotency_key: idempotencyKey.nullish(),
  })
  .openapi('BulkRetryRequest', {
    description:
      'The filters of the list. Without `status`, failed distributions are chosen, including expired ones. With `destination`, only the deliveries to that destination are retried.',
    example: { destination: 'ms09-reporter', from_date: '2026-01-15T09:00:00Z', status: ['failed', 'cancelled'] },
  })

export const bulkRetryAnswer = z
  .object({
    dry_run: z.boolean(),
    matched_distributions: count.openapi({ description: 'Distributions that match the filter' }),
    batch_id: z.string().nullable().openapi({ description: 'Null for `dry_run`' }),
    total_distributions: count.openapi({ description: 'How many of them have something to retry' }),
    status: z.enum(['processing', 'counted']),
    tracking_url: z.string().nullable(),
  })
  .openapi('BulkRetryAccepted')
