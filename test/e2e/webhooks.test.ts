// Resending webhooks: failed ones of each kind, and one that waits for its next attempt.
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { insertBatch, newBatchId } from '../../db/batches/batches.ts'
import { listWebhooks } from '../../db/webhooks/list.ts'
import { parseWebhookId, webhookId } from '../../db/webhooks/webhook-id.ts'
import { insertEvent, resendWebhook } from '../../db/webhooks/webhooks.ts'
import { webhookWorkflowId } from '../../workflows/names.ts'
import { receiverPerTest } from '../support/receivers/per-test.ts'
import { createTestSystem, type TestSystem } from '../support/system.ts'

vi.setConfig({ testTimeout: 60_000 })

let system: TestSystem
const aReceiver = receiverPerTest()

beforeAll(async () => {
  system = await createTestSystem()
  await system.startWorkers()
})
afterAll(() => system.close())

const webhooksOf = (tenant_id: string) =>
  system.as(tenant_id, (db) => listWebhooks(db, {}, { limit: 10, before: null }))

async function resend(tenant_id: string, webhook_id: string): Promise<void> {
  await system.as(tenant_id, (db) => resendWebhook(db, { ...parseWebhookId(webhook_id)!, tenant_id }))
  await system.runs.startWebhook({ tenant_id, webhook_id }, 'again')
}

it('a failed webhook of each kind is resent with the same id and the same body', async () => {
  const tenant_id = 'resends'
  await system.tenant(tenant_id)
  const owner = await aReceiver({ status: 410 })
  await system.as(tenant_id, (db) => db.query('update tenants set event_url = $1', [owner.url]))
  await system.distribute({ tenant_id, destinations: [], callback_url: owner.url })
  const batch_id = await system.as(tenant_id, async (db) => {
    const id = await newBatchId(db)
    const rest = { total_distributions: 0, callback_url: owner.url, rejected: [], request_id: 'r', actor: 'test' }
    await insertBatch(db, { id, tenant_id, kind: 'retry', options: {}, ...rest })
    await insertEvent(db, tenant_id, 'destination.disabled', { destination: 'a' })
    return id
  })
  await system.runs.startBatch({ tenant_id, batch_id })
  const event = (await webhooksOf(tenant_id)).find(({ kind }) => kind === 'event')!
  await system.runs.startWebhook({ tenant_id, webhook_id: webhookId(event) })
  const statuses = async () => (await webhooksOf(tenant_id)).map(({ status }) => status)
  await expect.poll(statuses, { timeout: 30_000 }).toEqual(['failed', 'failed', 'failed'])
  const first = new Map(owner.requests.map(({ headers, body }) => [headers['webhook-id'], body.toString()]))
  expect(first.size).toBe(3)
  expect(system.log.filter((line) => line.msg === 'webhook failed' && line.tenant_id === tenant_id)).toMatchObject(
    Array(3).fill({ response_status: 410, error_message: expect.stringContaining('410'), given_up: true }),
  )

  owner.reply({})
  for (const webhook of await webhooksOf(tenant_id)) await resend(tenant_id, webhookId(webhook))
  await expect.poll(statuses, { timeout: 30_000 }).toEqual(['success', 'success', 'success'])
  const again = owner.requests.slice(3)
  expect(again).toHaveLength(3)
  for (const { headers, body } of again) expect(first.get(headers['webhook-id'])).toBe(body.toString())
})

it('a resend of a webhook that waits for its next attempt starts a new run, which sends it at once', async () => {
  const tenant_id = 'waits'
  await system.tenant(tenant_id)
  const owner = await aReceiver({ status: 503 })
  await system.distribute({ tenant_id, destinations: [], callback_url: owner.url })
  await expect.poll(async () => (await webhooksOf(tenant_id))[0]?.next_attempt_at, { timeout: 30_000 }).toBeTruthy()
  expect(system.log.find((line) => line.msg === 'webhook failed' && line.tenant_id === tenant_id)).toMatchObject({
    response_status: 503,
    next_attempt_in_ms: 5000,
  })
  owner.reply({})
  const webhook_id = webhookId((await webhooksOf(tenant_id))[0]!)
  const runId = async () => {
    const run = system.temporal.client.workflow.getHandle(webhookWorkflowId({ tenant_id, webhook_id }))
    return (await run.describe()).runId
  }
  const waiting = await runId()
  await resend(tenant_id, webhook_id)
  expect(await runId()).not.toBe(waiting)
  await expect
    .poll(async () => (await webhooksOf(tenant_id))[0], { timeout: 30_000 })
    .toMatchObject({ status: 'success', attempts: 1 })
})
