// The SDK's way to the wire, for one attempt: each request on a new connection through the egress guard, one answer of
// bounded size, nothing sent twice. A connection of its own costs a handshake, and spares an attempt what a kept one
// may do: die unnoticed, or in the very moment of its reuse.
import http, { type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { Readable } from 'node:stream'
import { DeliveryError } from '../errors.ts'
import { type Attempt, withinDeadline } from '../network/deadline.ts'
import type { Egress } from '../network/egress.ts'
import { skipInterim } from '../network/interim.ts'
import { type TlsMaterial, tlsConnection } from '../network/tls.ts'
import { doNotAsk, mayAsk } from './expectations.ts'

/** An answer is a few lines of XML; one that goes on beyond this is none of S3's. */
const MAX_ANSWER_BYTES = 1024 * 1024
/** Stores that do not know the question say nothing; then the body goes all the same. */
const CONTINUE_MS = 1_000
const PIECE_BYTES = 256 * 1024
const EXPECTATION_FAILED = 417
/** Parts that were sent in vain are given back within this, also when the attempt's own time is over. */
const CLEAN_UP_MS = 5_000

/** What the SDK hands over: signed, and encoded as it goes out. */
export interface WireRequest {
  method: string
  protocol: string
  hostname: string
  port?: number
  path: string
  query?: Record<string, string | string[] | null>
  headers: Record<string, string>
  /** Whole; the SDK streams only what it is given as a stream. */
  body?: Uint8Array | string
}

export interface Answer {
  status: number
  headers: IncomingHttpHeaders
}

export interface Exchange {
  /** For the client's `requestHandler`. */
  handler: {
    handle(request: WireRequest): Promise<{ response: WireResponse }>
    updateHttpClientConfig(): void
    httpHandlerConfigs(): Record<string, never>
  }
  /** The last one; undefined before the first. */
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
      const { answer, body } = await asked(egress, tls, request, attempt)
      exchange.answer = answer
      return { response: { statusCode: answer.status, headers: flat(answer.headers), body } }
    } catch (error) {
      exchange.failure = error
      // The SDK writes into what it is given, and this may be the caller's own reason to stop.
      throw new Error('no answer')
    }
  }

  /** Whatever comes of it: what went wrong before is what the attempt tells. */
  async function cleanUp(request: WireRequest): Promise<WireResponse> {
    const { signal } = new AbortController()
    const own = (inTime: Attempt) => roundTrip(egress, tls, request, inTime)
    await withinDeadline({ timeoutMs: CLEAN_UP_MS, signal }, own).catch(() => {})
    return { statusCode: 204, headers: {}, body: new Uint8Array() }
  }

  return exchange
}

/** AbortMultipartUpload. */
function isCleanUp({ method, query }: WireRequest): boolean {
  return method === 'DELETE' && query?.uploadId !== undefined
}

/**
 * Sends a request that asks first once more without the question where that is refused: a 417 says nothing else (RFC 9110,
 * 10.1.1). The question is no part of the signature. Endpoints that do not know it are not asked again for a while.
 */
async function asked(egress: Egress, tls: TlsMaterial, request: WireRequest, attempt: Attempt): Promise<Reply> {
  const { Expect: question, ...headers } = request.headers
  if (question === undefined) return roundTrip(egress, tls, request, attempt)
  const unasked = { ...request, headers }
  if (!mayAsk(request)) return roundTrip(egress, tls, unasked, attempt)
  const reply = await roundTrip(egress, tls, request, attempt)
  if (reply.answer.status === EXPECTATION_FAILED || !reply.continued) doNotAsk(request)
  return reply.answer.status === EXPECTATION_FAILED ? roundTrip(egress, tls, unasked, attempt) : reply
}

interface Reply {
  answer: Answer
  body: Buffer
  /** False where the store was asked first, and took the body without saying that it would. */
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
  // A store that refuses at the head hangs up on the body, and what it said may be lost with the connection. So it is
  // asked first where the body is large (RFC 9110, 10.1.1).
  const asksFirst = request.headers.Expect !== undefined
  let patience: NodeJS.Timeout | undefined
  try {
    return await new Promise((resolve, reject) => {
      // What was answered counts, and not that the rest of the body could not be sent.
      let answering = false
      let sending = false
      let continued = true
      const broken = (error: Error) => {
        if (!answering) reject(error)
      }
      // Stays, for an error may come after all is over.
      socket.on('error', broken)
      socket.once(secure ? 'secureConnect' : 'connect', () => {
        attempt.expect('take the document and answer')
        if (asksFirst) patience = setTimeout(sendUnanswered, CONTINUE_MS)
      })
      const outgoing = http.request({
        // Without an agent the request asks for the connection to be closed.
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
          // Somebody who says that all is well without having read it all.
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

/** TLS copies all that it is given at once, and keeps it until the other side has read it. */
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
      throw new DeliveryError('DESTINATION_UNAVAILABLE', 'the answer is longer than any answer of S3')
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

/** RFC 3986, as Signature Version 4 wants it. */
function encoded(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
}

function flat(headers: IncomingHttpHeaders): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : (value ?? '')]),
  )
}
