// Many distributions in one request: submitted, or sent again.
import { z } from '@hono/zod-openapi'
import { BATCH_ITEM_STATUSES, BATCH_KINDS, BATCH_STATUSES, JOB_STATUSES } from '../../db/states.ts'
import { listQuery } from './distributions.ts'
import { characters, tenantField, time, wholeText } from './fields.ts'
import { idempotencyKey, submission, timeoutSeconds } from './submission.ts'

export const MAX_ITEMS = 10_000

const callbackUrl = z.string().max(2048, 'must have at most 2048 characters').nullish().openapi({
  description: 'Is told once every distribution is final: `batch.completed`, signed as Standard Webhooks',
  example: 'https://sender.example/callbacks',
})

const bulkOptions = z
  .strictObject({
    parallel_execution: z
      .boolean()
      .default(true)
      .openapi({ description: 'False: one after another, in the order given' }),
    fail_fast: z.boolean().default(false).openapi({ description: 'The first that fails cancels what is not finished' }),
    callback_url: callbackUrl,
    idempotency_key: idempotencyKey.nullish().openapi({ description: 'Of the whole request; as the header' }),
  })
  .openapi('BulkOptions')

const envelope = {
  tenant_id: tenantField,
  options: bulkOptions.nullish().transform((given) => given ?? bulkOptions.parse({})),
}

/** What is checked of the request as a whole; each distribution is checked by itself. */
export const bulkEnvelope = z.strictObject({ ...envelope, distributions: z.array(z.unknown()) })

export const bulkSubmission = z
  .strictObject({
    ...envelope,
    distributions: z.array(submission).min(1).max(MAX_ITEMS).openapi({
      description:
        'As for a single submission; `options.idempotency_key` counts for each by itself, and `options.timeout_seconds` from its turn on',
    }),
  })
  .openapi('BulkSubmission')

export type BulkSubmission = z.output<typeof bulkEnvelope>

const detail = z.object({ field: z.string(), issue: z.string() })
const rejected = z
  .array(z.object({ index: z.int(), details: z.array(detail) }))
  .openapi({ description: 'What was not accepted, by its place in the request' })
const count = z.int()

const BATCH_ID = 'batch_019bc0de-7a10-7cc3-98c4-dc0c0c07398f'

export const bulkAccepted = z
  .object({
    batch_id: z.string(),
    total_distributions: count.openapi({ description: 'In the request' }),
    accepted_distributions: count,
    distribution_ids: z.array(z.string()).openapi({ description: 'Of the accepted ones, in the order of the request' }),
    status: z.literal('processing'),
    tracking_url: z.string().openapi({ description: 'Relative to the address of this API' }),
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
  status: z.enum(BATCH_ITEM_STATUSES).optional().openapi({ description: 'Lists these distributions alone' }),
  limit: wholeText(0, MAX_ITEMS)
    .optional()
    .openapi({ description: `${MAX_ITEMS} when absent` }),
  cursor: characters(1, 100).optional(),
})

export const batchStatus = z
  .object({
    batch_id: z.string(),
    kind: z.enum(BATCH_KINDS),
    status: z.enum(BATCH_STATUSES).openapi({
      description: 'Once all are final: `failed` when one failed, else `cancelled` when one was, else `completed`',
    }),
    total_distributions: count.openapi({ description: 'In the request' }),
    completed_distributions: count,
    failed_distributions: count,
    progress_percentage: count,
    submitted_at: time,
    completed_at: time.nullable(),
    cancel_reason: z.string().nullable(),
    distributions: z.array(
      z.object({
        distribution_id: z.string(),
        status: z.enum(BATCH_ITEM_STATUSES).openapi({ description: '`skipped`: there was nothing to retry' }),
        error_code: z.string().nullable(),
        reason: z.string().nullable(),
        completed_at: time.nullable(),
      }),
    ),
    pagination: z.object({ limit: count, has_more: z.boolean(), next_cursor: z.string().nullable() }),
    summary: z.object({
      accepted: count,
      rejected: count,
      waiting: count.openapi({ description: 'Among the pending: not started yet' }),
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

const { limit: _limit, offset: _offset, cursor: _cursor, ...filter } = listQuery.shape

export const bulkRetryRequest = z
  .strictObject({
    tenant_id: tenantField,
    ...filter,
    status: z
      .union([z.enum(JOB_STATUSES), z.array(z.enum(JOB_STATUSES)).min(1, 'must name at least one status')])
      .optional()
      .openapi({ description: 'One or several; absent: `failed`, or with `force` all' }),
    dry_run: z.boolean().default(false).openapi({ description: 'Only counts' }),
    force: z.boolean().default(false).openapi({ description: 'Also send again what succeeded' }),
    timeout_seconds: timeoutSeconds.optional(),
    callback_url: callbackUrl,
    idempotency_key: idempotencyKey.nullish(),
  })
  .openapi('BulkRetryRequest', {
    description:
      'Filters as of the list. Without `status`, the failed ones, which the expired are among. With `destination`, that destination of each alone.',
    example: { destination: 'ms09-reporter', from_date: '2026-01-15T09:00:00Z', status: ['failed', 'cancelled'] },
  })

export const bulkRetryAnswer = z
  .object({
    dry_run: z.boolean(),
    matched_distributions: count.openapi({ description: 'By the filter' }),
    batch_id: z.string().nullable().openapi({ description: 'Null when nothing was asked for but the count' }),
    total_distributions: count.openapi({ description: 'Those of them that have something to send again' }),
    status: z.enum(['processing', 'counted']),
    tracking_url: z.string().nullable(),
  })
  .openapi('BulkRetryAccepted')
