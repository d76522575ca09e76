// REST: one HTTP request per attempt. Only a 2xx whose body arrived completely is a success.
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { defineDestination, type Message } from '../destination.ts'
import { DeliveryError, type Response } from '../errors.ts'
import { deadlineMs, probeMs } from '../fields.ts'
import { targetOfUrl } from '../network/target.ts'
import { type TlsMaterial, tlsMaterial } from '../network/tls.ts'
import { fillHeader, fillUrl, hasPlaceholders, templateUrl } from '../template/placeholders.ts'
import { headerValue, type Proof, proofOf } from './auth.ts'
import { type RestConfig, restConfig } from './config.ts'
import { exchange } from './exchange.ts'
import { statusFailure } from './failure.ts'
import { accessToken, requestToken } from './oauth2.ts'
import { webhookHeaders } from './signature.ts'

/** The token request may take at most half of an attempt's time, and never longer than this. */
const MAX_TOKEN_MS = 15_000

const compress = promisify(gzip)

export const rest = defineDestination({
  protocol: 'REST',
  config: restConfig,
  example: {
    endpoint: 'https://partner.example/reports/{payload.report_id}',
    auth: { type: 'bearer' },
    credentials: 'partner',
  },
  documentation: {
    delivered: 'a 2xx whose body arrived completely',
    repeat: '`Idempotency-Key`, and `webhook-id` with `signing`',
    again: '408, 425, 429, 5xx, timeout, network',
    final: 'other answers; 3xx too',
  },
  gzip: true,
  target: ({ endpoint }) => targetOfUrl(templateUrl(endpoint)!),
  deadlineMs,

  async deliver(config, message, signal, { egress, conceal }) {
    signal.throwIfAborted()
    const deadline = performance.now() + config.timeout_seconds * 1000
    const url = fillUrl(config.endpoint, message)
    const { headers, body } = await contentOf(config, message)
    const tls = tlsMaterial(config.tls)
    const token =
      config.auth.type === 'oauth2'
        ? await accessToken(tokenRequest(config, config.auth, message.tenant_id), signal, egress)
        : undefined
    const proof = proofOf(config.auth, token?.value)
    for (const secret of proof.secrets) conceal(secret)
    const answer = await exchange(
      {
        tenant_id: message.tenant_id,
        url: withQuery(url, proof),
        method: config.method,
        headers: { ...headers, ...proof.headers },
        body,
        tls,
        timeoutMs: Math.max(deadline - performance.now(), 1),
        maxResponseBytes: config.max_response_bytes,
      },
      signal,
      egress,
    )
    const response = { status: answer.status, body: answer.body }
    if (answer.status === 401 && token?.refused()) {
      throw new DeliveryError('UNAUTHORIZED', 'the destination answered 401; the next attempt requests a new token', {
        response,
        retryable: true,
        retryAfterMs: 0,
      })
    }
    if (answer.status !== 401 && answer.status !== 403) token?.accepted()
    if (answer.status < 200 || answer.status > 299) throw statusFailure(response, answer.headers, answer.unreadable)
    if (answer.failure) throw withResponse(answer.failure, response)
    const metadata = {
      ...(token && { oauth2_token: token.cached ? 'cached' : 'fetched' }),
      ...(answer.unreadable !== undefined && { response_unreadable: answer.unreadable }),
    }
    return { ...response, ...(Object.keys(metadata).length > 0 && { metadata }) }
  },

  /** HEAD with the destination's authentication. Every status except 401, 403, 410 and 5xx means healthy. */
  async probe(config, signal, { egress, conceal }) {
    const timeoutMs = probeMs(config)
    const token =
      config.auth.type === 'oauth2'
        ? await requestToken(tokenRequest(config, config.auth, ''), signal, egress)
        : undefined
    const proof = proofOf(config.auth, token?.value)
    for (const secret of proof.secrets) conceal(secret)
    const answer = await exchange(
      {
        tenant_id: '',
        url: withQuery(probeUrl(config.endpoint), proof),
        method: 'HEAD',
        headers: { ...secretHeaders(config), 'user-agent': 'Distributor', ...proof.headers, connection: 'close' },
        body: null,
        tls: tlsMaterial(config.tls),
        timeoutMs,
        maxResponseBytes: 0,
      },
      signal,
      egress,
    )
    const { status } = answer
    // A delivery that is answered 410 disables the destination, so the probe must not call it healthy.
    if ([401, 403, 410].includes(status) || status >= 500) throw statusFailure({ status, body: null }, answer.headers)
  },
})

/** Headers and body, without the authentication. Later entries replace earlier ones: a configuration cannot change ours. */
async function contentOf(
  config: RestConfig,
  message: Message,
): Promise<{ headers: Record<string, string>; body: Buffer | null }> {
  const withBody = !['GET', 'HEAD', 'OPTIONS'].includes(config.method)
  const zipped = withBody && (config.compression === 'gzip' || message.compression === 'gzip')
  const { signing } = config
  const headers: Record<string, string> = {
    'user-agent': 'Distributor',
    accept: '*/*',
    // Responses are short. A server may compress nevertheless; such a body is decompressed up to a limit.
    'accept-encoding': 'identity',
    ...(withBody && { 'content-type': message.content_type }),
    ...Object.fromEntries(
      Object.entries(config.headers).map(([name, value]) => [name.toLowerCase(), fillHeader(name, value, message)]),
    ),
    ...secretHeaders(config),
    ...(zipped && { 'content-encoding': 'gzip' }),
    'idempotency-key': message.delivery_id,
    ...(signing &&
      webhookHeaders({
        id: message.delivery_id,
        body: withBody ? message.body : Buffer.alloc(0),
        secrets: [signing.signing_secret, signing.previous_signing_secret].filter((secret) => secret !== undefined),
      })),
  }
  if (!withBody) return { headers, body: null }
  return { headers, body: zipped ? await compress(message.body) : message.body }
}

function secretHeaders(config: RestConfig): Record<string, string> {
  return Object.fromEntries(
    Object.entries(config.secret_headers).map(([name, value]) => [
      name.toLowerCase(),
      headerValue(value, `secret_headers.${name}`),
    ]),
  )
}

function tokenRequest(config: RestConfig, auth: Extract<RestConfig['auth'], { type: 'oauth2' }>, tenant_id: string) {
  const timeoutMs = Math.min((config.timeout_seconds * 1000) / 2, MAX_TOKEN_MS)
  return { tenant_id, auth, tls: tokenTls(config), timeoutMs }
}

/** The token endpoint is often another organisation's: it trusts the public authorities too, and has its own server name. */
function tokenTls(config: RestConfig): TlsMaterial {
  const { servername: _, ...material } = tlsMaterial(config.tls)
  return material.ca === undefined ? material : { ...material, public_too: true }
}

/** Not with `searchParams`, which would encode the rest of the query again. */
function withQuery(url: URL, { query }: Proof): URL {
  if (query === undefined) return url
  const extended = new URL(url)
  extended.search = url.search === '' ? query : `${url.search}&${query}`
  return extended
}

/** The part of the endpoint before its first placeholder. */
function probeUrl(endpoint: string): URL {
  if (!hasPlaceholders(endpoint)) return new URL(endpoint.replace(/([{}])\1/g, '$1'))
  const path = endpoint.split('?')[0]!
  return new URL(
    hasPlaceholders(path) ? path.slice(0, path.lastIndexOf('/', path.search(/(?<!\{)\{(?!\{)/)) + 1) : path,
  )
}

function withResponse(failure: DeliveryError, response: Response): DeliveryError {
  return new DeliveryError(failure.code, failure.message, { cause: failure.cause, response })
}
