// Access tokens of the client credentials grant (RFC 6749, 4.4), kept until shortly before they expire.
import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { DeliveryError } from '../errors.ts'
import type { Egress } from '../network/egress.ts'
import type { TlsMaterial } from '../network/tls.ts'
import type { RestAuth } from './config.ts'
import { exchange } from './exchange.ts'
import { statusFailure } from './failure.ts'

type OAuth2 = Extract<RestAuth, { type: 'oauth2' }>

/** The lifetime of a token whose response has no `expires_in`. */
const DEFAULT_LIFE_MS = 300_000
const MAX_MARGIN_MS = 30_000
const MAX_TOKEN_BYTES = 64 * 1024
const MAX_ENTRIES = 1_000

export interface TokenRequest {
  tenant_id: string
  auth: OAuth2
  tls: TlsMaterial
  timeoutMs: number
}

interface Entry {
  token?: { value: string; expiresAt: number }
  pending?: { promise: Promise<string>; waiting: number; controller: AbortController }
  /** The previous token was refused, and none has been accepted since. */
  doubtful: boolean
}

const entriesByEgress = new WeakMap<Egress, LRUCache<string, Entry>>()

export interface Token {
  value: string
  cached: boolean
  /** The destination accepted the token. */
  accepted(): void
  /** The destination refused the token: it is removed from the cache. Returns whether a new token may help. */
  refused(): boolean
}

/**
 * A token of this tenant and client, from the cache if possible. Concurrent attempts share one request, which is aborted
 * when no attempt waits for it.
 * @throws DeliveryError, or `signal.reason` when aborted
 */
export async function accessToken(request: TokenRequest, signal: AbortSignal, egress: Egress): Promise<Token> {
  signal.throwIfAborted()
  const entry = entryFor(request, egress)
  if (entry.token && entry.token.expiresAt > performance.now()) return handle(entry, entry.token.value, true)
  entry.pending ??= begin(entry, request, egress)
  return handle(entry, await waitFor(entry, request, signal), false)
}

function handle(entry: Entry, value: string, cached: boolean): Token {
  return {
    value,
    cached,
    accepted() {
      if (entry.token?.value === value) entry.doubtful = false
    },
    refused() {
      // Another attempt with the same token may have removed it, and the cache may hold a newer one.
      if (entry.token?.value !== value) return true
      delete entry.token
      const worthIt = !entry.doubtful
      entry.doubtful = true
      return worthIt
    },
  }
}

function begin(entry: Entry, request: TokenRequest, egress: Egress): NonNullable<Entry['pending']> {
  const controller = new AbortController()
  const promise = requestToken(request, controller.signal, egress)
    .then(({ value, lifeMs }) => {
      entry.token = { value, expiresAt: performance.now() + lifeMs - Math.min(MAX_MARGIN_MS, lifeMs / 10) }
      return value
    })
    .finally(() => {
      if (entry.pending?.promise === promise) delete entry.pending
    })
  promise.catch(() => {})
  return { promise, waiting: 0, controller }
}

/** Waits with the time limit of this attempt: another attempt with a longer one may have started the request. */
async function waitFor(entry: Entry, { timeoutMs }: TokenRequest, signal: AbortSignal): Promise<string> {
  const pending = entry.pending!
  pending.waiting++
  let leave = () => {}
  const stopped = new Promise<never>((_, reject) => {
    const onAbort = () => reject(signal.reason)
    const timer = setTimeout(
      () => reject(new DeliveryError('TIMEOUT', 'the token endpoint did not answer in time')),
      timeoutMs,
    )
    signal.addEventListener('abort', onAbort, { once: true })
    leave = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
    }
  })
  try {
    return await Promise.race([pending.promise, stopped])
  } finally {
    leave()
    if (--pending.waiting === 0) {
      if (entry.pending === pending) delete entry.pending
      pending.controller.abort()
    }
  }
}

