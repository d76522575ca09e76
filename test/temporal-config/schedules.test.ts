// Schedules that vanish with Temporal's data, in a namespace of their own: they have the same names everywhere.
import { randomUUID } from 'node:crypto'
import { Client } from '@temporalio/client'
import { msToTs } from '@temporalio/common/lib/time.js'
import type { TestWorkflowEnvironment } from '@temporalio/testing'
import pino from 'pino'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { keepSchedules, sweepIsScheduled } from '../../temporal-config/client/maintenance-schedules.ts'
import { MAINTENANCE_SCHEDULE_ID, SWEEP_SCHEDULE_ID } from '../../workflows/names.ts'
import { connectTemporal, uniqueQueue } from '../support/temporal.ts'

const FIRST_PASS = `${SWEEP_SCHEDULE_ID}/first`
const namespace = `schedules-${randomUUID()}`
let temporal: TestWorkflowEnvironment
let client: Client

beforeAll(async () => {
  temporal = await connectTemporal()
  const { connection } = temporal
  client = new Client({ connection, namespace })
  await connection.workflowService.registerNamespace({ namespace, workflowExecutionRetentionPeriod: msToTs('1 day') })
  // A new namespace is known everywhere only after a while.
  await vi.waitFor(() => sweepIsScheduled({ connection, namespace, taskQueue: 'any' }), { timeout: 20_000 })
})
afterAll(() => temporal.teardown())

const passRuns = async () => {
  const description = await client.workflow.getHandle(FIRST_PASS).describe()
  return description.status.name === 'RUNNING' ? description.runId : undefined
}

describe('the schedules', () => {
  it('come back when Temporal has lost them, with a new pass over every open distribution', async () => {
    const ending = new AbortController()
    const lost = vi.fn(async () => {})
    const options = { connection: client.connection, namespace, taskQueue: uniqueQueue(), lookEveryMs: 50, lost }
    const kept = keepSchedules(options, pino({ level: 'silent' }), ending.signal)

    const first = await vi.waitFor(async () => {
      const run = await passRuns()
      expect(run).toBeDefined()
      return run
    }, 10_000)
    expect(await sweepIsScheduled(options)).toBe(true)
    expect(lost).not.toHaveBeenCalled()

    await client.workflow.getHandle(FIRST_PASS).terminate()
    for (const id of [SWEEP_SCHEDULE_ID, MAINTENANCE_SCHEDULE_ID]) await client.schedule.getHandle(id).delete()

    await vi.waitFor(async () => {
      const again = await passRuns()
      expect(again).toBeDefined()
      expect(again).not.toBe(first)
    }, 10_000)
    expect(lost).toHaveBeenCalledOnce()
    expect(await sweepIsScheduled(options)).toBe(true)
    ending.abort()
    await kept
  })
})
