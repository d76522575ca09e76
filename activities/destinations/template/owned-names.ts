// Header names that the protocol or the Distributor itself writes. No configuration may set one, in whatever case: it
// could change where a request goes, how it is framed, or what it says of its sender.

/** RFC 9110 and 9112: framing, routing and hop-by-hop fields; `proxy-…` belongs to the hop, and `webhook-…` to us. */
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
/** Written by the broker: dead-lettering, redelivery and federation read them again. */
const AMQP_BROKER = /^x-(death|first-death-.*|last-death-.*|received-from|delivery-count|acquired-count)$/

/** Header fields that we, the composer or a mail server write (RFC 5322, 2045, 6376, 3834, 8601, 8617). */
const MAIL =
  /^(from|sender|reply-to|to|cc|bcc|subject|date|message-id|mime-version|content-.*|auto-submitted|return-path|received|received-spf|authentication-results|arc-.*|delivered-to|dkim-signature|domainkey-signature|resent-.*|x-distribution-id|x-mailer)$/

const OWNED = 'is set by the Distributor itself'

/** What is wrong with the name of an HTTP header; undefined when nothing is. */
export function httpHeaderProblem(name: string): string | undefined {
  // CGI, WSGI and PHP read `_` and `-` as the same: `webhook_signature` would stand there for the signature.
  const lower = name.toLowerCase().replaceAll('_', '-')
  if (HTTP.has(lower) || HTTP_PREFIXES.some((prefix) => lower.startsWith(prefix))) {
    return 'is set by the Distributor itself or belongs to the connection'
  }
  return undefined
}

/** The same of a header of an AMQP message. */
export function amqpHeaderProblem(name: string): string | undefined {
  const lower = name.toLowerCase()
  if (AMQP.has(lower)) return OWNED
  if (AMQP_BROKER.test(lower)) return 'is written by the broker'
  // RabbitMQ reads them as further routing keys, which the payload must not choose.
  if (lower === 'cc' || lower === 'bcc') return 'would send copies to other queues; use another destination for them'
  // The exchange of RabbitMQ's plugin returns what it delays as routed to no queue: each attempt would be one copy more.
  if (lower === 'x-delay') {
    return 'makes a delayed exchange return what it takes, so that it is sent again and again; use "deliver_at"'
  }
  return undefined
}

/** The same of a header field of a mail. */
export function mailHeaderProblem(name: string): string | undefined {
  return MAIL.test(name.toLowerCase()) ? OWNED : undefined
}

/** For `superRefine` on a name. */
export function refuseOwned(problem: (name: string) => string | undefined) {
  return (name: string, context: { addIssue(issue: { code: 'custom'; message: string }): void }): void => {
    const message = problem(name)
    if (message !== undefined) context.addIssue({ code: 'custom', message })
  }
}
