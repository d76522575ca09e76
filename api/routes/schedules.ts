// Distributions that recur: write, show, pause, resume, and begin one now.
import { createHash, randomUUID } from 'node:crypto'
import { z } from '@hono/zod-openapi'
import { type Db, withTenant } from '../../db/pool.ts'
import {
  deleteRecurring,
  findRecurring,
  fireRecurring,
  insertRecurring,
  listRecurring,
  missedText,
  noteInSync,
  noteProblem,
  pauseRecurring,
  type RecurringRow,
  replaceRecurring,
} from '../../db/schedules/schedules.ts'
import { writeAudit } from '../../db/tenants/audit.ts'
import type { AppDeps, Caller } from '../http/context.ts'
import { type Endpoint, endpoint, type Request } from '../http/endpoint.ts'
import { ApiError, notFound } from '../http/errors.ts'
import { MAX_DEPTH } from '../http/json.ts'
import { refuseOneTooMany } from '../http/object-limits.ts'
import { cursorOf, readCursor } from '../http/pages.ts'
import { type CheckedPayload, checkPayload, NotChecked } from '../rules/catalogue-check.ts'
import { type Content, checkContent, readContent, refuseUnfit } from '../schedules/content.ts'
import { characters, NAME } from '../schemas/fields.ts'
import { schedule, scheduleList, scheduleListQuery, scheduleParams, scheduleRequest } from '../schemas/schedules.ts'
import { accepted } from '../schemas/submission.ts'
import { acceptedAnswer } from '../submission/submit.ts'

const tag = 'Schedules'
const MISSING = { 404: { description: 'No such schedule of this tenant' } }
const ONE = { 200: { description: 'The schedule', schema: schedule } }
/** The submission stands one level deep, and is read by itself. */
const FORM = { opaque: 'submission', max_depth: 2 * MAX_DEPTH }

type C = Request<unknown, unknown, unknown>['c']

