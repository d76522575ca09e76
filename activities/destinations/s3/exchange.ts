// The HTTP handler of the SDK for one attempt: each request uses a new connection through the egress guard, the size of an
// answer is limited, and no request is sent twice. A new connection costs a handshake, but a kept one could be dead, or
// close at the moment of its reuse.
import http, { type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { Readable } from 'node:stream'
import { DeliveryError } from '../errors.ts'
import { type Attempt, withinDeadline } from '../network/deadline.ts'
import type { Egress } from '../network/egress.ts'
import { skipInterim } from '../network/interim.ts'
import { type TlsMaterial, tlsConnection } from '../network/tls.ts'
import { doNotAsk, mayAsk } from './expectations.ts'

/** An answer of S3 is a few lines of XML; a longer one is an error. */
const MAX_ANSWER_BYTES = 1024 * 1024
/** How long to wait for `100 Continue`. Stores that do not support it do not answer; then the body is sent anyway. */
const CONTINUE_MS = 1_000
const PIECE_BYTES = 256 * 1024
const EXPECTATION_FAILED = 417
/** Time to delete the parts of a failed upload, even when the deadline of the attempt is over. */
const CLEAN_UP_MS = 5_000

/** A request of the SDK: signed, and encoded as it is sent. */
export interface WireRequest {
  method: string
  protocol: string
  hostname: string
  port?: number
  path: string
  query?: Record<string, string | string[] | null>
  headers: Record<string, string>
  /** Complete: the SDK streams only a body that it got as a stream. */
  body?: Uint8Array | string
}

export interface Answer {
  status: number
  headers: IncomingHttpHeaders
}

export interface Exchange {
  /** The `requestHandler` of the client. */
  handler: {
    handle(request: WireRequest): Promise<{ response: WireResponse }>
    updateHttpClientConfig(): void
    httpHandlerConfigs(): Record<string, never>
  }
  /** The last answer; undefined before the first. */
  answer: Answer | undefined
  /** Why there is no answer to the last request. */
  failure: unknown
}

interface WireResponse {
  statusCode: number
  headers: Record<string, string>
  body: Uint8Array
}

export interface ExchangeOptions {
  egress: Egress
  attempt: Attempt
  tls: TlsMaterial
}

export function createExchange({ egress, attempt, tls }: ExchangeOptions): Exchange {
  const exchange: Exchange = {
    handler: { handle, updateHttpClientConfig: () => {}, httpHandlerConfigs: () => ({}) },
    answer: undefined,
    failure: undefined,
  }

  async function handle(request: WireRequest): Promise<{ response: WireResponse }> {
    if (isCleanUp(request)) return { response: await cleanUp(request) }
    try {
      const { answer, body } = await sendWithExpect(egress, tls, request, attempt)
      exchange.answer = answer
      return { response: { statusCode: answer.status, headers: flat(answer.headers), body } }
    } catch (error) {
      exchange.failure = error
      // A new error, because the SDK changes the error that it gets, and the original may be the caller's abort reason.
      throw new Error('no answer')
    }
  }

  /** Its result is not recorded: the attempt reports the error that came before. */
  async function cleanUp(request: WireRequest): Promise<WireResponse> {
    const { signal } = new AbortController()
    const own = (inTime: Attempt) => roundTrip(egress, tls, request, inTime)
    await withinDeadline({ timeoutMs: CLEAN_UP_MS, signal }, own).catch(() => {})
    return { statusCode: 204, headers: {}, body: new Uint8Array() }
  }

  return exchange
}

/** Whether the request is an AbortMultipartUpload. */
function isCleanUp({ method, query }: WireRequest): boolean {
  return method === 'DELETE' && query?.uploadId !== undefined
}

/**
 * Sends a request. If the endpoint refuses `Expect: 100-continue` with a 417 (RFC 9110, 10.1.1), sends it again without
 * that header, which is not part of the signature. For such an endpoint the header is left out for a while.
 */
async function sendWithExpect(
  egress: Egress,
  tls: TlsMaterial,
  request: WireRequest,
  attempt: Attempt,
): Promise<Reply> {
  const { Expect: question, ...headers } = request.headers
  if (question === undefined) return roundTrip(egress, tls, request, attempt)
  const withoutExpect = { ...request, headers }
  if (!mayAsk(request)) return roundTrip(egress, tls, withoutExpect, attempt)
  const reply = await roundTrip(egress, tls, request, attempt)
  if (reply.answer.status === EXPECTATION_FAILED || !reply.continued) doNotAsk(request)
  return reply.answer.status === EXPECTATION_FAILED ? roundTrip(egress, tls, withoutExpect, attempt) : reply
}

interface Reply {
  answer: Answer
  body: Buffer
  /** False when the request had `Expect` and the store accepted the body without a `100 Continue`. */
  continued: boolean
}

async function roundTrip(egress: Egress, tls: TlsMaterial, request: WireRequest, attempt: Attempt): Promise<Reply> {
  attempt.signal.throwIfAborted()
  const secure = request.protocol === 'https:'
  attempt.expect('accept the connection')
  const socket: Socket = egress.connect({
    host: request.hostname,
    port: request.port ?? (secure ? 443 : 80),
    ...(secure && { tls: { ALPNProtocols: ['http/1.1'], ...tlsConnection(tls) } }),
  })
  const off = attempt.onStop(() => socket.destroy())
  let onContinue = () => {}
  skipInterim(socket, () => onContinue()).expectAnswer()
  // A store that refuses a request by its head may close the connection while the body is being sent, and its answer is
  // lost. So a large body is sent only after `100 Continue` (RFC 9110, 10.1.1).
  const asksFirst = request.headers.Expect !== undefined
  let patience: NodeJS.Timeout | undefined
  try {
    return await new Promise((resolve, reject) => {
      // Once an answer has begun, an error in sending the rest of the body is ignored.
      let answering = false
      let sending = false
      let continued = true
      const broken = (error: Error) => {
        if (!answering) reject(error)
      }
      // Never removed: an error may come after the exchange has ended.
      socket.on('error', broken)
      socket.once(secure ? 'secureConnect' : 'connect', () => {
        attempt.expect('accept the document and answer')
        if (asksFirst) patience = setTimeout(sendUnanswered, CONTINUE_MS)
      })
      const outgoing = http.request({
        // Without an agent the request has `Connection: close`.
        createConnection: () => socket.setNoDelay(true),
        method: request.method,
        path: request.path + queryOf(request.query),
        headers: request.headers,
        setHost: false,
        maxHeaderSize: 32 * 1024,
      })
      outgoing.on('error', broken)
      outgoing.on('response', (incoming) => {
        answering = true
        read(incoming).then((body) => {
          const { statusCode: status = 0, headers } = incoming
          // The server reports success although it has not read the whole body.
          if (status < 300 && !outgoing.writableFinished) reject(tooEarly(status))
          else resolve({ answer: { status, headers }, body, continued })
        }, reject)
      })
      if (asksFirst) {
        onContinue = sendBody
        outgoing.flushHeaders()
      } else sendBody()

      function sendUnanswered(): void {
        continued = answering
        sendBody()
      }

      function sendBody(): void {
        clearTimeout(patience)
        if (answering || sending) return
        sending = true
        const { body } = request
        if (body instanceof Uint8Array) Readable.from(pieces(body), { objectMode: false }).pipe(outgoing)
        else outgoing.end(body)
      }
    })
  } finally {
    clearTimeout(patience)
    off()
    socket.destroy()
  }
}

/** Splits the body: TLS copies each write as a whole, and keeps the copy until the receiver has read it. */
function* pieces(body: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < body.length; at += PIECE_BYTES) yield body.subarray(at, at + PIECE_BYTES)
}

function tooEarly(status: number): DeliveryError {
  return new DeliveryError(
    'DESTINATION_UNAVAILABLE',
    `the destination answered ${status} before it had received the document`,
    {
      response: { status, body: null },
    },
  )
}

async function read(incoming: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > MAX_ANSWER_BYTES) {
      throw new DeliveryError('DESTINATION_UNAVAILABLE', 'the answer is too long for S3')
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function queryOf(query: WireRequest['query'] = {}): string {
  const pairs = Object.entries(query).flatMap(([name, value]) =>
    [value].flat().map((each) => `${encoded(name)}=${encoded(each ?? '')}`),
  )
  return pairs.length > 0 ? `?${pairs.join('&')}` : ''
}

/** Percent-encoding of RFC 3986, as Signature Version 4 requires. */
function encoded(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
}

function flat(headers: IncomingHttpHeaders): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : (value ?? '')]),
  )
}
