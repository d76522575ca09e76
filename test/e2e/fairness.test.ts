// One tenant has more queued for a destination that hangs than all slots can hold; another tenant's distributions still
// arrive. By how much they become slower is measured by `npm run bench -- --check`.
import { afterAll, beforeAll, expect, it } from 'vitest'
import { register } from '../support/destinations.ts'
import { type HttpReceiver, startHttpReceiver } from '../support/receivers/http.ts'
import { createTestSystem, PRODUCTION_BACKOFF, type TestSystem } from '../support/system.ts'

const QUEUED = 120
let system: TestSystem
let receiver: HttpReceiver
let hanging: HttpReceiver

beforeAll(async () => {
  system = await createTestSystem({ backoff: PRODUCTION_BACKOFF })
  receiver = await startHttpReceiver()
  hanging = await startHttpReceiver({ script: { stall: 'headers' } })
  for (const tenant of ['greedy', 'quick']) await system.tenant(tenant)
  await register(system, 'well', receiver.url, { tenant: 'quick' })
  await register(system, 'hangs', hanging.url, { tenant: 'greedy' })
  await system.startWorkers()
})
afterAll(async () => {
  await hanging.close()
  await receiver.close()
  await system.close()
})

it('a tenant with a long queue for a destination that hangs holds up no other tenant', async () => {
  for (let i = 0; i < QUEUED; i += 1) {
    await system.distribute({ tenant_id: 'greedy', timeout_seconds: 3600, destinations: [{ name: 'hangs' }] })
  }
  await hanging.received(20, 60_000)
  for (let i = 1; i <= 10; i += 1) {
    await system.distribute({ tenant_id: 'quick', destinations: [{ name: 'well' }] })
    await receiver.received(i, 20_000)
  }
  const { rows } = await system.as('greedy', (db) =>
    db.query('select count(*)::int as open from distribution_jobs where completed_at is null'),
  )
  expect(rows[0].open).toBe(QUEUED)
}, 150_000)
