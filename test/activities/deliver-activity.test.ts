// `deliver` as Temporal calls it: its heartbeats, and how a send ends that is cancelled or loses its worker.
import { ActivityCancellationDetails, CancelledFailure } from '@temporalio/common'
import { MockActivityEnvironment } from '@temporalio/testing'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { plan } from '../../activities/distribution/plan.ts'
import { createActivities } from '../../activities/index.ts'
import { TIMING } from '../../activities/timing.ts'
import type { DeliverInput } from '../../workflows/messages.ts'
import { receiverPerTest } from '../support/receivers/per-test.ts'
import { createTestSystem, restTo, type TestSystem } from '../support/system.ts'

let system: TestSystem
const aReceiver = receiverPerTest()

beforeAll(async () => {
  system = await createTestSystem({ timing: { heartbeat_ms: 20 } })
  await system.tenant('acme')
})
afterAll(() => system.close())

/** A delivery whose receiver has the request and does not answer. */
async function hanging() {
  const receiver = await aReceiver({ stall: 'headers' })
  const ref = await system.submit({ destinations: [restTo('a', receiver.url)] })
  await plan(system.pool, ref)
  const input: DeliverInput = { ...ref, destination: 'a' }
  const activity = new MockActivityEnvironment({ attempt: 1 })
  const heartbeats: number[] = []
  activity.on('heartbeat', () => heartbeats.push(performance.now()))
  const ended = activity.run(createActivities(system.deps).deliver, input)
  ended.catch(() => {})
  await receiver.received(1)
  return { ref, activity, heartbeats, ended }
}

it('heartbeats as often as deps.timing says, and ends when it is cancelled', async () => {
  const { activity, heartbeats, ended } = await hanging()
  await expect.poll(() => heartbeats.length).toBeGreaterThan(3)
  activity.cancel()
  await expect(ended).rejects.toBeInstanceOf(CancelledFailure)
  const after = heartbeats.length
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect(heartbeats).toHaveLength(after)
})

it('is tried again when its worker stops', async () => {
  const { ref, activity, ended } = await hanging()
  activity.cancel('WORKER_SHUTDOWN', new ActivityCancellationDetails({ workerShutdown: true }))
  await expect(ended).rejects.toMatchObject({ type: 'WORKER_LOST' })
  expect(await system.attempts(ref)).toMatchObject([{ status: 'retry', retry_reason: 'WORKER_LOST' }])
})

it('production finds a lost worker after many missed heartbeats, and keeps its leases for as long', () => {
  expect(TIMING.lost_after_ms).toBeGreaterThanOrEqual(10 * TIMING.heartbeat_ms)
  expect(TIMING.lease_margin_ms).toBeGreaterThanOrEqual(TIMING.lost_after_ms)
})
