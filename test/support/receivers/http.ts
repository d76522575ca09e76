// A real HTTP receiver that can be asked to misbehave: refuse, stall, drop, lie, drip, send bombs. It records every
// request byte by byte.
import { EventEmitter, once } from 'node:events'
import { readFileSync } from 'node:fs'
import http, { type IncomingMessage, type OutgoingHttpHeaders, type ServerResponse } from 'node:http'
import https from 'node:https'
import net, { type AddressInfo, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { TLSSocket, type TlsOptions } from 'node:tls'

export interface ReceivedRequest {
  method: string
  /** Path and query as they came. */
  path: string
  /** Lower-case names. */
  headers: http.IncomingHttpHeaders
  rawHeaders: string[]
  /** The bytes after the head, with no encoding undone. */
  body: Buffer
  /** The whole request, head and body, as it was on the wire (after TLS). */
  raw: Buffer
  /** Counts the connections from 1: equal numbers shared one. */
  connection: number
  /** The client's certificate name, with `requestCert`. */
  client: string | undefined
  /** Milliseconds since the epoch, when the request was complete. */
  at: number
  /** Resolves when its connection is closed. */
  closed: Promise<void>
}

/** What happens to one request. Without a field: 200 and an empty body. */
export interface Reply {
  status?: number
  headers?: OutgoingHttpHeaders
  body?: string | Buffer
  /** Waits before anything is sent. */
  after_ms?: number
  /** `headers`: nothing is ever answered. `body`: headers and `body`, then silence. */
  stall?: 'headers' | 'body'
  /** Closes without an answer, politely or with a reset. */
  drop?: 'end' | 'reset'
  /** Sends `body` byte by byte. */
  drip_ms?: number
  /** Repeats `body` until the other side hangs up. */
  endless?: boolean
  /** Exactly these bytes in place of an answer, and then … */
  raw?: string | Buffer
  raw_then?: 'end' | 'reset' | 'hang'
}

/** One reply for all, one after the other (the last one stays), or what a function says. */
export type Script = Reply | Reply[] | ((request: ReceivedRequest, index: number) => Reply | Promise<Reply>)

export interface HttpReceiverOptions {
  script?: Script
  /** Speaks TLS with the test authority's certificate; more options (requestCert …) as Node has them. */
  tls?: boolean | TlsOptions
  /** What happens before any byte is read: no answer, or the connection is reset. */
  connection?: 'stall' | 'reset'
  port?: number
  /** How long an idle connection stays open. */
  keepAliveTimeout?: number
}

export interface HttpReceiver {
  /** Without a slash at its end: `http://127.0.0.1:1234`. */
  url: string
  port: number
  requests: ReceivedRequest[]
  /** Connections so far, and those open now. */
  connections: { total: number; open: number }
  /** Changes the script; the count of a list begins anew. */
  reply(script: Script): void
  /** Resolves when the condition holds; asked at each request and each opened or closed connection. */
  until(condition: (receiver: HttpReceiver) => boolean, timeoutMs?: number): Promise<void>
  /** Waits for so many requests in all and returns them. */
  received(count: number, timeoutMs?: number): Promise<ReceivedRequest[]>
  /** Ends every connection as it is. */
  close(): Promise<void>
}

const certificates = new URL('./certificates/', import.meta.url)

/** The test authority and what it signed, as PEM: `ca.pem`, `server.pem`, `client.key` … */
export function certificate(name: string): string {
  return readFileSync(new URL(name, certificates), 'utf8')
}

export async function startHttpReceiver(options: HttpReceiverOptions = {}): Promise<HttpReceiver> {
  const { tls, connection: greeting, port = 0, keepAliveTimeout = 5_000 } = options
  const events = new EventEmitter().setMaxListeners(0)
  const open = new Set<Socket>()
  const recorded = new Map<Socket, { id: number; bytes: Buffer[]; closed: Promise<void> }>()
  const requests: ReceivedRequest[] = []
  const connections = { total: 0, open: 0 }
  let script = options.script ?? {}
  let scripted = 0

  const server: http.Server | https.Server = tls
    ? https.createServer(
        { key: certificate('server.key'), cert: certificate('server.pem'), ...(tls === true ? {} : tls) },
        onRequest,
      )
    : http.createServer(onRequest)
  server.keepAliveTimeout = keepAliveTimeout
  server.requestTimeout = 0
  server.headersTimeout = 0

  server.on('connection', (socket: Socket) => {
    connections.total++
    connections.open++
    open.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => {
      connections.open--
      open.delete(socket)
      events.emit('change')
    })
    if (greeting === 'reset') reset(socket)
    else if (greeting === 'stall') socket.resume().on('end', () => socket.end())
    else if (!tls) record(socket)
    events.emit('change')
  })
  server.on('secureConnection', record)
  server.on('tlsClientError', () => {})
  server.on('clientError', (_error, socket) => socket.destroy())
  if (greeting === 'stall') {
    // Node's own listener would speak TLS or HTTP.
    const [own] = server.listeners('connection') as ((socket: Socket) => void)[]
    server.off('connection', own!)
  }

  function record(socket: Socket): void {
    const closed = closing(socket).then(() => {
      recorded.delete(socket)
    })
    recorded.set(socket, { id: connections.total, bytes: [], closed })
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => recorded.get(socket)?.bytes.push(chunk))
  }

  async function onRequest(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const socket = incoming.socket
    const chunks: Buffer[] = []
    response.on('error', () => {})
    try {
      for await (const chunk of incoming) chunks.push(chunk as Buffer)
    } catch {
      return
    }
    const entry = recorded.get(socket)
    const request: ReceivedRequest = {
      method: incoming.method!,
      path: incoming.url!,
      headers: incoming.headers,
      rawHeaders: incoming.rawHeaders,
      body: Buffer.concat(chunks),
      raw: Buffer.concat(entry?.bytes.splice(0) ?? []),
      connection: entry?.id ?? 0,
      client: tls ? [(socket as TLSSocket).getPeerCertificate?.()?.subject?.CN ?? []].flat()[0] : undefined,
      at: Date.now(),
      closed: entry?.closed ?? Promise.resolve(),
    }
    const index = scripted++
    requests.push(request)
    events.emit('change')
    const reply = typeof script === 'function' ? await script(request, index) : nth(script, index)
    await answer(reply, socket, response)
  }

  const receiver: HttpReceiver = {
    url: '',
    port: 0,
    requests,
    connections,
    reply(next) {
      script = next
      scripted = 0
    },
    until(condition, timeoutMs = 10_000) {
      return new Promise((resolve, reject) => {
        const check = () => {
          if (condition(receiver)) settle(resolve)
        }
        const timer = setTimeout(() => settle(() => reject(new Error('the receiver waited in vain'))), timeoutMs)
        const settle = (then: () => void) => {
          clearTimeout(timer)
          events.off('change', check)
          then()
        }
        events.on('change', check)
        check()
      })
    },
    async received(count, timeoutMs) {
      await receiver.until(() => requests.length >= count, timeoutMs)
      return requests
    },
    async close() {
      const closed = new Promise((resolve) => server.close(resolve))
      for (const socket of open) socket.destroy()
      server.closeAllConnections()
      await closed
    },
  }

  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  receiver.port = (server.address() as AddressInfo).port
  receiver.url = `${tls ? 'https' : 'http'}://127.0.0.1:${receiver.port}`
  return receiver
}

