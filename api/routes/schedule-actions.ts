// Actions on a schedule: pause, resume, and run it now.
import { createHash, randomUUID } from 'node:crypto'
import type { Db } from '../../db/pool.ts'
import { insertScheduledJob, pauseSchedule, type ScheduleRow } from '../../db/schedules/schedules.ts'
import { endpoint, type Request } from '../http/endpoint.ts'
import { type CheckedPayload, checkPayload, NotChecked } from '../rules/catalogue-check.ts'
import { refuseUnfit } from '../schedules/content.ts'
import { entry, find, followed } from '../schedules/following.ts'
import { schedule, scheduleParams } from '../schemas/schedules.ts'
import { accepted } from '../schemas/submission.ts'
import { keyHeader } from '../submission/idempotency.ts'
import { acceptedAnswer } from '../submission/submit.ts'

const tag = 'Schedules'
const MISSING = { 404: { description: 'The tenant has no such schedule' } }
const ONE = { 200: { description: 'The schedule', schema: schedule } }

export const pause = endpoint({
  method: 'post',
  path: '/distribution/schedules/{id}/pause',
  operation: 'pauseSchedule',
  tag,
  summary: 'Pause a schedule',
  role: 'operator',
  params: scheduleParams,
  answers: { ...ONE, ...MISSING },
}).handle(async (request) => {
  return { status: 200, body: await setPaused(request, request.params.id, true) }
})

export const resume = endpoint({
  method: 'post',
  path: '/distribution/schedules/{id}/resume',
  operation: 'resumeSchedule',
  tag,
  summary: 'Resume a schedule',
  description:
    'Continues with the next run time; runs missed during the pause are not made up. Also ends a pause that was set in Temporal.',
  role: 'operator',
  params: scheduleParams,
  answers: { ...ONE, ...MISSING },
}).handle(async (request) => {
  return { status: 200, body: await setPaused(request, request.params.id, false) }
})

export const trigger = endpoint({
  method: 'post',
  path: '/distribution/schedules/{id}/trigger',
  operation: 'triggerSchedule',
  tag,
  summary: 'Run a schedule now',
  description:
    'Creates one distribution now, even if the schedule is paused or its last distribution is not final. A repeat with the same idempotency key creates no second distribution.',
  role: 'operator',
  params: scheduleParams,
  headers: keyHeader,
  answers: {
    202: { description: 'Accepted', schema: accepted },
    400: { description: 'The payload of the schedule does not match its data type any more' },
    ...MISSING,
  },
}).handle(async (request) => {
  const { c, deps, caller, request_id, audit, params } = request
  const { tenant_id, actor } = caller
  const key = c.req.header('idempotency-key')
  const suffix = key === undefined ? randomUUID() : createHash('sha256').update(key).digest('hex')
  const job = await triggering(request, params.id, async (db, row, fit) => {
    const job = await insertScheduledJob(db, row, `trigger:${suffix}`, { request_id, actor }, () =>
      refuseUnfit(db, row, fit),
    )
    await audit(db, entry('trigger', row, { distribution_id: job.distribution_id }))
    return job
  })
  c.set('distribution_id', job.distribution_id)
  if (job.status === 'pending') {
    const ref = { tenant_id, distribution_id: job.distribution_id }
    await deps.dispatcher.tell('start', ref, (runs) => runs.start(ref, job))
  }
  const body = acceptedAnswer(job)
  return { status: 202, headers: { Location: body.tracking_url }, body }
})

async function setPaused(request: Request, idOrName: string, paused: boolean) {
  const row = await request.transaction(async (db) => {
    const { id } = await find(db, idOrName)
    await pauseSchedule(db, id, paused)
    const row = await find(db, id)
    await request.audit(db, entry(paused ? 'pause' : 'resume', row))
    return row
  })
  return await followed(request, row, !paused)
}

/** If the payload must be checked by its data type first, the transaction is repeated after the check. */
async function triggering<T>(
  request: Request,
  idOrName: string,
  work: (db: Db, row: ScheduleRow, fit: CheckedPayload | undefined) => Promise<T>,
  fit?: CheckedPayload,
): Promise<T> {
  const { deps, caller, transaction } = request
  const row = await transaction((db) => find(db, idOrName))
  try {
    return await transaction((db) => work(db, row, fit))
  } catch (error) {
    if (!(error instanceof NotChecked)) throw error
    const submitted = { payload: Buffer.from(row.payload_text, 'utf8'), metadata: JSON.parse(row.metadata_text) }
    const checked = await checkPayload(deps.shaper, caller.tenant_id, error.by, submitted)
    return await triggering(request, idOrName, work, checked)
  }
}
