// Who may send a credential: a registered destination to the host that an admin chose, an inline one only where the
// credential says so.
import { afterAll, beforeAll, expect, it } from 'vitest'
import { putCredential } from '../../db/destinations/credentials.ts'
import { insertDestination, newDestinationId } from '../../db/destinations/destinations.ts'
import { type HttpReceiver, startHttpReceiver } from '../support/receivers/http.ts'
import { createTestSystem, type TestSystem } from '../support/system.ts'

let system: TestSystem
let receiver: HttpReceiver
const SECRET = 'open-secret-4711'
const WAIT = { timeout: 40_000 }

beforeAll(async () => {
  system = await createTestSystem()
  await system.tenant('acme')
  await system.startWorkers()
  receiver = await startHttpReceiver()
})
afterAll(async () => {
  await system.close()
  await receiver.close()
})

const keep = (name: string, allowed_hosts: string[] | null) =>
  system.as('acme', (db) =>
    putCredential(db, system.sealer, {
      tenant_id: 'acme',
      name,
      fields: { token: SECRET },
      allowed_hosts,
      destination_id: null,
    }),
  )
const configuration = (credential: string) => ({
  endpoint: receiver.url,
  auth: { type: 'bearer', token: { secret: `${credential}.token` } },
})
const inline = (credential: string) => ({
  name: `with-${credential}`,
  protocol: 'REST' as const,
  configuration: configuration(credential),
  max_retries: 0,
})

it('an inline destination may use a credential only for the hosts in its allowed_hosts', async () => {
  await keep('open', null)
  await keep('elsewhere', ['api.partner.example'])
  await keep('here', [new URL(receiver.url).hostname])
  const ref = await system.distribute({ destinations: ['open', 'elsewhere', 'here'].map(inline) })
  await expect.poll(async () => (await system.job(ref)).status, WAIT).toBe('failed')
  const [elsewhere, here, open] = (await system.deliveries(ref)).sort((a, b) =>
    a.destination_name < b.destination_name ? -1 : 1,
  )
  expect(open).toMatchObject({ status: 'failed', error_code: 'MISCONFIGURED', attempts: 1 })
  expect(open?.error_message).toContain('PUT /api/v1/credentials/open')
  expect(elsewhere).toMatchObject({ status: 'failed', error_code: 'MISCONFIGURED' })
  expect(here).toMatchObject({ status: 'success' })
  expect(receiver.requests.map(({ headers }) => headers.authorization)).toEqual([`Bearer ${SECRET}`])
})

it('a registered destination may use a credential without allowed_hosts', async () => {
  await keep('unbound', null)
  await system.as('acme', async (db) => {
    const content = { description: null, transform_config: {}, health_check_config: {}, max_retries: 0, tags: [] }
    const limits = { circuit_breaker: null, auto_disable: null, rate_limit: null, max_concurrency: null }
    const id = await newDestinationId(db)
    const row = { id, tenant_id: 'acme', name: 'partner', protocol: 'REST' as const, ...content, ...limits }
    await insertDestination(db, { ...row, configuration: configuration('unbound') }, 'test')
  })
  const ref = await system.distribute({ destinations: [{ name: 'partner' }] })
  await expect.poll(async () => (await system.job(ref)).status, WAIT).toBe('completed')
})