/** `events.once` would reject with the error that so often precedes it here. */
function closing(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()))
}

/** Under TLS Node 20 can send no reset: there it is an end without the farewell that TLS asks for. */
function reset(socket: Socket): void {
  if (socket instanceof TLSSocket) socket.destroy()
  else socket.resetAndDestroy()
}

/** A port on loopback on which no server listens. */
export async function refusedPort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

function nth(script: Reply | Reply[], index: number): Reply {
  return Array.isArray(script) ? (script[Math.min(index, script.length - 1)] ?? {}) : script
}

async function answer(reply: Reply, socket: Socket, response: ServerResponse): Promise<void> {
  if (reply.after_ms !== undefined) await sleep(reply.after_ms)
  if (reply.stall === 'headers' || socket.destroyed) return
  if (reply.drop === 'reset') return void reset(socket)
  if (reply.drop === 'end') return void socket.end()
  if (reply.raw !== undefined) {
    socket.write(reply.raw)
    // The bytes first: a reset throws away what is not sent yet.
    if (reply.raw_then === 'reset') setTimeout(() => reset(socket), 50)
    else if (reply.raw_then !== 'hang') socket.end()
    return
  }
  const body = Buffer.from(reply.body ?? '')
  response.writeHead(reply.status ?? 200, reply.headers)
  if (reply.stall === 'body') return void response.write(body.length > 0 ? body : ' ')
  if (reply.drip_ms !== undefined) {
    for (const byte of body) {
      if (socket.destroyed) return
      response.write(Buffer.of(byte))
      await sleep(reply.drip_ms)
    }
  }
  if (reply.endless) {
    const closed = closing(socket)
    while (!socket.destroyed) {
      if (response.write(body)) continue
      await Promise.race([new Promise((resolve) => response.once('drain', resolve)), closed])
    }
    return
  }
  response.end(reply.drip_ms === undefined ? body : undefined)
}