/** Requests a token without the cache; a probe does so to check the client's credentials. */
export async function requestToken(
  { tenant_id, auth, tls, timeoutMs }: TokenRequest,
  signal: AbortSignal,
  egress: Egress,
): Promise<{ value: string; lifeMs: number }> {
  const form = new URLSearchParams({ grant_type: 'client_credentials' })
  for (const name of ['scope', 'audience', 'resource'] as const)
    if (auth[name] !== undefined) form.set(name, auth[name])
  const headers: Record<string, string> = {
    accept: 'application/json',
    connection: 'close',
    'accept-encoding': 'identity',
    'content-type': 'application/x-www-form-urlencoded',
  }
  if (auth.client_authentication === 'body') {
    form.set('client_id', auth.client_id)
    form.set('client_secret', auth.client_secret)
  } else {
    // Each is encoded before they are joined (RFC 6749, 2.3.1).
    const pair = [auth.client_id, auth.client_secret].map(encodeURIComponent).join(':')
    headers.authorization = `Basic ${Buffer.from(pair).toString('base64')}`
  }
  const answer = await exchange(
    {
      tenant_id,
      url: new URL(auth.token_url),
      method: 'POST',
      headers,
      body: Buffer.from(form.toString()),
      tls,
      timeoutMs,
      maxResponseBytes: MAX_TOKEN_BYTES,
    },
    signal,
    egress,
  ).catch((error: unknown) => {
    if (!(error instanceof DeliveryError)) throw error
    throw new DeliveryError(error.code, `the token endpoint: ${error.message}`, { cause: error })
  })
  if (answer.status < 200 || answer.status > 299) throw refusal(answer)
  if (answer.failure) throw answer.failure
  if (answer.unreadable !== undefined) {
    const message = `the token endpoint: the body of its response cannot be decoded: ${answer.unreadable}`
    throw new DeliveryError('DESTINATION_UNAVAILABLE', message)
  }
  return tokenIn(answer.body)
}

/** 400, 401 and 403 mean that the client is refused (RFC 6749, 5.2). Only the `error` code of the response is shown. */
function refusal(answer: {
  status: number
  headers: Record<string, string | string[] | undefined>
  body: string | null
}) {
  const { code, retryAfterMs } = statusFailure({ status: answer.status, body: null }, answer.headers)
  const word = /"error"\s*:\s*"([a-z_]{1,40})"/.exec(answer.body ?? '')?.[1]
  const message = `the token endpoint answered ${answer.status}${word ? ` (${word})` : ''}`
  if ([400, 401, 403].includes(answer.status)) return new DeliveryError('UNAUTHORIZED', message)
  return new DeliveryError(code === 'REJECTED' ? 'MISCONFIGURED' : code, message, { retryAfterMs })
}

function tokenIn(body: string | null): { value: string; lifeMs: number } {
  let answer: { access_token?: unknown; expires_in?: unknown } | null = null
  try {
    answer = JSON.parse(body ?? '')
  } catch {
    // The next check reports it.
  }
  if (typeof answer?.access_token !== 'string' || answer.access_token === '') {
    throw new DeliveryError('MISCONFIGURED', 'the token endpoint answered without an access_token')
  }
  // Some servers send the number as text.
  const seconds = Number(answer.expires_in)
  return { value: answer.access_token, lifeMs: seconds > 0 ? seconds * 1000 : DEFAULT_LIFE_MS }
}

function entryFor({ tenant_id, auth, tls }: TokenRequest, egress: Egress): Entry {
  const entries = entriesByEgress.get(egress) ?? new LRUCache<string, Entry>({ max: MAX_ENTRIES })
  entriesByEgress.set(egress, entries)
  const key = createHash('sha256')
    .update(JSON.stringify([tenant_id, auth, tls]))
    .digest('base64')
  const entry = entries.get(key) ?? { doubtful: false }
  entries.set(key, entry)
  return entry
}
