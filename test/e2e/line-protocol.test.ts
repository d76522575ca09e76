// A protocol that is not of the product, added by its folder and by one line in the list: registered over the API, delivered
// to, retried, and documented.
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { PROTOCOLS } from '../../activities/destinations/registry.ts'
import { createApp } from '../../api/app.ts'
import { bootstrapTenant } from '../../db/tenants/tenants.ts'
import { migrate } from '../../db/upkeep/migrate.ts'
import { regenerate } from '../docs.ts'
import { type LineServer, startLineServer } from '../support/line-protocol/server.ts'
import { readPage } from '../support/pages.ts'
import { createTestSystem, type TestSystem } from '../support/system.ts'

vi.mock('../../activities/destinations/built-in.ts', async (original) => {
  const { builtIn } = await original<typeof import('../../activities/destinations/built-in.ts')>()
  const { line } = await import('../support/line-protocol/index.ts')
  return { builtIn: [...builtIn, line] }
})

const TOKEN = 'line-token-2718'
const KEY = 'dk_0123456789abcdef0123456789abcdef'

let system: TestSystem
let server: LineServer
let app: ReturnType<typeof createApp>

beforeAll(async () => {
  system = await createTestSystem()
  await migrate(system.database.adminUrl, { protocols: PROTOCOLS })
  await bootstrapTenant(system.pool, system.sealer, { tenant: 'acme', apiKey: KEY, callbackSecret: undefined })
  server = await startLineServer(TOKEN)
  server.boxes.set('reports', [])
  await system.startWorkers()
  const { registry, ...metrics } = system.metrics
  const { pool, sealer, dispatcher, deps } = system
  const { egress, shaper, logger } = deps
  const limits = { max_body_bytes: 1024 * 1024 }
  app = createApp({
    pool,
    sealer,
    dispatcher,
    egress,
    shaper,
    logger,
    registry,
    metrics,
    limits,
    version: '0.0.0-test',
  })
})

afterAll(async () => {
  await system?.close()
  await server?.close()
})

async function call(method: string, path: string, body?: unknown) {
  const response = await app.request(`/api/v1${path}`, {
    method,
    headers: { 'X-API-Key': KEY, 'Content-Type': 'application/json' },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  // biome-ignore lint/suspicious/noExplicitAny: answers of every shape
  return { status: response.status, text, body: JSON.parse(text) as any }
}

describe('a protocol of one folder and one line', () => {
  const configuration = () => ({ host: '127.0.0.1', port: server.port, security: 'none', token: TOKEN, box: 'reports' })

  it('is registered over the API, which hides its secret and serves its schema', async () => {
    const made = await call('POST', '/destinations/register', {
      name: 'lines',
      protocol: 'LINE',
      configuration: configuration(),
    })
    expect(made.status, made.text).toBe(201)
    expect(made.body.configuration).toMatchObject({ token: '***', box: 'reports' })
    const { body } = await call('GET', '/destination-types')
    const served = body.destination_types.find(({ protocol }: { protocol: string }) => protocol === 'LINE')
    expect(served.config_schema.properties.token).toMatchObject({ writeOnly: true })
  })

  it('is refused with a configuration that is not valid, with another name, and with gzip', async () => {
    const wrong = { name: 'wrong', protocol: 'LINE', configuration: { ...configuration(), box: 1 } }
    expect((await call('POST', '/destinations/register', wrong)).body.details).toMatchObject([
      { field: 'configuration.box' },
    ])
    const unknown = { name: 'wrong', protocol: 'LINES', configuration: {} }
    expect((await call('POST', '/destinations/register', unknown)).body.details).toMatchObject([{ field: 'protocol' }])
    const zipped = { data_type: 'report', payload: 1, destinations: ['lines'], options: { compression: 'gzip' } }
    expect((await call('POST', '/distribution/submit', zipped)).body.details).toEqual([
      { field: 'destinations[0]', issue: expect.stringMatching(/^LINE .*options\.compression "gzip"/) },
    ])
  })

  it('is delivered to, after a failure too, with a row for each attempt', async () => {
    server.refuse.push('busy')
    const payload = { report_id: 'r-1' }
    const submitted = await call('POST', '/distribution/submit', {
      data_type: 'report',
      payload,
      destinations: ['lines'],
    })
    expect(submitted.status, submitted.text).toBe(202)
    const { distribution_id } = submitted.body
    await vi.waitFor(
      async () => {
        const { body } = await call('GET', `/distribution/${distribution_id}/status`)
        expect(body.status).toBe('completed')
      },
      { timeout: 20_000, interval: 100 },
    )
    const [delivery] = await system.as(
      'acme',
      async (db) => (await db.query('select * from distribution_deliveries')).rows,
    )
    expect(delivery).toMatchObject({ protocol: 'LINE', status: 'success', attempts: 2 })
    const attempts = await system.as(
      'acme',
      async (db) => (await db.query('select * from distribution_attempts order by attempt_number')).rows,
    )
    expect(attempts).toMatchObject([
      { status: 'retry', retry_reason: 'THROTTLED', error_message: 'the server is busy' },
      { status: 'success', metadata: { box: 'reports' } },
    ])
    const { delivery_id } = delivery
    expect(server.boxes.get('reports')).toEqual([{ delivery_id, body: Buffer.from(JSON.stringify(payload)) }])
    expect(JSON.stringify([attempts, system.log])).not.toContain(TOKEN)
  })

  it('is in the generated documentation: what it promises, its example and its fields', () => {
    const page = regenerate('docs/destinations.md', readPage('docs/destinations.md'))
    expect(page).toContain('| LINE | the server answered OK |')
    expect(page).toContain('"LINE": {"host": "lines.example"')
    expect(page.slice(page.indexOf('\n### LINE\n'))).toContain('| `token` | **secret** | required |')
  })
})
