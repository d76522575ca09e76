// The workflow alone: a real Temporal server, activities that play their part from a script.
import { ApplicationFailure, CancelledFailure, Context } from '@temporalio/activity'
import type { TestWorkflowEnvironment } from '@temporalio/testing'
import { Worker } from '@temporalio/worker'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Activities } from '../../activities/index.ts'
import type { FinishInput, Plan } from '../../workflows/messages.ts'
import { backgroundQueue, distributionWorkflowId } from '../../workflows/names.ts'
import { connectTemporal, uniqueQueue } from '../support/temporal.ts'
import { workflowBundle } from '../support/workflow-bundle.ts'

let temporal: TestWorkflowEnvironment

beforeAll(async () => {
  temporal = await connectTemporal()
})
afterAll(() => temporal.teardown())

interface Stage {
  /** The state that the rows would hold. */
  plan: Plan
  calls: string[]
  finished: FinishInput[]
  deliver: Activities['deliver']
  record: Activities['record']
  command: Activities['command']
  finish: Activities['finish']
  onPlan: () => void
}

const aPlan = (given: Partial<Plan> = {}): Plan => ({
  final: false,
  round: 1,
  delay_ms: 0,
  expires_in_ms: 60_000,
  cancel_requested: false,
  deliveries: [{ name: 'a', protocol: 'REST', round: 1 }],
  lost_after_ms: 30_000,
  ...given,
})

/** Runs `distribute` against a stage; `during` may signal it. */
async function run(given: Partial<Stage>, during: (handle: RunHandle, stage: Stage) => Promise<void> = async () => {}) {
  const stage: Stage = {
    plan: aPlan(),
    calls: [],
    finished: [],
    deliver: async () => ({ recorded: true }),
    record: async () => ({ final: true }),
    command: async () => ({ accepted: true }),
    finish: async () => ({ again: false, status: 'completed', webhook_id: null }),
    onPlan: () => {},
    ...given,
  }
  const taskQueue = uniqueQueue()
  const activities: Activities = {
    async plan() {
      stage.calls.push('plan')
      stage.onPlan()
      return stage.plan
    },
    async deliver(input) {
      stage.calls.push(`deliver ${input.destination}`)
      return await stage.deliver(input)
    },
    async record(input) {
      stage.calls.push(`record ${input.destination}`)
      return await stage.record(input)
    },
    async command(input) {
      stage.calls.push(`${input.command} ${JSON.stringify(input.request ?? null)} in round ${input.round}`)
      return await stage.command(input)
    },
    async finish(input) {
      stage.calls.push(`finish ${input.cause}`)
      stage.finished.push(input)
      return await stage.finish(input)
    },
  }
  const shared = {
    connection: temporal.nativeConnection,
    maxHeartbeatThrottleInterval: '100 ms' as const,
    shutdownForceTime: '2 s' as const,
    shutdownGraceTime: '100 ms' as const,
  }
  const worker = await Worker.create({ ...shared, taskQueue, workflowBundle: await workflowBundle(), activities })
  const background = await Worker.create({
    ...shared,
    taskQueue: backgroundQueue(taskQueue),
    activities: {
      async sendWebhook() {
        stage.calls.push('callback')
      },
    },
  })
  const ref = { tenant_id: 'acme', distribution_id: uniqueQueue('dist') }
  const result = await worker.runUntil(
    background.runUntil(async () => {
      const handle = await temporal.client.workflow.start('distribute', {
        workflowId: distributionWorkflowId(ref),
        taskQueue,
        args: [ref],
        workflowExecutionTimeout: '30 s',
      })
      await during(handle, stage)
      return await handle.result()
    }),
  )
  return { ...stage, result }
}

type RunHandle = Awaited<ReturnType<TestWorkflowEnvironment['client']['workflow']['start']>>

const outcome = {
  attempt_id: 'a1',
  attempt_number: 1,
  status: 'success' as const,
  code: null,
  message: null,
  response_status: 200,
  response_body: null,
  retry_delay_ms: null,
  completed_at: new Date().toISOString(),
  gone: false,
  metadata: {},
}

/** Hangs until it is cancelled, as a send in flight does. */
async function hang(): Promise<never> {
  const context = Context.current()
  const heart = setInterval(() => context.heartbeat(), 50)
  try {
    return await context.cancelled
  } finally {
    clearInterval(heart)
  }
}

