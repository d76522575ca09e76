// Standard Webhooks (github.com/standard-webhooks/standard-webhooks): the signature by which a receiver verifies the sender.

import { createHmac } from 'node:crypto'
import { nowDate } from '../../../db/clock.ts'
import { DeliveryError } from '../errors.ts'

export interface Signed {
  /** The same for repeats, so that the receiver can recognise them. */
  id: string
  /** The bytes before any content coding, because the frameworks of receivers decompress a body. */
  body: Buffer
  /** `whsec_…`; two during a change of secrets, so that a receiver that knows either one accepts. */
  secrets: string[]
  /** The time of this attempt, used in seconds; by default the database's time. */
  at?: Date
}

/**
 * The three headers. The package's `sign` is not used: it decodes a Buffer as text, so the signature of bytes that are not
 * UTF-8 would be wrong.
 * @throws DeliveryError MISCONFIGURED when a secret is not base64
 */
export function webhookHeaders({ id, body, secrets, at = nowDate() }: Signed): Record<string, string> {
  const timestamp = Math.floor(at.getTime() / 1000)
  const signatures = secrets.map((secret) => {
    const digest = createHmac('sha256', keyOf(secret)).update(`${id}.${timestamp}.`).update(body).digest('base64')
    return `v1,${digest}`
  })
  return {
    'webhook-id': id,
    'webhook-timestamp': String(timestamp),
    'webhook-signature': signatures.join(' '),
  }
}

function keyOf(secret: string): Buffer {
  const text = secret.replace(/^whsec_/, '')
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text)) {
    throw new DeliveryError('MISCONFIGURED', 'signing: the secret is not "whsec_" followed by base64')
  }
  return Buffer.from(text, 'base64')
}
