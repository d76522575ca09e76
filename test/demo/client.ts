// The demo talks to the Distributor as any client would: over its API.
import type { JobStatus } from '../../db/states.ts'

export interface DeliveryState {
  name: string
  protocol: string
  status: string
  attempts: number
  response_status: number | null
  error_code: string | null
}

export interface DistributionState {
  status: JobStatus
  destinations: DeliveryState[]
}

export interface Client {
  /** Registers the destination, or gives the registered one its new configuration. */
  register(name: string, protocol: string, configuration: Record<string, unknown>): Promise<void>
  /** Keeps a credential under this name, in place of the one that is there. */
  keepSecret(name: string, fields: Record<string, string>): Promise<void>
  /** Submits a body as it is, and returns the distribution's id. */
  submit(body: string): Promise<string>
  status(id: string): Promise<DistributionState>
}

export function createClient(url: string, key: string): Client {
  async function call(method: string, path: string, body?: string): Promise<{ status: number; json: unknown }> {
    const response = await fetch(`${url}/api/v1${path}`, {
      method,
      headers: { 'x-api-key': key, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body }),
    })
    return { status: response.status, json: await response.json().catch(() => undefined) }
  }

  function expected<T>({ status, json }: { status: number; json: unknown }, what: string): T {
    if (status >= 400) throw new Error(`${what} was answered with ${status}: ${JSON.stringify(json)}`)
    return json as T
  }

  /** Makes it, or replaces what an earlier demo made. */
  async function put(
    collection: string,
    item: string,
    content: { name: string } & Record<string, unknown>,
  ): Promise<void> {
    const made = await call('POST', collection, JSON.stringify(content))
    const { name: _, ...rest } = content
    if (made.status === 409) expected(await call('PUT', item, JSON.stringify(rest)), `changing ${item}`)
    else expected(made, `adding ${content.name}`)
  }

  return {
    register(name, protocol, configuration) {
      const content = { name, protocol, description: 'A receiver of the demo', configuration }
      return put('/destinations/register', `/destinations/${name}`, content)
    },
    keepSecret: (name, fields) => put('/credentials', `/credentials/${name}`, { name, fields }),
    async submit(body) {
      const answer = await call('POST', '/distribution/submit', body)
      return expected<{ distribution_id: string }>(answer, 'the submission').distribution_id
    },
    async status(id) {
      return expected<DistributionState>(await call('GET', `/distribution/${id}/status`), 'the status')
    },
  }
}
