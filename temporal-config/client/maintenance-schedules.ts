// The schedules of the sweep and of the maintenance. They are part of Temporal's data and are lost with it, so they are
// created again at every start of a worker and every five minutes; whether they exist is checked more often.
import { setTimeout as sleep } from 'node:timers/promises'
import {
  Client,
  type ConnectionLike,
  ScheduleAlreadyRunning,
  ScheduleNotFoundError,
  ScheduleOverlapPolicy,
} from '@temporalio/client'
import type { Logger } from 'pino'
import { MAINTENANCE_SCHEDULE_ID, SWEEP_SCHEDULE_ID } from '../../workflows/names.ts'

const ENSURE_EVERY_MS = 5 * 60_000
/** Much less than the default life of a distribution, which is 5 minutes. */
const LOOK_EVERY_MS = 30_000
const AGAIN_AFTER_MS = 5000

export interface SchedulesOptions {
  connection: ConnectionLike
  namespace: string
  taskQueue: string
  /** Tests sweep more often. */
  sweepEvery?: `${number} s`
}

/** Creates the schedules. An existing one gets the current specification and keeps a pause that an operator set. */
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

/** Starts one pass over every open job and one maintenance now: Temporal may have lost its data, or the month may be new. */
export async function startFirstPass(options: SchedulesOptions): Promise<void> {
  const { workflow } = new Client({ connection: options.connection, namespace: options.namespace })
  const { taskQueue } = options
  const start = { taskQueue, workflowIdConflictPolicy: 'USE_EXISTING' } as const
  await workflow.start('sweep', { ...start, workflowId: `${SWEEP_SCHEDULE_ID}/first`, args: [{ all: true }] })
  await workflow.start('maintain', { ...start, workflowId: `${MAINTENANCE_SCHEDULE_ID}/first`, args: [] })
}

/** Whether the sweep's schedule exists. If not, Temporal has lost its data, or an operator deleted the schedule. */
export async function sweepIsScheduled({ connection, namespace }: SchedulesOptions): Promise<boolean> {
  const { schedule } = new Client({ connection, namespace })
  try {
    await schedule.getHandle(SWEEP_SCHEDULE_ID).describe()
    return true
  } catch (error) {
    if (error instanceof ScheduleNotFoundError) return false
    throw error
  }
}

/**
 * Keeps the schedules until `signal` aborts. The first pass starts at once, and another one whenever the schedules were
 * lost: then the runs are lost too, and `lost` is called before anything is started.
 */
export async function keepSchedules(
  options: SchedulesOptions & {
    lookEveryMs?: number
    lost: () => Promise<unknown>
    /** Creates the other schedules that the rows require. */
    alsoEnsure?: () => Promise<unknown>
  },
  logger: Logger,
  signal: AbortSignal,
): Promise<void> {
  const { lookEveryMs = LOOK_EVERY_MS, lost } = options
  const pause = (ms: number) => sleep(ms, undefined, { signal, ref: false }).catch(() => {})
  let passIsDue = true
  for (let ensured = 0; !signal.aborted; ) {
    try {
      if (!passIsDue && !(await sweepIsScheduled(options))) {
        logger.warn(
          'the schedules are gone, and it seems all of the data of Temporal: looking at every open distribution',
        )
        await lost()
        passIsDue = true
      }
      if (passIsDue || performance.now() - ensured > ENSURE_EVERY_MS) {
        await ensureSchedules(options)
        await options.alsoEnsure?.()
        ensured = performance.now()
      }
      if (passIsDue) await startFirstPass(options)
      passIsDue = false
      await pause(lookEveryMs)
    } catch (error) {
      if (!signal.aborted) logger.warn({ err: error }, 'the schedules could not be ensured, trying again')
      await pause(AGAIN_AFTER_MS)
    }
  }
}
