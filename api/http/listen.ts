// The API's port: opened, refused by name when it is taken, closed once the requests under way are answered.
import type { ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createAdaptorServer } from '@hono/node-server'
import { LIMITS } from '../../db/limits.ts'

/** Requests under way at the end are given this long, in milliseconds. */
const DRAIN_MS = 10_000

/** How long a connection may say nothing. Tests shorten it. */
export interface ConnectionTimes {
  /** Between two requests. */
  idle_ms: number
  /** Until the headers of a request are there, the first one's too. */
  headers_ms: number
  /** It is looked so often. */
  look_ms: number
}

const TIMES: ConnectionTimes = {
  idle_ms: LIMITS.idleConnection.value * 1000,
  headers_ms: LIMITS.requestHeaders.value * 1000,
  look_ms: 5000,
}

export interface Listening {
  /** With the port that was really taken. */
  url: string
  /** Takes no more connections, answers what is under way, and resolves. */
  close(): Promise<void>
}

/** Serves `fetch`, which is told the connection too; rejects with the system's error (`EADDRINUSE`) when the port cannot be had. */
export async function listen(
  fetch: (request: Request, env: object) => Response | Promise<Response>,
  host: string,
  port: number,
  { idle_ms, headers_ms, look_ms }: ConnectionTimes = TIMES,
): Promise<Listening> {
  const serverOptions = {
    keepAliveTimeout: idle_ms,
    headersTimeout: headers_ms,
    // A body that is read has a time of its own, which is shorter: the sender is told.
    requestTimeout: LIMITS.uploadTime.value * 1000 + headers_ms,
    connectionsCheckingInterval: look_ms,
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
        // Or a sender that is never idle would keep its connection, and the drain, to the very end.
        closing = true
        for (const response of answering) response.shouldKeepAlive = false
        const impatient = setTimeout(() => 'closeAllConnections' in server && server.closeAllConnections(), DRAIN_MS)
        server.close(() => {
          clearTimeout(impatient)
          resolve()
        })
        if ('closeIdleConnections' in server) server.closeIdleConnections()
      })
    },
  }
}
