// `fire`: the distribution of one time of a schedule. And the schedules themselves, which Temporal keeps by our rows.
import { writeAudit } from '../db/audit.ts'
import { jobId } from '../db/job-id.ts'
import { type DataTypeCheck, peekJob, readSurroundings, type SubmittedJob } from '../db/jobs.ts'
import { insertEvent } from '../db/operator-events.ts'
import { type Db, withTenant } from '../db/pool.ts'
import {
  findRecurring,
  fireRecurring,
  noteInSync,
  noteProblem,
  type RecurringRow,
  syncLater,
  tenantIsActive,
} from '../db/recurring.ts'
import type { Runs } from '../temporal-config/runs.ts'
import type { DistributionRef, Fired, FireInput, RecurringRef } from '../workflows/messages.ts'
import type { ActivityDeps } from './deps.ts'
import { unfitness } from './payload-fit.ts'

/** What Temporal has refused once it will not take the next minute. */
const REFUSED_SECONDS = 600

/** How a payload was found to be, under one state of its data type. */
interface Fit {
  state: string
  problem: string | null
}

/**
 * Idempotent: the time names the distribution. One that was paused or deleted meanwhile makes none, and neither does one
 * that would be refused if it were submitted now: then its row says why.
 */
export async function fire(deps: ActivityDeps, { tenant_id, schedule_id, at }: FireInput): Promise<Fired> {
  let fit: Fit | undefined
  for (;;) {
    const made = await withTenant(deps.pool, tenant_id, (db) => make(db, { tenant_id, schedule_id, at }, fit))
    if (made.kind === 'nothing') return { distribution_id: null, wait: false }
    if (made.kind === 'check') {
      // Outside of any transaction: a tenant's schema may take its time.
      fit = { state: made.check.state, problem: await unfitness(deps.shaper, tenant_id, made.check, made.row) }
      continue
    }
    if (made.kind === 'problem') {
      deps.logger.warn({ tenant_id, schedule_id, problem: made.problem }, 'a schedule made no distribution')
      return { distribution_id: null, wait: false }
    }
    const { job, overlap } = made
    const ref = { tenant_id, distribution_id: job.distribution_id }
    await deps
      .runs()
      ?.start(ref, job)
      .catch((error: unknown) => {
        deps.logger.warn({ err: error, ...ref }, 'a recurring distribution was not started; the sweep will find it')
      })
    return { distribution_id: job.distribution_id, wait: overlap !== 'allow_all' }
  }
}

type Made =
  | { kind: 'nothing' }
  /** Its payload is to be checked by this first. */
  | { kind: 'check'; check: DataTypeCheck; row: RecurringRow }
  | { kind: 'problem'; problem: string }
  | { kind: 'made'; job: SubmittedJob; overlap: RecurringRow['overlap'] }

async function make(db: Db, { tenant_id, schedule_id, at }: FireInput, fit: Fit | undefined): Promise<Made> {
  const row = await findRecurring(db, schedule_id)
  if (!row || row.deleted || row.paused) return { kind: 'nothing' }
  const { data_type } = row.template
  const { check, catalogued, requires_catalogued } = await readSurroundings(db, tenant_id, data_type)
  let problem: string | null = null
  if (!(await tenantIsActive(db, tenant_id))) problem = 'The tenant is suspended'
  else if (requires_catalogued && !catalogued) problem = `data_type ${data_type} is not in the catalogue of data types`
  else if (check && fit?.state !== check.state) return { kind: 'check', check, row }
  else if (check) problem = fit?.problem ?? null
  await note(db, row, problem)
  if (problem !== null) return { kind: 'problem', problem }
  const by = { request_id: `schedule/${row.id}/${at}`, actor: `schedule:${row.id}` }
  return { kind: 'made', job: await fireRecurring(db, row, at, by), overlap: row.overlap }
}

/** Of a problem that is new its operator hears once. */
async function note(db: Db, { tenant_id, id, name }: RecurringRow, problem: string | null): Promise<void> {
  if (!(await noteProblem(db, id, problem)) || problem === null) return
  await insertEvent(db, tenant_id, 'schedule.failing', { schedule_id: id, schedule: name, reason: problem })
  await writeAudit(db, {
    tenant_id,
    actor: 'distributor',
    action: 'schedule.failing',
    resource_type: 'schedule',
    resource_id: id,
    details: { name, reason: problem },
  })
}

export async function isFinal(deps: ActivityDeps, { tenant_id, distribution_id }: DistributionRef): Promise<boolean> {
  const job = await withTenant(deps.pool, tenant_id, (db) => peekJob(db, jobId(distribution_id)))
  return job === null || (job.status !== 'pending' && job.status !== 'processing')
}

/** In milliseconds: soon for a short one, and no later than half a minute after the end of one that lasts for days. */
export function lookAgainAfter(attempt: number): number {
  return Math.round(Math.min(30_000, 500 * 1.5 ** Math.min(attempt - 1, 20)))
}

/** Brings Temporal in line with the row as it is now. What Temporal refuses, the row says. */
export async function syncRecurring(
  { pool }: Pick<ActivityDeps, 'pool'>,
  runs: Pick<Runs, 'setRecurring'>,
  { tenant_id, schedule_id }: RecurringRef,
): Promise<void> {
  const row = await withTenant(pool, tenant_id, (db) => findRecurring(db, schedule_id))
  if (!row) return
  const refused = await runs.setRecurring(row)
  await withTenant(pool, tenant_id, async (db) => {
    if (refused === null) return await noteInSync(db, row.id, row.version)
    await note(db, row, refused)
    await syncLater(db, row.id, REFUSED_SECONDS)
  })
}
