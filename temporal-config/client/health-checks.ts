// Health checks of destinations at intervals: one Temporal Schedule per destination, which starts `probe`. The rows
// say which schedules must exist; missing ones are created and surplus ones removed.
import { createHash } from 'node:crypto'
import {
  Client,
  type ConnectionLike,
  ScheduleAlreadyRunning,
  ScheduleNotFoundError,
  ScheduleOverlapPolicy,
} from '@temporalio/client'
import type { HealthCheckSchedule } from '../../workflows/messages.ts'
import { HEALTH_CHECK_PREFIX, healthCheckScheduleId } from '../../workflows/names.ts'

export interface HealthChecksOptions {
  connection: ConnectionLike
  namespace: string
  taskQueue: string
}

/** Creates, changes or removes the schedule of one destination; a pause that an operator set is kept. */
export async function setHealthCheck(options: HealthChecksOptions, check: HealthCheckSchedule): Promise<void> {
  const { schedule } = new Client({ connection: options.connection, namespace: options.namespace })
  const scheduleId = healthCheckScheduleId(check)
  if (check.interval_seconds === null) {
    await ignoreMissing(schedule.getHandle(scheduleId).delete())
    return
  }
  const specification = specificationOf(options, check, check.interval_seconds)
  try {
    await schedule.create({ scheduleId, ...specification, memo: { task_queue: options.taskQueue } })
  } catch (error) {
    if (!(error instanceof ScheduleAlreadyRunning)) throw error
    await schedule.getHandle(scheduleId).update(({ state }) => ({ ...specification, state }))
  }
}

/** Creates, changes or removes the schedules that `wanted` names; the others do not change. */
export async function reconcileHealthChecks(
  options: HealthChecksOptions,
  wanted: (HealthCheckSchedule & { interval_seconds: number })[],
): Promise<void> {
  const { schedule } = new Client({ connection: options.connection, namespace: options.namespace })
  const missing = new Map(wanted.map((check) => [healthCheckScheduleId(check), check]))
  for await (const { scheduleId, spec, memo } of schedule.list()) {
    // Several deployments may share a namespace: one that starts workflows on another queue is not ours.
    if (!scheduleId.startsWith(HEALTH_CHECK_PREFIX) || memo?.task_queue !== options.taskQueue) continue
    const check = missing.get(scheduleId)
    if (!check) await ignoreMissing(schedule.getHandle(scheduleId).delete())
    else if (spec?.intervals?.[0]?.every === check.interval_seconds * 1000) missing.delete(scheduleId)
  }
  for (const check of missing.values()) await setHealthCheck(options, check)
}

function specificationOf(options: HealthChecksOptions, check: HealthCheckSchedule, seconds: number) {
  const { tenant_id, destination_id } = check
  return {
    // Each schedule has its own offset within the interval, and jitter, so that the checks do not run all at once.
    spec: {
      intervals: [{ every: seconds * 1000, offset: offsetOf(destination_id, seconds) }],
      jitter: Math.min(30_000, seconds * 100),
    },
    action: {
      type: 'startWorkflow' as const,
      workflowType: 'probe',
      taskQueue: options.taskQueue,
      args: [{ tenant_id, destination_id, scheduled: true }],
      workflowId: healthCheckScheduleId(check),
      workflowExecutionTimeout: '1 min' as const,
    },
    policies: { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: '10 s' as const },
  }
}

function offsetOf(destinationId: string, seconds: number): number {
  return (createHash('sha256').update(destinationId).digest().readUInt32BE(0) % seconds) * 1000
}

async function ignoreMissing(done: Promise<unknown>): Promise<void> {
  try {
    await done
  } catch (error) {
    if (!(error instanceof ScheduleNotFoundError)) throw error
  }
}
