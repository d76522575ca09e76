// A small HTTP server beside the API, without keys: for health checks and metrics.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Metrics } from '../../activities/metrics.ts'
import { portRefused } from './port-refused.ts'
import type { Closing, Life } from './program.ts'

export interface PlainAnswer {
  status: number
  body: string
  /** Absent: JSON. */
  type?: string
}

/** By path; a promise that rejects is a 500. */
export type PlainRoutes = Record<string, () => PlainAnswer | Promise<PlainAnswer>>

export interface PlainServer {
  /** That of the settings `…_HOST` and `…_PORT`, for an error. */
  prefix: string
  host: string
  port: number
  /** The name of the server at the end of the program. */
  closing: Closing
}

/** Listens until the program ends; returns the URL. Throws `StartRefused` if the port cannot be opened. */
export async function servePlain(routes: PlainRoutes, options: PlainServer, life: Life): Promise<string> {
  const { prefix, host, port, closing } = options
  const server = createServer(async (request, response) => {
    const route = routes[request.url?.split('?')[0] ?? '']
    const answer = route ? await ask(route) : failed(404, 'NOT_FOUND')
    response.writeHead(answer.status, { 'content-type': answer.type ?? 'application/json' }).end(answer.body)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, resolve)
  }).catch((error: NodeJS.ErrnoException) => {
    throw portRefused(prefix, host, port, error)
  })
  life.atEnd(closing, () => {
    server.close()
    server.closeAllConnections()
  })
  return `http://${host.includes(':') ? `[${host}]` : host}:${(server.address() as AddressInfo).port}`
}

async function ask(route: PlainRoutes[string]): Promise<PlainAnswer> {
  try {
    return await route()
  } catch {
    return failed(500, 'INTERNAL_ERROR')
  }
}

function failed(status: number, error: string): PlainAnswer {
  return { status, body: JSON.stringify({ error }) }
}

/** The answer with all metrics of a registry. */
export function metricsRoute(registry: Metrics['registry']): () => Promise<PlainAnswer> {
  return async () => ({ status: 200, body: await registry.metrics(), type: registry.contentType })
}