export function scheduleEndpoints(deps: AppDeps): Endpoint[] {
  const { pool, dispatcher, egress } = deps
  const as = <T>(caller: Caller, work: (db: Db) => Promise<T>) => withTenant(pool, caller.tenant_id, work)

  /** A transaction that asks for the payload's check by its data type is taken again once that was made. */
  async function storing<T>(caller: Caller, content: Content, work: (db: Db) => Promise<T>): Promise<T> {
    try {
      return await as(caller, work)
    } catch (error) {
      if (!(error instanceof NotChecked)) throw error
      const payload = content.request.body.texts.bytes('payload')!
      const { metadata } = content.submission
      content.payload = await checkPayload(deps.shaper, caller.tenant_id, error.by, { payload, metadata })
      return await storing(caller, content, work)
    }
  }

  /** Likewise, for the payload of a schedule that stands. */
  async function firing<T>(
    caller: Caller,
    id: string,
    work: (db: Db, row: RecurringRow, fit: CheckedPayload | undefined) => Promise<T>,
    fit?: CheckedPayload,
  ): Promise<T> {
    const row = await as(caller, (db) => find(db, id))
    try {
      return await as(caller, (db) => work(db, row, fit))
    } catch (error) {
      if (!(error instanceof NotChecked)) throw error
      const submitted = { payload: Buffer.from(row.payload_text, 'utf8'), metadata: JSON.parse(row.metadata_text) }
      return await firing(caller, id, work, await checkPayload(deps.shaper, caller.tenant_id, error.by, submitted))
    }
  }

  const create = endpoint({
    method: 'post',
    path: '/distribution/schedules',
    tag,
    summary: 'Have a distribution recur',
    description: 'By `cron` or by `interval_seconds`; each time makes one distribution, as if it were submitted then.',
    role: 'admin',
    body: scheduleRequest,
    body_checked_by_handler: true,
    body_form: FORM,
    max_body_bytes: Number.POSITIVE_INFINITY,
    answers: {
      201: { description: 'The schedule', schema: schedule },
      409: { description: 'The name is taken, or there are as many as a tenant may have' },
    },
    async handle({ c, caller, raw }) {
      const content = await readContent(egress, c.get('request_id'), caller, raw)
      const row = await storing(caller, content, async (db) => {
        const checked = await checkContent(db, caller, content)
        const made = await insertRecurring(db, caller.tenant_id, { ...checked, paused: checked.paused ?? false })
        if (!made) throw nameTaken(checked.name)
        await refuseOneTooMany(db, caller.tenant_id, 'schedules')
        await audit(db, c, caller, 'create', made)
        return made
      })
      return await answer(c, caller, row, 201)
    },
  })

  const replace = endpoint({
    method: 'put',
    path: '/distribution/schedules/{id}',
    tag,
    summary: 'Replace a schedule',
    description:
      'Counts for the times to come; distributions that were made already go on as they are. Without `paused` a pause stays.',
    role: 'admin',
    params: scheduleParams,
    body: scheduleRequest,
    body_checked_by_handler: true,
    body_form: FORM,
    max_body_bytes: Number.POSITIVE_INFINITY,
    answers: { ...ONE, ...MISSING, 409: { description: 'The name is taken' } },
    async handle({ c, caller, params, raw }) {
      const content = await readContent(egress, c.get('request_id'), caller, raw)
      const row = await storing(caller, content, async (db) => {
        const { id } = await find(db, params.id)
        // A pause that the request does not speak of stays: nobody resumes by a new time of day.
        const changed = await replaceRecurring(db, id, await checkContent(db, caller, content)).catch(asNameTaken)
        if (!changed) throw notFound('schedule')
        await audit(db, c, caller, 'update', changed)
        return changed
      })
      return await answer(c, caller, row, 200)
    },
  })

  const show = endpoint({
    method: 'get',
    path: '/distribution/schedules/{id}',
    tag,
    summary: 'One schedule, with its next times',
    role: 'viewer',
    params: scheduleParams,
    answers: { ...ONE, ...MISSING },
    async handle({ c, caller, params }) {
      return await render(c, await as(caller, (db) => find(db, params.id)), 200)
    },
  })

  const list = endpoint({
    method: 'get',
    path: '/distribution/schedules',
    tag,
    summary: 'Schedules by name',
    role: 'viewer',
    query: scheduleListQuery,
    answers: { 200: { description: 'One page', schema: scheduleList } },
    async handle({ c, caller, query }) {
      const limit = query.limit ?? 50
      const after = readCursor(query.cursor, NAME)
      const rows = await as(caller, (db) => listRecurring(db, { after, limit: limit + 1 }))
      const page = rows.slice(0, limit)
      const has_more = rows.length > limit
      return c.json({
        schedules: page.map(shown),
        pagination: { limit, has_more, next_cursor: has_more ? cursorOf(page.at(-1)!.name) : null },
      })
    },
  })

  const remove = endpoint({
    method: 'delete',
    path: '/distribution/schedules/{id}',
    tag,
    summary: 'End a schedule',
    description: 'Distributions that it made go on.',
    role: 'admin',
    params: scheduleParams,
    answers: { 204: { description: 'It is gone' }, ...MISSING },
    async handle({ c, caller, params }) {
      const row = await as(caller, async (db) => {
        const row = await find(db, params.id)
        await deleteRecurring(db, row.id)
        await audit(db, c, caller, 'delete', row)
        return row
      })
      await sync(caller, row.id)
      return c.body(null, 204)
    },
  })

  const setPaused = (paused: boolean) =>
    endpoint({
      method: 'post',
      path: `/distribution/schedules/{id}/${paused ? 'pause' : 'resume'}`,
      tag,
      summary: paused ? 'Let no further time come' : 'Go on from now; what was missed stays missed',
      ...(paused ? {} : { description: 'Also after a pause that was set in Temporal.' }),
      role: 'operator',
      params: scheduleParams,
      answers: { ...ONE, ...MISSING },
      async handle({ c, caller, params }) {
        const row = await as(caller, async (db) => {
          const { id } = await find(db, params.id)
          await pauseRecurring(db, id, paused)
          const row = await find(db, id)
          await audit(db, c, caller, paused ? 'pause' : 'resume', row)
          return row
        })
        return await answer(c, caller, row, 200, !paused)
      },
    })

  const trigger = endpoint({
    method: 'post',
    path: '/distribution/schedules/{id}/trigger',
    tag,
    summary: 'Make one distribution of it now',
    description:
      'Also while it is paused, and beside one that is not final yet. A repeat with the same idempotency key makes no second one.',
    role: 'operator',
    params: scheduleParams,
    headers: z.object({ 'Idempotency-Key': characters(1, 255).optional() }),
    answers: {
      202: { description: 'Accepted', schema: accepted },
      400: { description: 'What it would make is not what its data type asks for by now' },
      ...MISSING,
    },
    async handle({ c, caller, params }) {
      const key = c.req.header('idempotency-key')
      const word = key === undefined ? randomUUID() : createHash('sha256').update(key).digest('hex')
      const by = { request_id: c.get('request_id'), actor: caller.actor }
      const job = await firing(caller, params.id, async (db, row, fit) => {
        const job = await fireRecurring(db, row, `trigger:${word}`, by, () => refuseUnfit(db, row, fit))
        await audit(db, c, caller, 'trigger', row, { distribution_id: job.distribution_id })
        return job
      })
      c.set('distribution_id', job.distribution_id)
      const { tenant_id } = caller
      if (job.status === 'pending') await dispatcher.start({ tenant_id, distribution_id: job.distribution_id }, job)
      const made = acceptedAnswer(job)
      c.header('Location', made.tracking_url)
      return c.json(made, 202)
    },
  })

  /** Temporal follows at once where it answers; otherwise the sweep sees to it. */
  async function sync({ tenant_id }: Caller, id: string, resume = false): Promise<void> {
    const row = await withTenant(pool, tenant_id, (db) => findRecurring(db, id))
    if (!row) return
    const told = await dispatcher.setRecurring(row, resume)
    if (told === 'deferred') return
    await withTenant(pool, tenant_id, async (db) => {
      if (told === 'started') await noteInSync(db, row.id, row.version)
      else await noteProblem(db, row.id, told.refused)
    })
  }

  async function answer(
    c: C,
    caller: Caller,
    { id }: RecurringRow,
    status: 200 | 201,
    resume?: boolean,
  ): Promise<Response> {
    await sync(caller, id, resume)
    return await render(c, await as(caller, (db) => find(db, id)), status)
  }

  async function render(c: C, row: RecurringRow, status: 200 | 201): Promise<Response> {
    const there = await dispatcher.describeRecurring(row)
    // Somebody may have paused it in Temporal.
    const state = { paused: row.paused || there?.paused === true, next_runs: there?.next_runs ?? null }
    // The submission goes out as it came in: no number loses a digit.
    const head = JSON.stringify({ ...shown(row), ...state }).slice(0, -1)
    return c.body(`${head},"submission":${row.submission}}`, status, { 'Content-Type': 'application/json' })
  }

  return [create, list, show, replace, remove, setPaused(true), setPaused(false), trigger]
}

