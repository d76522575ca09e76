// With more work than the workers can do, every priority gets a share, so that no priority starves.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createRuns } from '../../temporal-config/client/runs.ts'
import { queuePriority } from '../../workflows/names.ts'
import { type HttpReceiver, startHttpReceiver } from '../support/receivers/http.ts'
import { createTestSystem, restTo, type TestSystem } from '../support/system.ts'
import { NAMESPACE } from '../support/temporal.ts'

const TENANTS = 5
const NORMAL = 60
const LOW = 20
const CRITICAL = 3

let system: TestSystem
let receiver: HttpReceiver

beforeAll(async () => {
  system = await createTestSystem()
  receiver = await startHttpReceiver()
  for (let i = 0; i < TENANTS; i++) await system.tenant(`tenant-${i}`)
  await system.tenant('patient')
})
afterAll(async () => {
  await system.close()
  await receiver.close()
})

async function queue(tenant_id: string, priority: 'critical' | 'normal' | 'low', count: number): Promise<void> {
  await Promise.all(
    Array.from({ length: count }, () =>
      system.distribute({ tenant_id, priority, destinations: [restTo('a', `${receiver.url}/${priority}`)] }),
    ),
  )
}

const arrived = (priority: string, of: number) =>
  receiver.requests.slice(0, of).filter(({ path }) => path === `/${priority}`).length

describe('at overload', () => {
  it('low priority gets a share beside five tenants with normal priority, and critical overtakes both', async () => {
    for (let i = 0; i < TENANTS; i++) await queue(`tenant-${i}`, 'normal', NORMAL)
    await queue('patient', 'low', LOW)
    await queue('patient', 'critical', CRITICAL)
    await system.startWorkers()
    const all = TENANTS * NORMAL + LOW + CRITICAL
    await receiver.received(all, 150_000)
    const early = Math.floor(TENANTS * NORMAL * 0.8)
    console.info(
      `of the first ${early}: ${arrived('low', early)} low, ${arrived('normal', early)} normal; ` +
        `of the first 200: ${arrived('critical', 200)} critical`,
    )
    // Five tenants at 1 and one at 0.1: about one of fifty; strictly behind them it would be none.
    expect(arrived('low', early)).toBeGreaterThanOrEqual(2)
    expect(arrived('low', early)).toBeLessThanOrEqual(LOW * 0.75)
    // They were submitted last. A worker takes up 100 at once, and each needs two tasks: so many may have begun before.
    expect(arrived('critical', 200)).toBe(CRITICAL)
  }, 240_000)
})

describe('the order that Temporal is asked for', () => {
  it('is one level with a weight for each tenant and priority, in keys that Temporal accepts', () => {
    const tenant = 't'.repeat(50)
    for (const priority of ['critical', 'high', 'normal', 'low'] as const) {
      const asked = queuePriority(tenant, priority, true)
      expect(asked.priorityKey).toBe(3)
      expect(Buffer.byteLength(asked.fairnessKey)).toBeLessThanOrEqual(64)
      expect(asked.fairnessWeight).toBeGreaterThanOrEqual(0.001)
    }
    expect(queuePriority('acme', 'normal', true).fairnessKey).toBe('acme')
  })

  it('is by strict levels where the server has no fairness', async () => {
    const runs = createRuns({
      connection: system.temporal.client.connection,
      namespace: NAMESPACE,
      taskQueue: system.taskQueue,
      eager: false,
      fairness: false,
      searchAttributes: () => new Set(),
    })
    const ref = await system.submit({ tenant_id: 'patient', destinations: [] })
    await runs.start(ref, { data_type: 'report', priority: 'low' })
    const { events } = await system.temporal.client.workflow
      .getHandle(`distribution/${ref.tenant_id}/${ref.distribution_id}`)
      .fetchHistory()
    expect(events?.[0]?.workflowExecutionStartedEventAttributes?.priority).toMatchObject({
      priorityKey: 5,
      fairnessKey: 'patient',
    })
  })
})
