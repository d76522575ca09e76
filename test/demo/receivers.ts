// Three local receivers and a place for the callback: what the demo delivers to, and reads back from.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Webhook } from 'standardwebhooks'

export interface Arrival {
  body: Buffer
  /** What the receiver answered. */
  status: number
  /** `verified` or what was wrong; undefined where nobody signs. */
  signature: string | undefined
  /** On the clock of `performance.now()`. */
  at: number
}

export interface Receiver {
  url: string
  arrivals: Arrival[]
  close(): void
}

export interface Behaviour {
  /** Answers 503 this many times before it accepts. */
  refuse_first?: number
  /** The Standard Webhooks secret to check signatures with; a wrong one is answered with 401. */
  secret?: string | undefined
}

/** A receiver on a free loopback port. */
export async function startReceiver(path: string, behaviour: Behaviour = {}): Promise<Receiver> {
  const arrivals: Arrival[] = []
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const body = Buffer.concat(chunks)
    const signature = behaviour.secret ? checked(behaviour.secret, body, request.headers) : undefined
    const refused = arrivals.length < (behaviour.refuse_first ?? 0)
    const status = refused ? 503 : signature === undefined || signature === 'verified' ? 200 : 401
    arrivals.push({ body, status, signature, at: performance.now() })
    response.writeHead(status).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`,
    arrivals,
    close() {
      server.close()
      server.closeAllConnections()
    },
  }
}

function checked(secret: string, body: Buffer, headers: NodeJS.Dict<string | string[]>): string {
  try {
    new Webhook(secret).verify(body.toString('utf8'), headers as Record<string, string>)
    return 'verified'
  } catch (error) {
    return (error as Error).message
  }
}