describe('distribute', () => {
  it('plans, delivers to every destination and ends', async () => {
    const { calls, result } = await run({
      plan: aPlan({ deliveries: ['a', 'b', 'c'].map((name) => ({ name, protocol: 'REST', round: 1 })) }),
    })
    expect(result).toEqual({ status: 'completed' })
    expect(calls[0]).toBe('plan')
    expect(calls.slice(1, 4).sort()).toEqual(['deliver a', 'deliver b', 'deliver c'])
    expect(calls.slice(4)).toEqual(['finish done'])
  })

  it('does nothing for a job that is final', async () => {
    const { calls } = await run({ plan: aPlan({ final: true, deliveries: [] }) })
    expect(calls).toEqual(['plan', 'finish done'])
  })

  it('a final failure of one destination does not affect the others', async () => {
    const { calls } = await run({
      plan: aPlan({ deliveries: ['a', 'b'].map((name) => ({ name, protocol: 'REST', round: 1 })) }),
      deliver: async ({ destination }) => {
        if (destination === 'a') throw ApplicationFailure.nonRetryable('no', 'REJECTED')
        return { recorded: true }
      },
      finish: async () => ({ again: false, status: 'failed', webhook_id: null }),
    })
    expect(calls).toContain('deliver b')
    expect(calls.at(-1)).toBe('finish done')
  })

  it('waits for the delay that the failure states, and ends at once after a final class', async () => {
    let turn = 0
    const starts: number[] = []
    await run({
      deliver: async () => {
        starts.push(Date.now())
        turn += 1
        if (turn < 3) throw ApplicationFailure.create({ message: 'busy', type: 'THROTTLED', nextRetryDelay: 300 })
        throw ApplicationFailure.nonRetryable('no', 'REJECTED')
      },
    })
    expect(starts).toHaveLength(3)
    for (let i = 1; i < 3; i += 1) expect(starts[i]! - starts[i - 1]!).toBeGreaterThanOrEqual(300)
  })

  it('writes an outcome that could not be recorded, without sending again', async () => {
    const { calls } = await run({ deliver: async () => ({ recorded: false, outcome }) })
    expect(calls).toEqual(['plan', 'deliver a', 'record a', 'finish done'])
  })

  it('sends again when the outcome that was recorded late asks for it', async () => {
    let turn = 0
    const { calls } = await run({
      deliver: async () => {
        turn += 1
        return turn === 1 ? { recorded: false, outcome: { ...outcome, status: 'retry' } } : { recorded: true }
      },
      record: async () => ({ final: false }),
    })
    expect(calls).toEqual(['plan', 'deliver a', 'record a', 'deliver a', 'finish done'])
  })

  it('a cancel in the row stops a send in flight, waits for it, and then ends', async () => {
    let stopped = false
    const { calls, finished } = await run(
      {
        deliver: async () => {
          try {
            return await hang()
          } catch (error) {
            expect(error).toBeInstanceOf(CancelledFailure)
            stopped = true
            throw error
          }
        },
        finish: async ({ cause }) => {
          expect(stopped).toBe(true)
          return { again: false, status: cause === 'cancelled' ? 'cancelled' : 'failed', webhook_id: null }
        },
      },
      async (handle, stage) => {
        await expect.poll(() => stage.calls).toContain('deliver a')
        stage.plan = aPlan({ cancel_requested: true })
        await handle.signal('cancel', { in_rows: true })
      },
    )
    expect(finished).toMatchObject([{ cause: 'cancelled', round: 1 }])
    expect(calls.filter((call) => call === 'deliver a')).toHaveLength(1)
  })

  it('a cancel signal changes nothing when the row is not cancelled', async () => {
    let release = () => {}
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    const { calls } = await run(
      {
        deliver: async () => {
          await released
          return { recorded: true }
        },
      },
      async (handle, stage) => {
        await expect.poll(() => stage.calls).toContain('deliver a')
        await handle.signal('cancel', { in_rows: true })
        await expect.poll(() => stage.calls.filter((call) => call === 'plan')).toHaveLength(2)
        release()
      },
    )
    expect(calls).toEqual(['plan', 'deliver a', 'plan', 'finish done'])
  })

  it('a cancellation from the Temporal UI ends the distribution as cancelled, and the run as completed', async () => {
    const { result, finished } = await run(
      { deliver: hang, finish: async () => ({ again: false, status: 'cancelled', webhook_id: null }) },
      async (handle, stage) => {
        await expect.poll(() => stage.calls).toContain('deliver a')
        await handle.cancel()
      },
    )
    expect(result).toEqual({ status: 'cancelled' })
    expect(finished).toMatchObject([{ cause: 'cancelled' }])
  })

  it('one in back-off is cancelled at once without running again', async () => {
    const { calls } = await run(
      {
        deliver: async () => {
          throw ApplicationFailure.create({ message: 'down', type: 'DESTINATION_UNAVAILABLE', nextRetryDelay: '20 s' })
        },
        finish: async () => ({ again: false, status: 'cancelled', webhook_id: null }),
      },
      async (handle, stage) => {
        await expect.poll(() => stage.calls).toContain('deliver a')
        stage.plan = aPlan({ cancel_requested: true })
        await handle.signal('cancel', { in_rows: true })
      },
    )
    expect(calls).toEqual(['plan', 'deliver a', 'plan', 'finish cancelled'])
  })

  it('an expiry stops the open deliveries', async () => {
    const { finished } = await run({
      plan: aPlan({ expires_in_ms: 300 }),
      deliver: hang,
      finish: async () => ({ again: false, status: 'failed', webhook_id: null }),
    })
    expect(finished).toMatchObject([{ cause: 'expired' }])
  })

  it('an expiry by a clock that is ahead is checked again, not forced', async () => {
    let turn = 0
    const { calls } = await run({
      plan: aPlan({ expires_in_ms: 100 }),
      deliver: hang,
      finish: async () => {
        turn += 1
        return turn === 1
          ? { again: true, status: 'processing', webhook_id: null }
          : { again: false, status: 'failed', webhook_id: null }
      },
    })
    expect(calls.filter((call) => call === 'finish expired')).toHaveLength(2)
  })

  it('waits for deliver_at with the plan made, then plans again and delivers', async () => {
    const { calls } = await run(
      { plan: aPlan({ delay_ms: 3_600_000, expires_in_ms: 7_200_000 }) },
      async (handle, stage) => {
        await expect.poll(() => stage.calls).toContain('plan')
        stage.plan = aPlan()
        await handle.signal('retry', { in_rows: true })
      },
    )
    expect(calls).toEqual(['plan', 'plan', 'deliver a', 'finish done'])
  })

  it('a retry signal starts reopened deliveries, and does not affect running ones', async () => {
    let release = () => {}
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    const both = ['a', 'b'].map((name) => ({ name, protocol: 'REST' as const, round: 1 }))
    const { calls, finished } = await run(
      {
        plan: aPlan({ deliveries: both }),
        deliver: async ({ destination }) => {
          if (destination === 'a') await released
          return { recorded: true }
        },
      },
      async (handle, stage) => {
        await expect.poll(() => stage.calls).toContain('deliver b')
        stage.plan = aPlan({ round: 2, deliveries: both })
        await handle.signal('retry', { in_rows: true })
        await expect.poll(() => stage.calls.filter((call) => call === 'deliver b')).toHaveLength(2)
        release()
      },
    )
    expect(calls.filter((call) => call === 'deliver a')).toHaveLength(1)
    expect(finished).toMatchObject([{ round: 2, cause: 'done' }])
  })

  it('a retry that arrives before the failure is known starts at once, whatever the other deliveries do', async () => {
    let tell = () => {}
    const told = new Promise<void>((resolve) => {
      tell = resolve
    })
    let release = () => {}
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    const both = ['a', 'b'].map((name) => ({ name, protocol: 'REST' as const, round: 1 }))
    const attemptsOfA = (stage: Stage) => stage.calls.filter((call) => call === 'deliver a').length
    let failed = false
    await run(
      {
        plan: aPlan({ deliveries: both }),
        deliver: async ({ destination }) => {
          if (destination === 'b') await released
          else if (!failed) {
            failed = true
            await told
            throw ApplicationFailure.nonRetryable('no', 'REJECTED')
          }
          return { recorded: true }
        },
      },
      async (handle, stage) => {
        await expect.poll(() => attemptsOfA(stage)).toBe(1)
        // The row of `a` is final and open again; its activity is still about to say that it failed.
        stage.plan = aPlan({ round: 2, deliveries: both.map((one) => (one.name === 'a' ? { ...one, round: 2 } : one)) })
        await handle.signal('retry', { in_rows: true })
        await expect.poll(() => stage.calls.filter((call) => call === 'plan')).toHaveLength(2)
        tell()
        await expect.poll(() => attemptsOfA(stage), { timeout: 10_000 }).toBe(2)
        release()
      },
    )
  })

  it('a retry that arrives while the run ends is found when the run rereads the row', async () => {
    let turn = 0
    const { calls } = await run({
      finish: async () => {
        turn += 1
        return turn === 1
          ? { again: true, status: 'processing', webhook_id: null }
          : { again: false, status: 'completed', webhook_id: null }
      },
    })
    expect(calls).toEqual(['plan', 'deliver a', 'finish done', 'plan', 'deliver a', 'finish done'])
  })

  it('starts the callback and does not wait for it', async () => {
    const { calls } = await run(
      { finish: async () => ({ again: false, status: 'completed', webhook_id: 'dist_1.1' }) },
      async (_, stage) => {
        await expect.poll(() => stage.calls).toContain('callback')
      },
    )
    expect(calls).toContain('finish done')
  })

  it('goes on with the ordinary activity when the local one does not come through', async () => {
    let turn = 0
    const { result, calls } = await run({
      onPlan: () => {
        turn += 1
        if (turn <= 2) throw new Error('the database is away')
      },
    })
    expect(result).toEqual({ status: 'completed' })
    expect(calls.filter((call) => call === 'plan')).toHaveLength(3)
  })

  it('plans again when a delivery with standbys has ended', async () => {
    const plans = [
      aPlan({
        deliveries: [
          { name: 'a', protocol: 'REST', round: 1, has_standby: true },
          { name: 'x', protocol: 'REST', round: 1 },
        ],
      }),
      aPlan({
        deliveries: [
          { name: 'b', protocol: 'REST', round: 1 },
          { name: 'x', protocol: 'REST', round: 1 },
        ],
      }),
    ]
    let endX = () => {}
    const xMayEnd = new Promise<void>((resolve) => {
      endX = resolve
    })
    const { calls } = await run({
      plan: plans[0]!,
      async deliver({ destination }) {
        if (destination === 'a') throw ApplicationFailure.nonRetryable('refused', 'REJECTED')
        // The other one is still under way: the turn does not wait for it.
        if (destination === 'b') endX()
        if (destination === 'x') await xMayEnd
        return { recorded: true }
      },
      onPlan() {
        if (this.calls!.filter((call) => call === 'plan').length > 1) this.plan = plans[1]!
      },
    })
    expect(calls.filter((call) => call !== 'finish done').sort()).toEqual([
      'deliver a',
      'deliver b',
      'deliver x',
      'plan',
      'plan',
    ])
  })

  it('stops waiting for a delivery that was ended from outside; the other deliveries go on', async () => {
    const both = ['a', 'b'].map((name) => ({ name, protocol: 'REST' as const, round: 1 }))
    let release: () => void = () => {}
    const { calls, result } = await run(
      {
        plan: aPlan({ deliveries: both }),
        deliver: async ({ destination }) => {
          if (destination === 'a') {
            throw ApplicationFailure.create({ message: 'away', type: 'THROTTLED', nextRetryDelay: '1 hour' })
          }
          await new Promise<void>((resolve) => {
            release = resolve
          })
          return { recorded: true }
        },
      },
      async (handle, stage) => {
        await expect.poll(() => stage.calls.filter((call) => call.startsWith('deliver')).length).toBe(2)
        stage.plan = aPlan({ deliveries: both.slice(1), ended: ['a'] })
        await handle.signal('internal_reread')
        await expect.poll(() => stage.calls.filter((call) => call === 'plan').length).toBe(2)
        release()
      },
    )
    expect(result).toEqual({ status: 'completed' })
    expect(calls.filter((call) => call.startsWith('deliver')).sort()).toEqual(['deliver a', 'deliver b'])
    expect(calls.at(-1)).toBe('finish done')
  })

  it('starts all of 450 destinations', async () => {
    const deliveries = Array.from({ length: 450 }, (_, i) => ({ name: `d${i}`, protocol: 'REST' as const, round: 1 }))
    const { calls } = await run({ plan: aPlan({ deliveries }) })
    expect(new Set(calls.filter((call) => call.startsWith('deliver '))).size).toBe(450)
  })

  it('two tenants’ runs side by side share nothing', async () => {
    const [one, two] = await Promise.all([
      run({
        deliver: hang,
        plan: aPlan({ expires_in_ms: 500 }),
        finish: async () => ({ again: false, status: 'failed', webhook_id: null }),
      }),
      run({}),
    ])
    expect(one.result).toEqual({ status: 'failed' })
    expect(two.result).toEqual({ status: 'completed' })
  })
})
