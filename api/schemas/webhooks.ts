// Webhooks: the callbacks of distributions and batches, and operator events.
import { z } from '@hono/zod-openapi'
import { WEBHOOK_KINDS, WEBHOOK_STATUSES } from '../../db/states.ts'
import { distributionParams } from './distributions.ts'
import { time } from './fields.ts'
import { cursorPagination, cursorQuery } from './pages.ts'

export const callbackParams = distributionParams.extend({
  webhook_id: z
    .string()
    .openapi({ param: { name: 'webhook_id', in: 'path' }, example: 'dist_019bc0de-7c1f-7000-8000-000000000001.1' }),
})
export const webhookParams = callbackParams.pick({ webhook_id: true })
const status = z.enum(WEBHOOK_STATUSES)
const kind = z.enum(WEBHOOK_KINDS)
export const webhookQuery = z.strictObject({ status: status.optional(), kind: kind.optional(), ...cursorQuery })
const webhook = z.object({
  webhook_id: z.string().openapi({ description: 'The `webhook-id` that the receiver gets' }),
  kind: kind.openapi({ description: 'Its subject: a distribution, a batch or an operator event' }),
  event_type: z.string(),
  url: z.string(),
  status,
  attempts: z.int(),
  next_attempt_at: time.nullable(),
  response_status: z.int().nullable(),
  error_code: z.string().nullable(),
  error_message: z.string().nullable(),
  created_at: time,
  completed_at: time.nullable(),
})

export const webhookList = z.object({ webhooks: z.array(webhook), pagination: cursorPagination }).openapi('WebhookList')

export const callbackList = z.object({ distribution_id: z.string(), callbacks: z.array(webhook) }).openapi('Callbacks')

export const resendAnswer = z.object({ webhook_id: z.string(), status }).openapi('WebhookResend')
