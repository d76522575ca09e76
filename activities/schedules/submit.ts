// `submitScheduled`: submits the distribution of one scheduled time. `syncSchedule`: updates Temporal's schedule from our
// row.

import { jobId } from '../../db/distributions/job-id.ts'
import { type DataTypeCheck, peekJob, readSurroundings, type SubmittedJob } from '../../db/distributions/jobs.ts'
import { type Db, withTenant } from '../../db/pool.ts'
import {
  accountSchedule,
  findSchedule,
  insertScheduledJob,
  missedText,
  noteInSync,
  noteProblem,
  type ScheduleRow,
  syncLater,
} from '../../db/schedules/schedules.ts'
import { isFinal } from '../../db/states.ts'
import { writeAudit } from '../../db/tenants/audit.ts'
import { tenantIsActive } from '../../db/tenants/tenants.ts'
import { insertEvent } from '../../db/webhooks/webhooks.ts'
import type { Runs } from '../../workflows/client.ts'
import type { DistributionRef, Scheduled, ScheduledInput, ScheduleRef } from '../../workflows/messages.ts'
import { unfitness } from '../delivery/payload-fit.ts'
import type { ActivityDeps } from '../deps.ts'
import { accountFor } from './missed-times.ts'
import { isLeftOut, repeatedTime } from './times.ts'

/** When to try again after Temporal rejected a schedule; it would reject the same schedule again at once. */
const REFUSED_SECONDS = 600

/** The result of a payload check against one version of its data type. */
interface Fit {
  state: string
  problem: string | null
}

/**
 * Idempotent: schedule and time identify the distribution. A schedule that was paused or deleted meanwhile creates
 * none. A distribution that would be rejected if it were submitted now is not created either; then the schedule's row
 * says why.
 */
export async function submitScheduled(deps: ActivityDeps, input: ScheduledInput): Promise<Scheduled> {
  const { tenant_id, schedule_id } = input
  let fit: Fit | undefined
  for (;;) {
    const made = await withTenant(deps.pool, tenant_id, (db) => make(db, input, fit))
    if (made.kind === 'nothing') return { distribution_id: null, wait: false }
    if (made.kind === 'check') {
      // Outside of any transaction, because a check against a tenant's schema may be slow.
      fit = { state: made.check.state, problem: await unfitness(deps.shaper, tenant_id, made.check, made.row) }
      continue
    }
    if (made.kind === 'problem') {
      deps.logger.warn({ tenant_id, schedule_id, problem: made.problem }, 'a schedule created no distribution')
      return { distribution_id: null, wait: false }
    }
    const { job, overlap } = made
    const ref = { tenant_id, distribution_id: job.distribution_id }
    await deps
      .runs()
      ?.start(ref, job)
      .catch((error: unknown) => {
        deps.logger.warn(
          { err: error, ...ref },
          'the distribution of a schedule was not started; the sweep will find it',
        )
      })
    return { distribution_id: job.distribution_id, wait: overlap !== 'allow_all' }
  }
}

type Made =
  | { kind: 'nothing' }
  /** The payload must be checked against this first. */
  | { kind: 'check'; check: DataTypeCheck; row: ScheduleRow }
  | { kind: 'problem'; problem: string }
  | { kind: 'made'; job: SubmittedJob; overlap: ScheduleRow['overlap'] }

async function make(
  db: Db,
  { tenant_id, schedule_id, at, begun }: ScheduledInput,
  fit: Fit | undefined,
): Promise<Made> {
  // Locked, because each run reports the times that were missed before it, and after an outage several runs start at once.
  const row = await findSchedule(db, schedule_id, true)
  const time = Date.parse(at)
  if (!row || row.deleted || row.paused || isLeftOut(row, time)) return { kind: 'nothing' }
  const { data_type } = row.template
  const { check, catalogued, requires_catalogued } = await readSurroundings(db, tenant_id, data_type)
  let problem: string | null = null
  if (!(await tenantIsActive(db, tenant_id))) problem = 'The tenant is suspended'
  else if (requires_catalogued && !catalogued) problem = `data_type ${data_type} is not in the catalogue of data types`
  else if (check && fit?.state !== check.state) return { kind: 'check', check, row }
  else if (check) problem = fit?.problem ?? null
  await note(db, row, problem)
  if (await isTooLate(db, row, time, begun)) return { kind: 'nothing' }
  if (problem !== null) return { kind: 'problem', problem }
  const by = { request_id: `schedule/${row.id}/${at}`, actor: `schedule:${row.id}` }
  return {
    kind: 'made',
    job: await insertScheduledJob(db, row, at, by, undefined, onceFor(row, at)),
    overlap: row.overlap,
  }
}

/** When clocks show a time twice, Temporal runs it once in some time zones and twice in others; it must be one distribution. */
function onceFor(row: ScheduleRow, at: string): string {
  const repeated = repeatedTime(row, Date.parse(at))
  return repeated ? `${repeated.shown} ${row.time_zone}` : at
}

/** Reports the missed times. Returns whether the present time is itself too old for a distribution. */
async function isTooLate(db: Db, row: ScheduleRow, time: number, begun: string | undefined): Promise<boolean> {
  const { accounted, missed, tooLate } = accountFor(
    row,
    time,
    row.now.getTime(),
    begun === undefined ? undefined : Date.parse(begun),
  )
  const told = await accountSchedule(db, row.id, accounted, missed)
  if (told) await tell(db, row, 'schedule.missed', { ...told, summary: missedText(told) })
  return tooLate
}

/** Sends an operator event for a new problem, once. */
async function note(db: Db, row: ScheduleRow, problem: string | null): Promise<void> {
  if (!(await noteProblem(db, row.id, problem)) || problem === null) return
  await tell(db, row, 'schedule.failing', { reason: problem })
}

async function tell(
  db: Db,
  { tenant_id, id, name }: ScheduleRow,
  event: 'schedule.failing' | 'schedule.missed',
  details: Record<string, unknown>,
): Promise<void> {
  await insertEvent(db, tenant_id, event, { schedule_id: id, schedule: name, ...details })
  await writeAudit(db, {
    tenant_id,
    actor: 'distributor',
    action: event,
    resource_type: 'schedule',
    resource_id: id,
    details: { name, ...details },
  })
}

export async function hasEnded(deps: ActivityDeps, { tenant_id, distribution_id }: DistributionRef): Promise<boolean> {
  const job = await withTenant(deps.pool, tenant_id, (db) => peekJob(db, jobId(distribution_id)))
  return job === null || isFinal(job.status)
}

/** Milliseconds until the next check: short at first, and at most half a minute. */
export function endPollDelay(attempt: number): number {
  return Math.round(Math.min(30_000, 500 * 1.5 ** Math.min(attempt - 1, 20)))
}

/** Updates Temporal's schedule from the row. If Temporal rejects it, the row stores the problem. */
export async function syncSchedule(
  { pool }: Pick<ActivityDeps, 'pool'>,
  runs: Pick<Runs, 'setSchedule'>,
  { tenant_id, schedule_id }: ScheduleRef,
): Promise<void> {
  const row = await withTenant(pool, tenant_id, (db) => findSchedule(db, schedule_id))
  if (!row) return
  const { refused } = await runs.setSchedule(row)
  await withTenant(pool, tenant_id, async (db) => {
    if (refused === null) return await noteInSync(db, row.id, row.version)
    await note(db, row, refused)
    await syncLater(db, row.id, REFUSED_SECONDS)
  })
}
