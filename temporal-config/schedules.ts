// What happens again and again. Schedules live in Temporal's data and vanish with it, so they are ensured at every
// start of a worker and every five minutes.
import { Client, type ConnectionLike, ScheduleAlreadyRunning, ScheduleOverlapPolicy } from '@temporalio/client'
import { MAINTENANCE_SCHEDULE_ID, SWEEP_SCHEDULE_ID } from './names.ts'

export interface SchedulesOptions {
  connection: ConnectionLike
  namespace: string
  taskQueue: string
  /** Tests sweep more often. */
  sweepEvery?: `${number} s`
}

/** Creates the schedules; one that exists gets the present specification and keeps a pause that somebody set. */
export async function ensureSchedules(options: SchedulesOptions): Promise<void> {
  const { connection, namespace, taskQueue, sweepEvery = '30 s' } = options
  const { schedule } = new Client({ connection, namespace })
  const wanted = [
    { scheduleId: SWEEP_SCHEDULE_ID, workflowType: 'sweep', args: [{ all: false }], every: sweepEvery },
    { scheduleId: MAINTENANCE_SCHEDULE_ID, workflowType: 'maintain', args: [], every: '1 hour' as const },
  ]
  for (const { scheduleId, workflowType, args, every } of wanted) {
    const specification = {
      spec: { intervals: [{ every }] },
      action: { type: 'startWorkflow' as const, workflowType, taskQueue, args, workflowId: scheduleId },
      policies: { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: '1 min' as const },
    }
    try {
      await schedule.create({ scheduleId, ...specification })
    } catch (error) {
      if (!(error instanceof ScheduleAlreadyRunning)) throw error
      await schedule.getHandle(scheduleId).update(({ state }) => ({ ...specification, state }))
    }
  }
}

/** One pass over every open job and one maintenance, now: Temporal's data, or the calendar, may be new. */
export async function startFirstPass(options: SchedulesOptions): Promise<void> {
  const { workflow } = new Client({ connection: options.connection, namespace: options.namespace })
  const { taskQueue } = options
  const start = { taskQueue, workflowIdConflictPolicy: 'USE_EXISTING' } as const
  await workflow.start('sweep', { ...start, workflowId: `${SWEEP_SCHEDULE_ID}/first`, args: [{ all: true }] })
  await workflow.start('maintain', { ...start, workflowId: `${MAINTENANCE_SCHEDULE_ID}/first`, args: [] })
}
