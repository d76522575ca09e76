// The tenants' schedules as Temporal Schedules. The rows say which ones must exist.

import {
  type Backfill,
  Client,
  type ConnectionLike,
  isGrpcServiceError,
  ScheduleAlreadyRunning,
  ScheduleNotFoundError,
  ScheduleOverlapPolicy,
} from '@temporalio/client'
import { isEitherDay } from '../../activities/schedules/cron.ts'
import { windowMs } from '../../activities/schedules/missed-times.ts'
import { inUtc, isLeftOut, repeatedTime, timesBetween } from '../../activities/schedules/times.ts'
import { now } from '../../db/clock.ts'
import type { ScheduleRow } from '../../db/schedules/schedules.ts'
import type { Overlap } from '../../db/states.ts'
import type { ScheduleSpec, ScheduleState, ScheduleTimes } from '../../workflows/client.ts'
import type { ScheduleRef } from '../../workflows/messages.ts'
import { scheduleIdOf } from '../../workflows/names.ts'

/** The gRPC status code. */
const INVALID_ARGUMENT = 3

export interface ScheduleOptions {
  connection: ConnectionLike
  namespace: string
  taskQueue: string
}

const OVERLAP: Record<Overlap, ScheduleOverlapPolicy> = {
  skip: ScheduleOverlapPolicy.SKIP,
  buffer_one: ScheduleOverlapPolicy.BUFFER_ONE,
  buffer_all: ScheduleOverlapPolicy.BUFFER_ALL,
  allow_all: ScheduleOverlapPolicy.ALLOW_ALL,
}

/**
 * The note of a pause that comes from a row. A pause with another note was set in Temporal, and is kept until it is
 * ended.
 */
const NOTE = 'paused over the API'

function refOf({ tenant_id, id }: Pick<ScheduleRow, 'tenant_id' | 'id'>): ScheduleRef {
  return { tenant_id, schedule_id: id }
}

/**
 * Creates, changes or removes the schedule according to its row. `refused` is the reason when Temporal rejects it. A
 * pause that was set in Temporal is kept, unless `resume` is requested.
 */
export async function setSchedule(
  options: ScheduleOptions,
  row: ScheduleSpec,
  resume = false,
): Promise<{ refused: string | null }> {
  try {
    await follow(options, row, resume)
    return { refused: null }
  } catch (error) {
    const refused = refusalOf(error)
    if (refused === undefined) throw error
    return { refused: `Temporal refuses the schedule: ${refused}` }
  }
}

/**
 * The SDK throws a TypeError for a specification that the server refuses, and a wrapped error for any other refusal.
 */
function refusalOf(error: unknown): string | undefined {
  if (error instanceof TypeError) return error.message
  const { cause } = error as Error
  return isGrpcServiceError(cause) && cause.code === INVALID_ARGUMENT ? cause.details : undefined
}

async function follow(options: ScheduleOptions, row: ScheduleSpec, resume: boolean): Promise<void> {
  const { schedule } = new Client({ connection: options.connection, namespace: options.namespace })
  const ref = refOf(row)
  const scheduleId = scheduleIdOf(ref)
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
      ...(row.cron === null
        ? { timezone: row.time_zone, intervals: [{ every: (row.interval_seconds ?? 0) * 1000 }] }
        : cronOf(row.cron, row.time_zone)),
    },
    action: {
      type: 'startWorkflow' as const,
      workflowType: 'scheduled',
      taskQueue: options.taskQueue,
      args: [ref],
      workflowId: scheduleId,
      staticSummary: row.name,
      priority: { fairnessKey: row.tenant_id },
    },
    policies: { overlap: OVERLAP[row.overlap], catchupWindow: windowMs(row, now()) },
  }
  const ours = { paused: row.paused, note: row.paused ? NOTE : '' }
  const memo = { task_queue: options.taskQueue }
  try {
    await schedule.create({ scheduleId, ...specification, memo, state: { ...ours, ...toMakeUp(row) } })
  } catch (error) {
    if (!(error instanceof ScheduleAlreadyRunning)) throw error
    await schedule.getHandle(scheduleId).update(({ state }) => {
      const theirs = state.paused && state.note !== NOTE && !row.paused && !resume
      return { ...specification, state: theirs ? state : { ...state, ...ours } }
    })
  }
}

/**
 * A new schedule in Temporal does not contain earlier times. There are some if Temporal lost its data, or did not answer
 * when the schedule was created.
 */
function toMakeUp(row: ScheduleSpec): { backfill?: Backfill[] } {
  const end = now()
  const start = Math.max(row.accounted_at.getTime(), end - windowMs(row, end))
  if (row.paused || timesBetween(row, start, end, 1).length === 0) return {}
  return { backfill: [{ start: new Date(start + 1), end: new Date(end), overlap: OVERLAP[row.overlap] }] }
}

function cronOf(cron: string, zone: string) {
  const utc = inUtc(cron, zone)
  return utc === null
    ? { timezone: zone, cronExpressions: expressionsOf(cron) }
    : { timezone: 'UTC', cronExpressions: [utc] }
}

/**
 * In cron, if days of the month and days of the week are both given, a day that matches either is enough. Temporal
 * requires both to match within one expression, so it gets two expressions.
 */
function expressionsOf(cron: string): string[] {
  const [minute, hour, day, month, weekday] = cron.trim().split(/\s+/)
  if (!isEitherDay(day!, weekday!)) return [cron]
  return [`${minute} ${hour} ${day} ${month} *`, `${minute} ${hour} * ${month} ${weekday}`]
}

/**
 * Creates the schedules that Temporal has lost or an operator deleted there. `living`: the schedules that must exist.
 */
export async function restoreSchedules(
  options: ScheduleOptions,
  living: ScheduleRef[],
  restore: (ref: ScheduleRef) => Promise<void>,
): Promise<void> {
  if (living.length === 0) return
  const { schedule } = new Client({ connection: options.connection, namespace: options.namespace })
  const missing = new Map(living.map((ref) => [scheduleIdOf(ref), ref]))
  for await (const { scheduleId } of schedule.list()) missing.delete(scheduleId)
  for (const ref of missing.values()) await restore(ref)
}

/** `next` without the times that create no distribution: repeated and skipped times when the clocks change. */
function withoutRepeats(timed: ScheduleTimes, taken: readonly Date[], next: readonly Date[]): Date[] {
  const before = new Set([...taken, ...next].map((time) => time.getTime()))
  return next.filter((date) => {
    const time = date.getTime()
    const repeated = repeatedTime(timed, time)
    if (repeated && repeated.first < time && before.has(repeated.first)) return false
    return !isLeftOut(timed, time)
  })
}

/** The state of the schedule in Temporal; without next times if it does not exist there yet. */
export async function describeSchedule(options: ScheduleOptions, row: ScheduleTimes): Promise<ScheduleState> {
  const { schedule } = new Client({ connection: options.connection, namespace: options.namespace })
  try {
    const { info, state } = await schedule.getHandle(scheduleIdOf(refOf(row))).describe()
    const taken = info.recentActions.map(({ scheduledAt }) => scheduledAt)
    return { paused: state.paused, next_runs: state.paused ? [] : withoutRepeats(row, taken, info.nextActionTimes) }
  } catch (error) {
    if (error instanceof ScheduleNotFoundError) return { paused: false, next_runs: [] }
    throw error
  }
}