async function find(db: Db, idOrName: string): Promise<RecurringRow> {
  const row = await findRecurring(db, idOrName)
  if (!row || row.deleted) throw notFound('schedule')
  return row
}

function shown(row: RecurringRow) {
  const { submission: _s, payload_text: _p, metadata_text: _m, template: _t, tenant_id: _i, deleted: _d, ...rest } = row
  const { accounted_at: _a, last_completed_at: _l, now: _n, missed, ...shown } = rest
  if (shown.problem !== null || missed === null) return shown
  return { ...shown, problem: missedText(missed), problem_at: missed.at }
}

function audit(
  db: Db,
  c: C,
  { tenant_id, actor }: Caller,
  action: string,
  { id, name, version }: RecurringRow,
  details: Record<string, unknown> = {},
): Promise<void> {
  return writeAudit(db, {
    tenant_id,
    actor,
    action,
    resource_type: 'schedule',
    resource_id: id,
    details: { name, version, ...details },
    request_id: c.get('request_id'),
  })
}

function nameTaken(name: string): ApiError {
  return new ApiError('CONFLICT', `a schedule of the name ${JSON.stringify(name)} exists`, [
    { field: 'name', issue: 'is taken' },
  ])
}

function asNameTaken(error: unknown): never {
  const { code, constraint } = error as { code?: string; constraint?: string }
  if (code === '23505' && constraint === 'uk_recurring_distributions_name') {
    throw new ApiError('CONFLICT', 'a schedule of this name exists', [{ field: 'name', issue: 'is taken' }])
  }
  throw error
}
