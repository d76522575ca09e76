// HTTP headers that no configuration may set.

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

/** The problem with the name of an HTTP header; undefined if it is valid. */
export function httpHeaderProblem(name: string): string | undefined {
  // CGI, WSGI and PHP treat `_` and `-` as equal: they would read `webhook_signature` as the signature.
  const lower = name.toLowerCase().replaceAll('_', '-')
  if (HTTP.has(lower) || HTTP_PREFIXES.some((prefix) => lower.startsWith(prefix))) {
    return 'is set by the Distributor itself or belongs to the connection'
  }
  return undefined
}
