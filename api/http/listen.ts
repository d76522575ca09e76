// The API's port: opens it, and closes it once the current requests are answered.
import type { ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createAdaptorServer } from '@hono/node-server'
import { LIMITS } from '../../db/limits.ts'

/** How long closing waits for current requests, in milliseconds. */
const DRAIN_MS = 10_000

/** Time limits for connections without data. Tests shorten them. */
export interface ConnectionTimes {
  /** Between two requests. */
  idle_ms: number
  /** Until the headers of a request have arrived. */
  headers_ms: number
  /** How often connections are checked. */
  check_ms: number
}

const TIMES: ConnectionTimes = {
  idle_ms: LIMITS.idleConnection.value * 1000,
  headers_ms: LIMITS.requestHeaders.value * 1000,
  check_ms: 5000,
}

export interface Listening {
  /** With the real port, if `port` was 0. */
  url: string
  /** Accepts no more connections, and resolves once the current requests are answered. */
  close(): Promise<void>
}

/** Serves `fetch`, which also gets the connection. Rejects with the system's error, such as `EADDRINUSE`. */
export async function listen(
  fetch: (request: Request, env: object) => Response | Promise<Response>,
  host: string,
  port: number,
  { idle_ms, headers_ms, check_ms }: ConnectionTimes = TIMES,
): Promise<Listening> {
  const serverOptions = {
    keepAliveTimeout: idle_ms,
    headersTimeout: headers_ms,
    // Reading a body has its own, shorter limit, which answers the sender with 408.
    requestTimeout: LIMITS.uploadTime.value * 1000 + headers_ms,
    connectionsCheckingInterval: check_ms,
  }
  const server = createAdaptorServer({ fetch, serverOptions })
  const answering = new Set<ServerResponse>()
  let closing = false
  server.on('request', (_: unknown, response: ServerResponse) => {
    response.shouldKeepAlive &&= !closing
    answering.add(response)
    response.once('close', () => answering.delete(response))
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      resolve()
    })
  })
  const { port: taken } = server.address() as AddressInfo
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${taken}`,
    close() {
      return new Promise((resolve) => {
        // A client that is never idle would otherwise keep its connection open until the time limit.
        closing = true
        for (const response of answering) response.shouldKeepAlive = false
        const deadline = setTimeout(() => 'closeAllConnections' in server && server.closeAllConnections(), DRAIN_MS)
        server.close(() => {
          clearTimeout(deadline)
          resolve()
        })
        if ('closeIdleConnections' in server) server.closeIdleConnections()
      })
    },
  }
}
