// Finds schedules, updates Temporal from their rows, and shows them.
import type { Db } from '../../db/pool.ts'
import { findSchedule, missedText, noteInSync, noteProblem, type ScheduleRow } from '../../db/schedules/schedules.ts'
import type { Request } from '../http/endpoint.ts'
import { notFound } from '../http/errors.ts'
import { JsonText } from '../http/exact-json.ts'

/** @throws ApiError 404 */
export async function find(db: Db, idOrName: string): Promise<ScheduleRow> {
  const row = await findSchedule(db, idOrName)
  if (!row || row.deleted) throw notFound('schedule')
  return row
}

/** Updates the schedule in Temporal. If Temporal does not answer, the sweep does it later. */
export async function follow({ deps, transaction }: Request, id: string, resume = false): Promise<void> {
  const row = await transaction((db) => findSchedule(db, id))
  if (!row) return
  const ref = { tenant_id: row.tenant_id, schedule_id: row.id }
  const answer = await deps.dispatcher.ask('schedule', ref, (runs) => runs.setSchedule(row, resume))
  if (answer === null) return
  await transaction(async (db) => {
    if (answer.refused === null) await noteInSync(db, row.id, row.version)
    else await noteProblem(db, row.id, answer.refused)
  })
}

/** A single schedule with its next run times. It may also have been paused in Temporal. */
export async function shownAlone({ deps }: Request, row: ScheduleRow) {
  const ref = { tenant_id: row.tenant_id, schedule_id: row.id }
  const there = await deps.dispatcher.ask('next times', ref, (runs) => runs.describeSchedule(row))
  const paused = row.paused || there?.paused === true
  const next_runs = there?.next_runs.map((text) => new Date(text)) ?? null
  return { ...shown(row), paused, next_runs, submission: new JsonText(row.submission) }
}

/** Updates Temporal after a change, and shows the schedule. */
export async function followed(request: Request, { id }: ScheduleRow, resume?: boolean) {
  await follow(request, id, resume)
  return await shownAlone(request, await request.transaction((db) => find(db, id)))
}

export function shown(row: ScheduleRow) {
  const { submission: _s, payload_text: _p, metadata_text: _m, template: _t, tenant_id: _i, deleted: _d, ...rest } = row
  const { accounted_at: _a, last_completed_at: _l, now: _n, missed, ...shown } = rest
  if (shown.problem !== null || missed === null) return shown
  return { ...shown, problem: missedText(missed), problem_at: new Date(missed.at) }
}

export function entry(action: string, { id, name, version }: ScheduleRow, details: Record<string, unknown> = {}) {
  return { action, resource_type: 'schedule', resource_id: id, details: { name, version, ...details } }
}
