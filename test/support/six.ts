// All six protocols as a deployment meets them: five servers and an HTTP receiver, a registered destination and a
// credential for each.
import { setTimeout as sleep } from 'node:timers/promises'
import type { ApiCall } from './api-client.ts'
import { startHttpReceiver } from './receivers/http.ts'
import { type Held, PLACE_PROTOCOLS, startPlace } from './receivers/places.ts'

/** One of the six, as `Place`, with REST among them. */
export interface Site {
  protocol: string
  /** Of the registered destination and of its credential. */
  name: string
  port: number
  configuration(port?: number): Record<string, unknown>
  credential: Record<string, string>
  /** The credential's field that is confidential. */
  secret: string
  held(): Promise<Held[]>
  restart(): Promise<void>
  close(): Promise<unknown>
}

const SECRET_FIELDS = ['password', 'secret_access_key', 'private_key', 'token']

export async function startSix(): Promise<Site[]> {
  const say = (line: string) => void process.stderr.write(`${line}\n`)
  const started = await Promise.allSettled([
    startRest(),
    ...PLACE_PROTOCOLS.map((protocol) => startPlace(protocol, say)),
  ])
  const places = started.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))
  const failed = started.find((each) => each.status === 'rejected')
  if (failed) {
    await Promise.all(places.map((place) => place.close()))
    throw failed.reason
  }
  return places.map((place) => ({
    ...place,
    name: `six-${place.protocol.toLowerCase()}`,
    secret: SECRET_FIELDS.map((field) => (place.credential as Record<string, string>)[field]).find(
      (value) => value !== undefined,
    )!,
  }))
}

async function startRest() {
  const token = 'six-rest-token-4711'
  const receiver = await startHttpReceiver({
    script: ({ headers }) => ({ status: headers.authorization === `Bearer ${token}` ? 200 : 401 }),
  })
  return {
    protocol: 'REST' as const,
    port: receiver.port,
    credential: { token },
    configuration: (port = receiver.port) => ({ endpoint: `http://127.0.0.1:${port}/in`, auth: { type: 'bearer' } }),
    held: async () =>
      receiver.requests
        .filter(({ headers, method }) => method === 'POST' && headers.authorization === `Bearer ${token}`)
        .map(({ body, headers }) => ({
          delivery_id: String(headers['idempotency-key']),
          what: 'request',
          content: body.toString('utf8'),
        })),
    restart: async () => {},
    close: () => receiver.close(),
  }
}

/** Registers each site with a credential of the same name. `portOf` may lead it over a proxy. */
export async function registerSix(call: ApiCall, sites: Site[], portOf: (site: Site) => number, given = {}) {
  for (const site of sites) {
    const { name, protocol, credential } = site
    await call('POST', '/credentials', { name, fields: credential })
    const configuration = { ...site.configuration(portOf(site)), credentials: name, ...given }
    await call('POST', '/destinations/register', { name, protocol, configuration })
  }
}

export interface DistributionStatus {
  status: string
  error_code: string | null
  destinations: { name: string; protocol: string; status: string; attempts: number; error_code: string | null }[]
}

/** Asks until it is final. */
export async function untilFinal(call: ApiCall, id: string, timeoutMs = 60_000): Promise<DistributionStatus> {
  const until = performance.now() + timeoutMs
  for (;;) {
    const state = await call<DistributionStatus>('GET', `/distribution/${id}/status`)
    if (['completed', 'failed', 'cancelled'].includes(state.status)) return state
    if (performance.now() > until) throw new Error(`not final after ${timeoutMs} ms: ${JSON.stringify(state)}`)
    await sleep(100)
  }
}

/** A report like those of real senders; a re-serialisation would change it. */
export function aReport(id: string): string {
  return (
    `{"report_id":"${id}","period":"2025-10","authority":"Z\\u00fcrich","sequence":9007199254740993,` +
    '"rows":[{"service":"registry","requests":412,"fees":823.50},{"fees":461.00,"service":"taxes","requests":96}]}'
  )
}

/** What a site holds of a report. */
export function contentOf(site: Pick<Site, 'protocol'>, id: string): string {
  return site.protocol === 'JDBC' ? 'registry 412 823.50, taxes 96 461.00' : aReport(id)
}
