// Sends one webhook: the callback of a distribution or a batch, or an operator event.
import { background } from './background.ts'
import type { WebhookRef } from './messages.ts'

/** Ends when the receiver has accepted the webhook, or after a day of attempts; the row has the result. */
export async function webhook(ref: WebhookRef): Promise<void> {
  const { sendWebhook } = background(ref.tenant_id, 'webhook', {
    retry: { initialInterval: '5 s', backoffCoefficient: 2, maximumInterval: '1 min' },
  })
  await sendWebhook(ref)
}
