// An HTTP proxy in front of an S3 server. It records the requests; where a test needs a faulty store, it answers itself,
// loses the answer or drops the connection. It does not change host and signature.
import { once } from 'node:events'
import http, {
  type IncomingHttpHeaders,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'

export interface FrontedRequest {
  method: string
  /** Path and query as they came. */
  path: string
  headers: IncomingHttpHeaders
  /** Bytes of the body, as far as they came. */
  size: number
}

/** What happens in the server's place. `at_the_head`: before any of the body was asked for, and then the end. */
export type Verdict =
  | { status: number; headers?: OutgoingHttpHeaders; body?: string; at_the_head?: true }
  /** Cuts the connection as soon as some of the body is here. */
  | 'cut'
  /** Reads some of the body, and says nothing. */
  | 'stall'
  /** The server gets the request, and its answer is lost. */
  | 'lose the answer'

export interface S3Front {
  port: number
  url: string
  requests: FrontedRequest[]
  /** False: it never says 100 Continue, and takes what comes. */
  continues: boolean
  /** Asked at the head of each request; undefined lets it pass. */
  decide(verdict: (request: FrontedRequest) => Verdict | undefined): void
  /** Resolves when a request has come for which the condition holds. */
  seen(condition: (request: FrontedRequest) => boolean): Promise<void>
  close(): Promise<void>
}

export async function startS3Front(target: { port: number }): Promise<S3Front> {
  const requests: FrontedRequest[] = []
  const waiting = new Set<() => void>()
  let verdictOn: (request: FrontedRequest) => Verdict | undefined = () => undefined

  let front: S3Front
  const server = http.createServer(onRequest)
  server.on('checkContinue', onRequest)

  function onRequest(incoming: IncomingMessage, response: ServerResponse): void {
    const { method = '', url = '', headers } = incoming
    const request: FrontedRequest = { method, path: url, headers, size: 0 }
    requests.push(request)
    incoming.on('error', () => {})
    const verdict = verdictOn(request)
    const onData = (chunk: Buffer) => {
      request.size += chunk.length
      if (verdict === 'cut') incoming.socket.resetAndDestroy()
    }
    if (typeof verdict === 'object' && verdict.at_the_head) {
      response.writeHead(verdict.status, { ...verdict.headers, connection: 'close' }).end(verdict.body)
      response.on('finish', () => incoming.socket.end())
      return
    }
    if (headers.expect && front.continues) response.writeContinue()
    incoming.on('data', onData)
    for (const look of waiting) look()
    if (verdict === 'stall') return void incoming.once('data', () => incoming.pause())
    if (verdict === 'cut') return
    if (typeof verdict === 'object') {
      incoming.on('end', () => response.writeHead(verdict.status, verdict.headers).end(verdict.body))
      return
    }
    const outgoing = http.request({ ...target, host: '127.0.0.1', method, path: url, headers, agent: false })
    outgoing.on('error', () => incoming.socket.destroy())
    outgoing.on('response', (answer) => {
      if (verdict === 'lose the answer') return void incoming.socket.resetAndDestroy()
      response.writeHead(answer.statusCode ?? 500, answer.headers)
      answer.pipe(response)
    })
    incoming.pipe(outgoing)
  }
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  front = {
    port,
    url: `http://127.0.0.1:${port}`,
    requests,
    continues: true,
    decide(verdict) {
      verdictOn = verdict
    },
    seen(condition) {
      return new Promise((resolve) => {
        const look = () => {
          if (!requests.some(condition)) return
          waiting.delete(look)
          resolve()
        }
        waiting.add(look)
        look()
      })
    },
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
  return front
}
