// Schedules: create, read, replace, delete.
import type { Db } from '../../db/pool.ts'
import {
  deleteSchedule,
  insertSchedule,
  listSchedules,
  replaceSchedule,
  type ScheduleRow,
} from '../../db/schedules/schedules.ts'
import { endpoint, type Request } from '../http/endpoint.ts'
import { nameTaken, notFound } from '../http/errors.ts'
import { MAX_DEPTH } from '../http/json.ts'
import { refuseOneTooMany } from '../http/object-limits.ts'
import { pageOf, readPage } from '../http/pages.ts'
import { checkPayload, NotChecked } from '../rules/catalogue-check.ts'
import { type Content, checkContent, readContent } from '../schedules/content.ts'
import { entry, find, follow, followed, shown, shownAlone } from '../schedules/following.ts'
import { nameField } from '../schemas/fields.ts'
import {
  schedule,
  scheduleContent,
  scheduleList,
  scheduleListQuery,
  scheduleParams,
  scheduleRequest,
} from '../schemas/schedules.ts'

const tag = 'Schedules'
const MISSING = { 404: { description: 'The tenant has no such schedule' } }
const ONE = { 200: { description: 'The schedule', schema: schedule } }
const BODY = {
  body: scheduleContent,
  body_documentation: scheduleRequest,
  // The submission is one level deeper, and is parsed separately.
  body_form: { opaque: 'submission', max_depth: 2 * MAX_DEPTH },
  max_body_bytes: Number.POSITIVE_INFINITY,
}

export const create = endpoint({
  method: 'post',
  path: '/distribution/schedules',
  operation: 'createSchedule',
  tag,
  summary: 'Create a schedule',
  description: 'A schedule runs by `cron` or by `interval_seconds`. Each run submits one distribution.',
  role: 'admin',
  ...BODY,
  answers: {
    201: { description: 'The schedule', schema: schedule },
    409: { description: 'The name is taken, or the tenant has reached its limit' },
  },
}).handle(async (request) => {
  const { caller, audit } = request
  const content = await readContent(request)
  const row = await storing(request, content, async (db) => {
    const checked = await checkContent(db, caller, content)
    const made = await insertSchedule(db, caller.tenant_id, { ...checked, paused: checked.paused ?? false })
    if (!made) throw nameTaken('schedule', checked.name)
    await refuseOneTooMany(db, caller.tenant_id, 'schedules')
    await audit(db, entry('create', made))
    return made
  })
  return { status: 201, body: await followed(request, row) }
})

export const list = endpoint({
  method: 'get',
  path: '/distribution/schedules',
  operation: 'listSchedules',
  tag,
  summary: 'List schedules, ordered by name',
  role: 'viewer',
  query: scheduleListQuery,
  answers: { 200: { description: 'One page', schema: scheduleList } },
}).handle(async ({ transaction, query }) => {
  const { limit, after } = readPage(query, nameField)
  const rows = await transaction((db) => listSchedules(db, { after, limit: limit + 1 }))
  const { page, pagination } = pageOf(rows, limit, ({ name }) => name)
  return { status: 200, body: { schedules: page.map(shown), pagination } }
})

export const show = endpoint({
  method: 'get',
  path: '/distribution/schedules/{id}',
  operation: 'getSchedule',
  tag,
  summary: 'Get a schedule, with its next run times',
  role: 'viewer',
  params: scheduleParams,
  answers: { ...ONE, ...MISSING },
}).handle(async (request) => {
  const row = await request.transaction((db) => find(db, request.params.id))
  return { status: 200, body: await shownAlone(request, row) }
})

export const replace = endpoint({
  method: 'put',
  path: '/distribution/schedules/{id}',
  operation: 'replaceSchedule',
  tag,
  summary: 'Replace a schedule',
  description:
    'Applies to future runs; distributions that already exist are not changed. Without `paused`, a paused schedule stays paused.',
  role: 'admin',
  params: scheduleParams,
  ...BODY,
  answers: { ...ONE, ...MISSING, 409: { description: 'The name is taken' } },
}).handle(async (request) => {
  const { caller, audit, params, body } = request
  const content = await readContent(request)
  const row = await storing(request, content, async (db) => {
    const { id } = await find(db, params.id)
    // Without `paused` a pause stays: changing the time must not resume a schedule.
    const changed = await replaceSchedule(db, id, await checkContent(db, caller, content)).catch((error) => {
      const { code, constraint } = error as { code?: string; constraint?: string }
      throw code === '23505' && constraint === 'uk_distribution_schedules_name'
        ? nameTaken('schedule', body.name)
        : error
    })
    if (!changed) throw notFound('schedule')
    await audit(db, entry('update', changed))
    return changed
  })
  return { status: 200, body: await followed(request, row) }
})

export const remove = endpoint({
  method: 'delete',
  path: '/distribution/schedules/{id}',
  operation: 'deleteSchedule',
  tag,
  summary: 'Delete a schedule',
  description: 'Distributions that it created continue.',
  role: 'admin',
  params: scheduleParams,
  answers: { 204: { description: 'Deleted' }, ...MISSING },
}).handle(async (request) => {
  const { transaction, audit, params } = request
  const { id } = await transaction(async (db) => {
    const row = await find(db, params.id)
    await deleteSchedule(db, row.id)
    await audit(db, entry('delete', row))
    return row
  })
  await follow(request, id)
  return { status: 204 }
})

/** If the payload must be checked by its data type first, the transaction is repeated after the check. */
async function storing(
  request: Request,
  content: Content,
  work: (db: Db) => Promise<ScheduleRow>,
): Promise<ScheduleRow> {
  const { deps, caller, transaction } = request
  try {
    return await transaction(work)
  } catch (error) {
    if (!(error instanceof NotChecked)) throw error
    const payload = content.request.body.texts.bytes('payload')!
    const { metadata } = content.submission
    content.payload = await checkPayload(deps.shaper, caller.tenant_id, error.by, { payload, metadata })
    return await storing(request, content, work)
  }
}
