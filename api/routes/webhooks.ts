// Webhooks: list and resend.
import { z } from 'zod'
import { findJobState } from '../../db/distributions/status.ts'
import { WEBHOOK_KINDS } from '../../db/states.ts'
import { type ListedWebhook, listCallbacks, listWebhooks } from '../../db/webhooks/list.ts'
import { auditedResource, parseWebhookId, webhookId } from '../../db/webhooks/webhook-id.ts'
import { resendWebhook } from '../../db/webhooks/webhooks.ts'
import { endpoint, type Request } from '../http/endpoint.ts'
import { notFound } from '../http/errors.ts'
import { pageOf, readPage } from '../http/pages.ts'
import { distributionParams } from '../schemas/distributions.ts'
import {
  callbackList,
  callbackParams,
  resendAnswer,
  webhookList,
  webhookParams,
  webhookQuery,
} from '../schemas/webhooks.ts'
import { readId } from './distributions.ts'

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
  return { status: 200, body: { webhooks: page.map(shown), pagination } }
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
}).handle(async (request) => await sendAgain(request, request.params.webhook_id))

export const callbacks = endpoint({
  method: 'get',
  path: '/distribution/{id}/callbacks',
  operation: 'listCallbacks',
  tag,
  summary: 'List the callbacks of a distribution, latest first',
  description: 'One for each time that it has ended; a retry that ends adds another.',
  role: 'viewer',
  params: distributionParams,
  answers: {
    200: { description: 'Its callbacks; empty without a `callback_url`', schema: callbackList },
    404: { description: 'The tenant has no such distribution' },
  },
}).handle(async ({ c, transaction, params }) => {
  const id = readId(c, params.id)
  const rows = await transaction(async (db) => (await findJobState(db, id)) && listCallbacks(db, id))
  if (!rows) throw notFound('distribution')
  return { status: 200, body: { distribution_id: params.id, callbacks: rows.map(shown) } }
})

export const resendCallback = endpoint({
  method: 'post',
  path: '/distribution/{id}/callbacks/{webhook_id}/resend',
  operation: 'resendCallback',
  tag,
  summary: 'Send a callback of a distribution again',
  description: 'As `POST /webhooks/{webhook_id}/resend`.',
  role: 'operator',
  params: callbackParams,
  answers: {
    202: { description: 'Will be sent', schema: resendAnswer },
    404: { description: 'The distribution has no such callback' },
  },
}).handle(async (request) => {
  const { c, params } = request
  const key = parseWebhookId(params.webhook_id)
  if (key?.kind !== 'distribution' || key.subject_id !== readId(c, params.id)) throw notFound('callback')
  return await sendAgain(request, params.webhook_id)
})

function shown({ subject_id, round, ...rest }: ListedWebhook) {
  return { webhook_id: webhookId({ kind: rest.kind, subject_id, round }), ...rest }
}

async function sendAgain({ deps, caller: { tenant_id }, transaction, audit }: Request, webhook_id: string) {
  const key = parseWebhookId(webhook_id)
  if (!key) throw notFound('webhook')
  await transaction(async (db) => {
    if (!(await resendWebhook(db, { ...key, tenant_id }))) throw notFound('webhook')
    await audit(db, { action: 'callback.resend', ...auditedResource(key), details: { round: key.round } })
  })
  const ref = { tenant_id, webhook_id }
  await deps.dispatcher.tell('resend', ref, (runs) => runs.startWebhook(ref, 'again'))
  return { status: 202 as const, body: { webhook_id, status: 'pending' as const } }
}
