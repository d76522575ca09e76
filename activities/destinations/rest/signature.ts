// Standard Webhooks (github.com/standard-webhooks/standard-webhooks): what a receiver checks to know who sent.

import { createHmac } from 'node:crypto'
import { nowDate } from '../../../db/clock.ts'
import { DeliveryError } from '../errors.ts'

export interface Signed {
  /** Stays over repeats: the receiver's key to tell one. */
  id: string
  /** The bytes before any content encoding: receivers' frameworks hand over what they have inflated. */
  body: Buffer
  /** `whsec_…`; while secrets change there are two, and a receiver that knows either accepts. */
  secrets: string[]
  /** Of this attempt; seconds count. The database's time when it is left out. */
  at?: Date
}

/**
 * The three headers. Ours and not the package's `sign`, which takes a Buffer for text: bytes that are not UTF-8 would be
 * signed as others than those sent.
 * @throws DeliveryError MISCONFIGURED when a secret is no base64
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
