// The demo talks to the Distributor as any client would: over its API.
export interface DeliveryState {
  name: string
  protocol: string
  status: string
  attempts: number
  response_status: number | null
  error_code: string | null
}

export interface DistributionState {
  status: string
  destinations: DeliveryState[]
}

export interface Client {
  /** Registers the destination, or gives the registered one its new configuration. */
  register(name: string, configuration: Record<string, unknown>): Promise<void>
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

  return {
    async register(name, configuration) {
      const content = { name, protocol: 'REST', description: 'A receiver of the demo', configuration }
      const made = await call('POST', '/destinations/register', JSON.stringify(content))
      if (made.status === 409) {
        expected(await call('PUT', `/destinations/${name}`, JSON.stringify(content)), `changing ${name}`)
      } else expected(made, `registering ${name}`)
    },
    async submit(body) {
      const answer = await call('POST', '/distribution/submit', body)
      return expected<{ distribution_id: string }>(answer, 'the submission').distribution_id
    },
    async status(id) {
      return expected<DistributionState>(await call('GET', `/distribution/${id}/status`), 'the status')
    },
  }
}
