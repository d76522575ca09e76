// Recurring distributions as Temporal Schedules. The rows say what there should be.
import {
  Client,
  type ConnectionLike,
  ScheduleAlreadyRunning,
  ScheduleNotFoundError,
  ScheduleOverlapPolicy,
} from '@temporalio/client'
import type { RecurringRow } from '../db/recurring.ts'
import type { Overlap } from '../db/states.ts'
import type { RecurringRef } from '../workflows/messages.ts'
import { recurringScheduleId } from './names.ts'

export interface RecurringOptions {
  connection: ConnectionLike
  namespace: string
  taskQueue: string
}

export type RecurringSchedule = Pick<
  RecurringRow,
  | 'id'
  | 'tenant_id'
  | 'name'
  | 'cron'
  | 'interval_seconds'
  | 'time_zone'
  | 'overlap'
  | 'catchup_seconds'
  | 'paused'
  | 'deleted'
>

const OVERLAP: Record<Overlap, ScheduleOverlapPolicy> = {
  skip: ScheduleOverlapPolicy.SKIP,
  buffer_one: ScheduleOverlapPolicy.BUFFER_ONE,
  buffer_all: ScheduleOverlapPolicy.BUFFER_ALL,
  allow_all: ScheduleOverlapPolicy.ALLOW_ALL,
}

/** Creates, changes or removes the schedule, as the row is now. */
export async function setRecurring(options: RecurringOptions, row: RecurringSchedule): Promise<void> {
  const { schedule } = new Client({ connection: options.connection, namespace: options.namespace })
  const ref = { tenant_id: row.tenant_id, schedule_id: row.id }
  const scheduleId = recurringScheduleId(ref)
  if (row.deleted) {
    await schedule
      .getHandle(scheduleId)
      .delete()
      .catch((error: unknown) => {
        if (!(error instanceof ScheduleNotFoundError)) throw error
      })
    return
  }
  const specification = {
    spec: {
      timezone: row.time_zone,
      ...(row.cron === null
        ? { intervals: [{ every: (row.interval_seconds ?? 0) * 1000 }] }
        : { cronExpressions: [row.cron] }),
    },
    action: {
      type: 'startWorkflow' as const,
      workflowType: 'recur',
      taskQueue: options.taskQueue,
      args: [ref],
      workflowId: scheduleId,
      staticSummary: row.name,
    },
    policies: { overlap: OVERLAP[row.overlap], catchupWindow: row.catchup_seconds * 1000 },
  }
  const note = row.paused ? 'paused over the API' : ''
  try {
    await schedule.create({ scheduleId, ...specification, state: { paused: row.paused, note } })
  } catch (error) {
    if (!(error instanceof ScheduleAlreadyRunning)) throw error
    await schedule
      .getHandle(scheduleId)
      .update(({ state }) => ({ ...specification, state: { ...state, paused: row.paused, note } }))
  }
}

/** The next times, as Temporal has them; none when it does not know the schedule yet. */
export async function nextRuns(options: RecurringOptions, ref: RecurringRef): Promise<Date[]> {
  const { schedule } = new Client({ connection: options.connection, namespace: options.namespace })
  try {
    const { info } = await schedule.getHandle(recurringScheduleId(ref)).describe()
    return info.nextActionTimes
  } catch (error) {
    if (error instanceof ScheduleNotFoundError) return []
    throw error
  }
}
