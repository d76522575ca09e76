// Header names that no configuration may set, in every field that names a header.
import { describe, expect, it } from 'vitest'
import { amqpConfig } from '../../../activities/destinations/amqp/config.ts'
import { emailConfig } from '../../../activities/destinations/email/config.ts'
import { restConfig } from '../../../activities/destinations/rest/config.ts'

const REFUSED = [
  ...['Host', 'TE', 'Trailer', 'Transfer-Encoding', 'Content-Length', 'Content-Encoding', 'Connection', 'Keep-Alive'],
  ...['Expect', 'Upgrade', 'HTTP2-Settings', 'Proxy-Authorization', 'Proxy-Connection', 'proxy-anything'],
  ...['Idempotency-Key', 'webhook-id', 'Webhook-Signature', 'WEBHOOK-TIMESTAMP', 'webhook-anything'],
  ...['idempotency_key', 'Webhook_Signature', 'webhook-signature_', 'Content_Length', 'transfer_Encoding', 'PROXY_X'],
]
const endpoint = 'https://receiver.example/'

describe.each(REFUSED.flatMap((name) => [name, name.toLowerCase(), name.toUpperCase()]))('%s', (name) => {
  it.each<[string, Record<string, unknown>]>([
    ['headers', { headers: { [name]: 'x' } }],
    ['secret_headers', { secret_headers: { [name]: { secret: 'c.f' } } }],
    ['auth.name', { auth: { type: 'api_key', name, api_key: { secret: 'c.f' } } }],
    ['auth.name', { auth: { type: 'api_key', in: 'header', name }, credentials: 'c' }],
  ])('is refused in %s', (field, part) => {
    const { error } = restConfig.safeParse({ endpoint, ...part })
    expect(error?.issues).toHaveLength(1)
    expect(error?.issues[0]?.path.join('.')).toContain(field)
  })
})

it('a key in the query may have any name, and one in a header the usual ones', () => {
  const auth = (more: object) => ({ endpoint, auth: { type: 'api_key', api_key: { secret: 'c.f' }, ...more } })
  expect(restConfig.safeParse(auth({ in: 'query', name: 'host' })).success).toBe(true)
  for (const name of ['X-API-Key', 'Authorization', 'Ocp-Apim-Subscription-Key', 'apikey', 'X-Webhook-Token']) {
    expect(restConfig.safeParse(auth({ name })).success, name).toBe(true)
  }
})

it.each([
  ...['tenant_id', 'Distribution_ID', 'CC', 'cc', 'BCC', 'x-death', 'X-Death', 'x-first-death-queue'],
  ...['x-last-death-reason', 'x-received-from', 'x-delivery-count', 'x-delay'],
])('an AMQP message cannot have the header %s', (name) => {
  const base = { host: 'broker.example', queue: 'q', credentials: 'c' }
  expect(amqpConfig.safeParse({ ...base, headers: { [name]: 'x' } }).success).toBe(false)
  expect(amqpConfig.safeParse({ ...base, headers: { 'x-report': 'x' } }).success).toBe(true)
})

it.each(['Received', 'received-spf', 'ARC-Seal', 'Authentication-Results', 'DKIM-Signature', 'Bcc', 'content-type'])(
  'a mail cannot have the header %s',
  (name) => {
    const base = { host: 'mail.example', from: 'a@example.org', to: ['b@example.org'] }
    expect(emailConfig.safeParse({ ...base, headers: { [name]: 'x' } }).success).toBe(false)
    expect(emailConfig.safeParse({ ...base, headers: { 'List-Unsubscribe': '<mailto:x@example.org>' } }).success).toBe(
      true,
    )
  },
)
