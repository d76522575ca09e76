// Header names that the protocol or the Distributor itself sets. No configuration may set one, in upper or lower case: it
// could change the recipient, the framing or the stated sender of a request.

/** RFC 9110 and 9112: framing, routing and hop-by-hop fields; `proxy-…` is hop-by-hop, and we set `webhook-…`. */
const HTTP = new Set([
  'host',
  'connection',
  'keep-alive',
  'transfer-encoding',
  'content-length',
  'content-encoding',
  'upgrade',
  'http2-settings',
  'te',
  'trailer',
  'expect',
  'idempotency-key',
])
const HTTP_PREFIXES = ['webhook-', 'proxy-']

/** Set by us for every message. */
const AMQP = new Set(['tenant_id', 'distribution_id', 'data_type', 'attempt_number'])
/** Set by the broker, which reads them for dead-lettering, redelivery and federation. */
const AMQP_BROKER = /^x-(death|first-death-.*|last-death-.*|received-from|delivery-count|acquired-count)$/

/** Header fields that we, nodemailer or a mail server set (RFC 5322, 2045, 6376, 3834, 8601, 8617). */
const MAIL =
  /^(from|sender|reply-to|to|cc|bcc|subject|date|message-id|mime-version|content-.*|auto-submitted|return-path|received|received-spf|authentication-results|arc-.*|delivered-to|dkim-signature|domainkey-signature|resent-.*|x-distribution-id|x-mailer)$/

const OWNED = 'is set by the Distributor itself'

/** The problem with the name of an HTTP header; undefined if it is valid. */
export function httpHeaderProblem(name: string): string | undefined {
  // CGI, WSGI and PHP treat `_` and `-` as equal: they would read `webhook_signature` as the signature.
  const lower = name.toLowerCase().replaceAll('_', '-')
  if (HTTP.has(lower) || HTTP_PREFIXES.some((prefix) => lower.startsWith(prefix))) {
    return 'is set by the Distributor itself or belongs to the connection'
  }
  return undefined
}

/** The same for a header of an AMQP message. */
export function amqpHeaderProblem(name: string): string | undefined {
  const lower = name.toLowerCase()
  if (AMQP.has(lower)) return OWNED
  if (AMQP_BROKER.test(lower)) return 'is written by the broker'
  // RabbitMQ reads these two as additional routing keys, which the payload must not choose.
  if (lower === 'cc' || lower === 'bcc') return 'would send copies to other queues; use another destination for them'
  // The delayed-message exchange returns a message that it delays as unroutable, so each attempt would add a copy.
  if (lower === 'x-delay') {
    return 'makes a delayed exchange return the message although it accepted it, so that it is sent repeatedly; use "deliver_at"'
  }
  return undefined
}

/** The same for a header field of a mail. */
export function mailHeaderProblem(name: string): string | undefined {
  return MAIL.test(name.toLowerCase()) ? OWNED : undefined
}

export function refuseOwned(problem: (name: string) => string | undefined) {
  return (name: string, context: { addIssue(issue: { code: 'custom'; message: string }): void }): void => {
    const message = problem(name)
    if (message !== undefined) context.addIssue({ code: 'custom', message })
  }
}
