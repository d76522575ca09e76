// Webhooks: list and resend.
import { z } from 'zod'
import { WEBHOOK_KINDS } from '../../db/states.ts'
import { listWebhooks } from '../../db/webhooks/list.ts'
import { auditedResource, parseWebhookId, webhookId } from '../../db/webhooks/webhook-id.ts'
import { resendWebhook } from '../../db/webhooks/webhooks.ts'
import { endpoint } from '../http/endpoint.ts'
import { notFound } from '../http/errors.ts'
import { pageOf, readPage } from '../http/pages.ts'
import { resendAnswer, webhookList, webhookParams, webhookQuery } from '../schemas/webhooks.ts'

const tag = 'Webhooks'
const POSITION = z.tuple([z.uuid(), z.enum(WEBHOOK_KINDS), z.int32()])

export const list = endpoint({
  method: 'get',
  path: '/webhooks',
  operation: 'listWebhooks',
  tag,
  summary: 'List callbacks and operator events, newest first',
  description: 'They are ordered by the creation time of their distribution, batch or event.',
  role: 'viewer',
  query: webhookQuery,
  answers: { 200: { description: 'One page', schema: webhookList } },
}).handle(async ({ transaction, query }) => {
  const { limit, after, filter } = readPage(query, POSITION)
  const rows = await transaction((db) => listWebhooks(db, filter, { limit: limit + 1, before: after }))
  const { page, pagination } = pageOf(rows, limit, ({ subject_id, kind, round }) => [subject_id, kind, round])
  const webhooks = page.map(({ subject_id, round, ...shown }) => ({
    webhook_id: webhookId({ kind: shown.kind, subject_id, round }),
    ...shown,
  }))
  return { status: 200, body: { webhooks, pagination } }
})

export const resend = endpoint({
  method: 'post',
  path: '/webhooks/{webhook_id}/resend',
  operation: 'resendWebhook',
  tag,
  summary: 'Send a webhook again',
  description:
    'Sends the same body to the same URL with the same `webhook-id`, even if it was delivered, has failed or waits for its next attempt. A new series of attempts starts, which ends after a day.',
  role: 'operator',
  params: webhookParams,
  answers: {
    202: { description: 'Will be sent', schema: resendAnswer },
    404: { description: 'No such webhook of this tenant' },
  },
}).handle(async ({ deps, caller: { tenant_id }, transaction, audit, params: { webhook_id } }) => {
  const key = parseWebhookId(webhook_id)
  if (!key) throw notFound('webhook')
  await transaction(async (db) => {
    if (!(await resendWebhook(db, { ...key, tenant_id }))) throw notFound('webhook')
    await audit(db, { action: 'callback.resend', ...auditedResource(key), details: { round: key.round } })
  })
  const ref = { tenant_id, webhook_id }
  await deps.dispatcher.tell('resend', ref, (runs) => runs.startWebhook(ref, 'again'))
  return { status: 202, body: { webhook_id, status: 'pending' } }
})
